"""Few shots: windows of one user that never show their query, prompts as said, and users kept apart."""

from collections import Counter
from dataclasses import replace

import pytest

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Pair
from diffalign.data.transforms import fewshot, split_users
from diffalign.data.transforms.user_fewshot_prompts import FEW, NO_PERSONA, NO_TEXT, NO_USER, TASK, windows
from diffalign.errors import DataError, UserError
from tests.data.transforms.sets import texts

LINES = texts(24, users=3)


def base(line):
    return line.pair.id.split("/")[0]


def test_without_shots_the_rows_are_as_they_were_with_the_task_line():
    made = list(fewshot(LINES, shots=0).rows)
    assert {line.pair.id for line in made} == {line.pair.id for line in LINES} and len(made) == len(LINES)
    before = {line.pair.id: line.pair for line in LINES}
    for line in made:
        old = before[line.pair.id]
        assert line.pair == replace(old, prompt=f"{TASK}\n\n{old.prompt}") and line.columns["shot_ids"] == []


def test_shots_are_of_the_same_user_and_never_the_query():
    users = {line.pair.id: line.pair.group for line in LINES}
    made = list(fewshot(LINES, shots=3).rows)
    assert len(made) == 3 * 2 * 8  # users, windows of 4 among 8 rows, passes
    assert len({line.pair.id for line in made}) == len(made)
    for line in made:
        shown = line.columns["shot_ids"]
        assert len(set(shown)) == 3 and base(line) not in shown
        assert {users[name] for name in (*shown, base(line))} == {line.columns["user_id"]} == {line.pair.group}


def test_rows_are_queries_equally_often_up_to_one():
    for rows, shots, passes in ((8, 3, 8), (7, 2, 5), (11, 4, 10), (5, 4, 3)):
        asked = Counter(dict.fromkeys(range(rows), 0))
        for number in range(passes):
            found = [w for w in windows(range(rows), shots, passes, "s") if w[0] == number]
            used = [row for _, query, shown in found for row in (query, *shown)]
            assert len(used) == len(set(used)) == rows // (shots + 1) * (shots + 1)
            asked.update(query for _, query, _ in found)
        assert max(asked.values()) - min(asked.values()) <= 1


def test_other_shuffles_change_prompts_and_no_label():
    one, two = (list(fewshot(LINES, shots=2, passes=1, seed=seed).rows) for seed in (0, 1))
    assert [line.pair.prompt for line in one] != [line.pair.prompt for line in two]
    labels = {line.pair.id: (line.pair.chosen, line.pair.rejected) for line in LINES}
    assert all((line.pair.chosen, line.pair.rejected) == labels[base(line)] for line in (*one, *two))
    assert one == list(fewshot(LINES, shots=2, passes=1, seed=0).rows)


def test_a_prompt_shows_questions_with_both_answers_and_ends_with_the_query():
    line = next(iter(fewshot(LINES, shots=1, passes=1).rows))
    shot = next(other.pair for other in LINES if other.pair.id == line.columns["shot_ids"][0])
    query = next(other.pair for other in LINES if other.pair.id == base(line))
    assert line.pair.prompt == (
        f"Example 1\nQuestion: {shot.prompt}\nPreferred answer: {shot.chosen.strip()}\nOther answer: "
        f"{shot.rejected.strip()}\n\n{TASK}\n\n{query.prompt}"
    )
    short = next(iter(fewshot(LINES, shots=1, passes=1, rejected_too=False, task="Go.").rows)).pair.prompt
    assert "Other answer" not in short and short.endswith(f"Go.\n\n{query.prompt}")


def test_in_turns_the_shots_precede_the_first_turn_of_the_user():
    lines = texts(12, users=2, chat=True)
    line = next(iter(fewshot(lines, shots=1, passes=1, persona="teacher").rows))
    query = next(other.pair for other in lines if other.pair.id == base(line))
    system, user = line.pair.prompt.messages
    assert system == query.prompt.messages[0] and user.content.endswith(f"{TASK}\n\n{query.prompt.messages[1].content}")
    assert user.content.startswith(
        f"About the one who asks: likes {query.group}\n\nExample 1\nQuestion: system: be kind"
    )
    assert line.pair.chosen == query.chosen


@pytest.mark.parametrize("chat", [False, True])
def test_a_description_before_the_answers_is_the_users_own_and_anothers(chat):
    lines = texts(24, users=3, chat=chat)
    old = {line.pair.id: line.pair for line in lines}
    for line in fewshot(lines, shots=1, persona="cot").rows:
        chosen, rejected = (
            side.messages[0].content if isinstance(side, Conversation) else side
            for side in (line.pair.chosen, line.pair.rejected)
        )
        assert chosen.startswith(f"The one who asks: likes {line.pair.group}\n\n")
        assert rejected.startswith("The one who asks: likes user") and f"likes {line.pair.group}" not in rejected
        before = old[base(line)].chosen
        assert chosen.endswith(before if isinstance(before, str) else before.messages[0].content)
        assert "About the one who asks" not in str(line.pair.prompt)


def test_train_and_test_share_no_user():
    train, test = split_users(texts(40, users=10), "group", 0.3)
    users = [{line.pair.group for line in part} for part in (train, test)]
    assert len(users[0]) == 7 and len(users[1]) == 3 and not users[0] & users[1]
    assert split_users(texts(40, users=10), "group", 0.3, seed=1)[1] != test
    with pytest.raises(UserError, match="both parts need at least one"):
        split_users(texts(10, users=2), "group", 0.1)


def test_the_user_may_be_named_in_any_column():
    lines = [
        PairRow(replace(line.pair, scores={"pair": {"rater": float(n % 2)}}), {"city": "x"})
        for n, line in enumerate(LINES)
    ]
    assert {line.columns["user_id"] for line in fewshot(lines, shots=1, group_by="rater").rows} == {"0", "1"}
    assert {line.columns["user_id"] for line in fewshot(lines, shots=1, group_by="city").rows} == {"x"}


def test_rows_that_cannot_be_used_are_counted():
    odd = [
        PairRow(replace(LINES[0].pair, id="a", group="")),
        PairRow(replace(LINES[0].pair, id="b", group="lonely")),
        PairRow(Pair("c", "p", b"bytes", b"more", group="user0")),
        *[PairRow(replace(LINES[0].pair, id=f"d{n}", group="silent")) for n in range(2)],
    ]
    outcome = fewshot([*LINES, *odd], shots=1, persona="teacher")
    list(outcome.rows)
    assert Counter(row.reason for row in outcome.dropped) == {NO_USER: 1, FEW: 1, NO_TEXT: 1, NO_PERSONA: 2}
    with pytest.raises(DataError, match="no user has 10 rows.*'group'"):
        fewshot(LINES, shots=9)
    with pytest.raises(UserError, match="Did you mean 'cot'"):
        fewshot(LINES, persona="cots")
    with pytest.raises(UserError, match="there is only one"):
        fewshot([line for line in LINES if line.pair.group == "user0"], shots=1, persona="cot")
    with pytest.raises(UserError, match="shots is 0 or more"):
        fewshot(LINES, shots=-1)
