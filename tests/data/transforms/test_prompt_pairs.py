"""Prompt pairs: every row passes its own checkers, asks nothing that contradicts itself, and is read back."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.data.transforms import RULES, attribute, between, within
from diffalign.data.transforms.prompt_pairs import ALIKE, checkable_facts, select_rules
from diffalign.data.transforms.verifiable_instructions import (
    count_bullets,
    count_paragraphs,
    count_sentences,
    is_json,
    words,
)
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import UserError
from tests.data import fixtures
from tests.data.transforms.sets import answer, texts

BY_NAME = {rule.name: rule for rule in RULES}
TEXTS = st.integers(0, 10**6).map(lambda seed: answer(random.Random(seed))) | st.text(min_size=1).filter(str.strip)


def plain(good, bad):
    return [PairRow(Pair("1", "why?", good, bad))]


@given(TEXTS, TEXTS, st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_an_answer_follows_the_proposals_made_for_it(text, other, seed):
    for rule in RULES:
        argument = rule.propose(text, other, random.Random(seed))
        if argument is not None:
            assert rule.holds(text, argument), (rule.name, argument)
            assert rule.format(argument)


@given(TEXTS, TEXTS, st.sampled_from(["some", "none"]), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_every_row_within_a_sample_passes_its_checkers(good, bad, fits, seed):
    for line in within(plain(good, bad), fits=fits, seed=seed, least=1).rows:
        pair, asked = line.pair, line.columns["rules"]
        assert pair.chosen == pair.rejected and pair.prompt != pair.rejected_prompt
        own, other = (good, bad) if pair.chosen == good else (bad, good)
        right = [BY_NAME[a["rule"]].holds(own, a["prompt"]) for a in asked]
        wrong = [BY_NAME[a["rule"]].holds(own, a["rejected_prompt"]) for a in asked]
        assert all(right) and not all(wrong) and (fits == "some" or not any(wrong))
        # No contradiction: some answer follows all of the other prompt.
        assert all(BY_NAME[a["rule"]].holds(other, a["rejected_prompt"]) for a in asked)
        assert len({BY_NAME[a["rule"]].about for a in asked}) == len(asked) <= 5
        for a in asked:
            assert BY_NAME[a["rule"]].format(a["prompt"]) in pair.prompt
            assert BY_NAME[a["rule"]].format(a["rejected_prompt"]) in pair.rejected_prompt
        assert pair.prompt.endswith("\n\nwhy?") and pair.rejected_prompt.endswith("\n\nwhy?")


@given(TEXTS, TEXTS, st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_every_row_between_samples_passes_its_checkers(good, bad, seed):
    for conflicting in (0.0, 1.0):
        for line in between(plain(good, bad), seed=seed, least=1, conflicting=conflicting).rows:
            pair, asked = line.pair, line.columns["rules"]
            assert (pair.chosen, pair.rejected) == (good, bad)
            counts = [sum(BY_NAME[a["rule"]].holds(t, a["augmented_prompt"]) for a in asked) for t in (good, bad)]
            assert counts == [pair.scores[role]["n_sat"] for role in ("chosen", "rejected")]
            assert counts[conflicting == 1.0] == len(asked) > counts[conflicting == 0.0]
            longer, shorter = pair.prompt, pair.prompt_of("augmented_chosen")
            if not conflicting:
                longer, shorter = shorter, longer
            assert (
                shorter == "why?"
                and longer.endswith("\n\nwhy?")
                and pair.prompt_of("augmented_rejected") != pair.prompt
            )
            assert pair.answers["augmented_chosen"].candidate == good


def test_random_answers_give_rows_of_every_rule():
    lines = texts(300)
    outcome = within(lines)
    rows = list(outcome.rows)
    asked = {a["rule"] for line in rows for a in line.columns["rules"]}
    asked |= {a["rule"] for line in between(lines).rows for a in line.columns["rules"]}
    assert asked == set(BY_NAME)
    assert len(rows) > 550 and len(rows) + len(outcome.dropped) == 600
    assert {2, 3, 4, 5} == {len(line.columns["rules"]) for line in rows}


def test_rows_are_read_back(tmp_path):
    for chat in (False, True):
        for name, made in (("within", within(texts(12, chat=chat))), ("between", between(texts(12, chat=chat)))):
            lines = list(made.rows)
            write_pairs(tmp_path / f"{name}.jsonl", lines)
            reread = read_pairs(tmp_path / f"{name}.jsonl")
            assert not reread.dropped and len(reread) == len(lines)
            for line, pair in zip(lines, reread.pairs, strict=True):
                assert pair == type(pair)(**{**line.pair.__dict__, "source": pair.source})


def test_in_turns_instructions_follow_the_turn_of_the_user():
    line = next(iter(within(texts(4, chat=True)).rows))
    system, user = line.pair.prompt.messages
    assert system.content == "be kind" and user.content.startswith("question 0?\n\n")


def test_the_checkers_count_as_people_do():
    text = "One two. Is it? Yes!\n\n- an item\n- another\n3) third"
    assert count_sentences(text) == 6 and count_paragraphs(text) == 2 and count_bullets(text) == 3
    assert words("it's a well-known test") == ("it's", "a", "well", "known", "test")
    assert count_sentences("3.5 is a number.") == 1 and is_json("[1]") and not is_json("1") and not is_json("{")
    assert not BY_NAME["keyword"].holds("carpet", "car") and BY_NAME["keyword"].holds("A Car.", "car")


def test_instructions_read_as_sentences():
    said = {
        ("words", ("at least", 20)): "Use at least 20 words.",
        ("sentences", 1): "Write exactly 1 sentence.",
        ("bullets", 0): "Use no list items.",
        ("no_mark", ","): "Do not use commas.",
        ("json", False): "Do not answer with JSON.",
    }
    assert {key: BY_NAME[key[0]].format(key[1]) for key in said} == said


def test_answers_that_no_rule_distinguishes_are_counted():
    outcome = within(plain("ok.", "ok. "))
    assert not list(outcome.rows) and [row.reason for row in outcome.dropped] == [ALIKE] * 2


def images(folder, attributes=None):
    fixtures.pair_folder(folder, count=6)
    pairs = read_pairs(folder).pairs
    for n, pair in enumerate(pairs):
        columns = {"subject": ["fox", "owl"][n % 2], "colour": ["red", "blue", "green"][n % 3]}
        yield PairRow(pair, {**columns, **(attributes(n) if attributes else {})})


def test_images_get_prompts_from_their_columns_and_from_another_rows(tmp_path):
    lines = list(images(tmp_path))
    rules = (attribute("subject", "a {}"), attribute("colour", "on {}"))
    rows = list(within(lines, rules=rules, least=1).rows)
    assert len(rows) == 12
    for line in rows:
        own = checkable_facts(
            next(each for each in lines if each.pair.id == line.pair.id.split("/")[0]), "chosen", rules
        )
        for a in line.columns["rules"]:
            assert own[a["rule"]] == a["prompt"]
        assert any(a["prompt"] != a["rejected_prompt"] for a in line.columns["rules"])
        assert line.pair.prompt.startswith("thing ") and line.pair.chosen == line.pair.rejected
    write_pairs(tmp_path / "within.jsonl", rows)
    reread = read_pairs(tmp_path / "within.jsonl")
    assert [p.rejected_prompt for p in reread.pairs] == [line.pair.rejected_prompt for line in rows]


def test_a_template_is_the_whole_prompt_of_an_image(tmp_path):
    rules = (attribute("subject"), attribute("colour"))
    rows = list(within(images_list := list(images(tmp_path)), rules=rules, template="a {subject} on {colour}").rows)
    assert len(rows) == 2 * len(images_list)
    assert rows[0].pair.prompt == "a fox on red" and rows[0].pair.rejected_prompt.startswith("a ")


def test_images_that_differ_in_a_column_of_their_own_give_pairs_of_pairs(tmp_path):
    lines = list(images(tmp_path, lambda n: {"chosen_colour": "red", "rejected_colour": ["red", "blue"][n % 2]}))
    outcome = between(lines, rules=(attribute("subject", "a {}"), attribute("colour", "on {}")), least=1)
    rows = list(outcome.rows)
    assert len(rows) == 3 and len(outcome.dropped) == 3
    assert all(", on red" in str(line.pair.prompt_of("augmented_chosen")) for line in rows)
    assert {line.pair.scores["rejected"]["n_sat"] for line in rows} <= {0.0, 1.0}
    write_pairs(tmp_path / "between.jsonl", rows)
    assert len(read_pairs(tmp_path / "between.jsonl")) == 3


def test_the_embedded_images_take_their_attributes_from_their_prompts(tmp_path):
    scenes = pytest.importorskip("pipelines.embedded.scenes")
    prompts = [
        "a drawing of two dolphins on a black background, at the bottom",
        "a flat drawing of a fox on a blue background",
    ]
    lines = []
    for n, line in enumerate(images(tmp_path)):
        scene = scenes.parse(prompts[n % 2])
        columns = {"subject": scene.subject, "count": str(scene.count), "colour": scene.background}
        lines.append(PairRow(line.pair, columns))
    rules = select_rules([], {"subject": "{}", "count": "{}", "colour": "on a {} background"})
    for line in within(lines, rules=rules, template="{count} {subject} {colour}").rows:
        assert {line.pair.prompt, line.pair.rejected_prompt} == {
            "2 dolphin on a black background",
            "1 fox on a blue background",
        }


def test_settings_out_of_their_range_are_errors():
    with pytest.raises(UserError, match="1 <= least <= most"):
        within(texts(1), least=3, most=2)
    with pytest.raises(UserError, match="fits is one of some, none"):
        within(texts(1), fits="all")
    with pytest.raises(UserError, match="conflicting is a share"):
        between(texts(1), conflicting=2)
    with pytest.raises(UserError, match="Did you mean 'keyword'"):
        select_rules(["keywords"], {})


@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_bound_on_the_length_lies_between_two_lengths(own, other, seed):
    rule, texts_ = BY_NAME["words"], [" ".join(["word"] * n) for n in (own, other)]
    argument = rule.propose(*texts_, random.Random(seed))
    assert rule.holds(texts_[0], argument) and (own == other or not rule.holds(texts_[1], argument))
