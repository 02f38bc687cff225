"""Generative judges: both orders, strict verdicts, and counts that tell a judge from a coin."""

import pytest
import yaml

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import DataError, UserError
from diffalign.scorers import compare, load_scorer
from diffalign.scorers.scorer import SupportsCompare
from diffalign.scorers.texts.generative_judge import GenerativeJudge
from diffalign.scorers.texts.judge_template import DEFAULT, read_template
from tests.scorers.texts.scripted_chat import longer_wins, part, scripted
from tests.tiny_text import tiny_llm

LONG, SHORT = "a long answer", "short"


def judge(rule, **options):
    return GenerativeJudge(scripted(rule), **options)


def test_the_better_answer_wins_whichever_it_is_called():
    scorer = judge(longer_wins)
    assert isinstance(scorer, SupportsCompare)
    prompts, a, b = ["why?"] * 3, [LONG, SHORT, "same!"], [SHORT, LONG, "equal"]
    assert scorer.compare(prompts, a, b).tolist() == [1.0, 0.0, 0.5]
    assert compare(scorer, prompts, b, a).tolist() == [0.0, 1.0, 0.5]
    assert scorer.counts.pairs == 6 and scorer.counts.changed == 0 and scorer.counts.position_bias == 0.0


def test_each_pair_is_judged_in_both_orders():
    scorer = judge(longer_wins)
    scorer.compare(["why?"], [LONG], [SHORT])
    asked = scorer.chat.model.asked
    assert [(part(text, "Answer A"), part(text, "Answer B")) for text in asked] == [(LONG, SHORT), (SHORT, LONG)]
    assert all(part(text, "Request") == "why?" for text in asked)


def test_a_judge_that_prefers_a_place_decides_nothing_and_is_found_out():
    scorer = judge(lambda text: "The first. [[A]]")
    assert scorer.compare(["x"] * 2, ["a", "b"], ["c", "d"]).tolist() == [0.5, 0.5]
    assert scorer.counts.position_bias == 1.0 and (scorer.counts.first, scorer.counts.second) == (4, 0)
    assert scorer.notes()[0].startswith("judge: 2 pairs in both orders, 100.0% of the verdicts changed")
    assert "changed with the order (the first place won 4 times" in scorer.counts.summary()


def test_a_win_and_a_tie_are_three_quarters_of_a_win():
    scorer = judge(lambda text: "[[A]]" if part(text, "Answer A") == LONG else "[[C]]")
    assert scorer.compare(["x"], [LONG], [SHORT]).tolist() == [0.75]
    assert scorer.compare(["x"], [SHORT], [LONG]).tolist() == [0.25]
    assert scorer.counts.changed == 2


def test_equal_answers_tie_without_a_question():
    scorer = judge(longer_wins)
    assert scorer.compare(["x"], ["same"], ["same"]).tolist() == [0.5] and scorer.chat.model.asked == []


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        ("Clear. [[A]]", 1.0),
        ("[[B]]", 0.0),
        ("I said [[A]], and [[A]] it is", 1.0),
        ("equal\n[[C]]", 0.5),
        ("[[A]] or [[B]]", None),
        ("A is better", None),
        ("[A]", None),
        ("", None),
        ("<think>[[A]]? no.</think> [[B]]", 0.0),
        ("<think>[[A]]", 1.0),
    ],
)
def test_a_verdict_is_exactly_one_mark(reply, share):
    assert read_template().compare.read(reply) == share


@pytest.mark.parametrize(
    ("reply", "grade"),
    [("Good: [[7]]", 7), ("[[7]] so [[7.0]]", 7), ("[[6.5]]", 6.5), ("[[11]]", None), ("[[0]]", None),
     ("[[7]] [[8]]", None), ("7", None), ("[[-3]]", None), ("[[seven]]", None)],
)  # fmt: skip
def test_a_grade_is_one_number_on_the_scale(reply, grade):
    assert read_template().grade.read(reply) == grade


def test_scores_are_grades_on_the_stated_scale():
    scorer = judge(longer_wins)
    assert scorer.score(["x"] * 3, ["four", "a", "a very long answer"]).tolist() == [4.0, 1.0, 10.0]
    assert scorer.range == (1, 10) and scorer.unit == "grade, 1 to 10"


def test_a_few_replies_without_a_verdict_are_ties_and_counted():
    scorer = judge(lambda text: "hm" if "odd" in text else longer_wins(text))
    assert scorer.compare(["x"] * 2, [LONG, "odd"], [SHORT, "b"]).tolist() == [1.0, 0.5]
    assert scorer.score(["x"], ["odd"]).tolist() == [5.5]
    assert scorer.counts.unread == 3 and "3 of 5 replies held no verdict" in scorer.counts.summary()


def test_a_model_that_follows_no_template_stops_the_pass_and_shows_a_reply():
    with pytest.raises(DataError, match="4 of 4 replies of judge hold no verdict, such as .*I like turtles"):
        judge(lambda text: "I like turtles").score(["x"] * 4, ["a", "b", "c", "d"])


def test_braces_in_prompts_and_answers_stay_what_they_are():
    scorer = judge(longer_wins)
    scorer.compare(["say {second}"], ["{prompt} {first}"], ["b"])
    assert part(scorer.chat.model.asked[0], "Request") == "say {second}"
    assert {part(text, "Answer A") for text in scorer.chat.model.asked} == {"{prompt} {first}", "b"}


def test_conversations_are_shown_turn_by_turn():
    scorer = judge(longer_wins)
    prompt = Conversation((Message("user", "hi"), Message("assistant", "yes?"), Message("user", "why?")))
    answer = Conversation((Message("assistant", "because"),))
    scorer.score([prompt], [answer])
    assert part(scorer.chat.model.asked[0], "Request") == "user: hi\nassistant: yes?\nuser: why?"
    assert part(scorer.chat.model.asked[0], "Answer") == "because"


def template(folder, **changes):
    content = yaml.safe_load(DEFAULT.read_text())
    for key, value in changes.items():
        name, _, inner = key.partition("__")
        if inner:
            content[name][inner] = value
        elif value is None:
            content.pop(name)
        else:
            content[name] = value
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_template_of_ones_own_decides_what_is_asked_and_read(tmp_path):
    path = template(tmp_path, compare__text="{prompt}|{first}|{second}", compare__first="ONE", compare__second="TWO",
                    compare__tie="EVEN", system="Be fair.")  # fmt: skip
    scorer = judge(lambda text: "ONE" if "|a|" in text else "TWO", template=read_template(path))
    assert scorer.compare(["p"], ["a"], ["b"]).tolist() == [1.0]
    assert scorer.chat.model.asked[0].startswith("<|system|>\nBe fair.") and "p|a|b" in scorer.chat.model.asked[0]
    assert scorer.weights != judge(longer_wins).weights


def test_a_judge_without_a_scale_only_compares(tmp_path):
    scorer = judge(longer_wins, template=read_template(template(tmp_path, grade=None)))
    assert scorer.compare(["x"], [LONG], [SHORT]).tolist() == [1.0]
    with pytest.raises(UserError, match="only compares: its template has no part 'grade'"):
        scorer.score(["x"], ["a"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compare__text": "{prompt} {first}"}, "compare.text has no place {second}"),
        ({"compare__tie": "[[A]]"}, "must differ"),
        ({"compare__first": "[[A]] wins"}, None),
        ({"compare__second": "[[A]]."}, "contain each other"),
        ({"compare": {"text": "x"}}, "compare must have exactly text, first, second, tie"),
        ({"grade__mark": "grade"}, "grade.mark shows a grade between signs"),
        ({"grade__least": 10}, "grade.least must be a number below"),
        ({"max_new_tokens": 0}, "whole number of at least 1"),
        ({"extra": 1}, "unknown part 'extra'"),
    ],
)
def test_a_template_that_cannot_work_is_refused(tmp_path, changes, message):
    path = template(tmp_path, **changes)
    if message is None:
        assert read_template(path).compare.first == "[[A]] wins"
        return
    with pytest.raises(UserError, match=message):
        read_template(path)


def test_a_folder_is_loaded_with_a_template_before_it(tmp_path):
    folder = tiny_llm(tmp_path / "llm", max_position_embeddings=4096)
    path = template(tmp_path, max_new_tokens=4, grade__text="{prompt} {answer}")
    scorer = load_scorer(f"judge:{path}:{folder}")
    assert scorer.template.max_new_tokens == 4 and scorer.name == f"judge:{path}:{folder}"
    assert scorer.score(["x"], ["y"]).tolist() == [5.5] and scorer.counts.unread == 1
    assert load_scorer(f"judge:{folder}").template == read_template()


def test_a_model_without_a_chat_template_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no chat template, and judge puts"):
        load_scorer(f"judge:{tiny_llm(tmp_path, chat=False)}")
    with pytest.raises(UserError, match="judge needs a chat model"):
        load_scorer("judge")
