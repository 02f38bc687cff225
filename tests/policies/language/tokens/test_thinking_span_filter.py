"""Which tokens of a response are scored: from the first difference on, after a thought, or without a share of it."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.config import LanguageConfig, SpanConfig
from diffalign.policies.language.tokens.thinking_span_filter import after_last, hide_share
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from tests.tiny_text import cached_answer, tiny_tokenizer

Q, S, A, B, E, C, D = range(1, 8)
ROW = [Q, S, A, B, E, C, D]
START, END = "<|system|>", "<|user|>"  # single tokens of the tiny tokenizer
PAIR = Pair(id="p", prompt="ask:", chosen=f"{START}hmm{END}yes", rejected=f"{START}so{END}no")


def tokenizer_of(**config) -> PairTokenizer:
    return PairTokenizer(tiny_tokenizer(), LanguageConfig(path="tiny", **config))


def kept(ids, left):
    return [token for token, is_scored in zip(ids, left, strict=True) if is_scored]


def scored(tokenizer, pair=PAIR):
    token_pair = tokenizer.token_pair(pair)
    return [tokenizer.decode(kept(r.ids, r.scored)) for r in token_pair.responses]


@pytest.mark.parametrize(
    ("ids", "include", "left"),
    [
        (ROW, True, [E, C, D]),
        (ROW, False, [C, D]),
        ([S, A, E, B, S, A, E, C], True, [E, C]),  # two thoughts: behind the last
        ([Q, A, B], True, [Q, A, B]),  # no end: everything
        ([Q, S, A], False, [Q, S, A]),
    ],
)
def test_only_tokens_after_the_last_end_are_scored(ids, include, left):
    assert kept(ids, after_last(ids, E, include=include)) == left


def test_a_share_of_one_hides_all_of_a_thought_and_no_marker():
    assert kept(ROW, hide_share(ROW, S, E, 1.0, random.Random(0))) == [Q, S, E, C, D]
    assert kept([S, A, B], hide_share([S, A, B], S, E, 1.0, random.Random(0))) == [S, A, B], "a thought without an end"
    assert kept([A, E, B], hide_share([A, E, B], S, E, 1.0, random.Random(0))) == [A, E, B], "an end without a start"


@given(st.lists(st.sampled_from([A, B, C]), max_size=30), st.floats(0.01, 1.0), st.text(max_size=5))
def test_hidden_tokens_are_a_reproducible_share_of_a_thought(inner, share, key):
    ids = [Q, S, *inner, E, D]
    left = hide_share(ids, S, E, share, random.Random(key))
    assert left == hide_share(ids, S, E, share, random.Random(key))
    assert left.count(False) == round(share * len(inner)) and all(left[:2]) and all(left[-2:])


def test_a_rule_applies_to_both_answers():
    assert scored(tokenizer_of(score_spans=SpanConfig(end=END))) == [f"{END}yes<|end|>", f"{END}no<|end|>"]
    assert scored(tokenizer_of(score_spans=SpanConfig(end=END, include_marker=False))) == [
        "yes<|end|>",
        "no<|end|>",
    ]
    hidden = tokenizer_of(score_spans=SpanConfig(start=START, end=END, hide=1.0))
    assert scored(hidden) == [f"{START}{END}yes<|end|>", f"{START}{END}no<|end|>"]
    assert scored(tokenizer_of()) == [f"{PAIR.chosen}<|end|>", f"{PAIR.rejected}<|end|>"]
    thin = tokenizer_of(score_spans=SpanConfig(start=START, end=END, hide=0.5))
    long = replace(PAIR, chosen=f"{START}{'abcdefgh' * 5}{END}yes")
    drawn = {thin.token_pair(replace(long, id=str(k))).responses[0].scored for k in range(5)}
    assert len(drawn) > 1, "drawn by the pair's id"
    assert scored(thin, long) == scored(thin, long)


def test_samples_of_the_policy_follow_the_same_rules(tmp_path):
    tokenizer = tokenizer_of(score_spans=SpanConfig(end=END), shared_start="prompt")
    alone = tokenizer.token_pair(replace(PAIR, rejected=None))
    own = Response(alone.responses[0].ids[:4] + alone.responses[0].ids[-2:], (True,) * 6)
    both = tokenizer.token_pair(replace(PAIR, rejected=cached_answer(tmp_path, own.ids)))
    assert both.prompt == (*alone.prompt, *own.ids[:4])
    assert tokenizer.decode(kept(both.responses[0].ids, both.responses[0].scored)) == f"{END}yes<|end|>"


def test_a_pair_is_scored_from_its_first_difference_on():
    pair = replace(PAIR, chosen="one two four", rejected="one two three")
    whole, token_pair = tokenizer_of().token_pair(pair), tokenizer_of(shared_start="prompt").token_pair(pair)
    tokenizer = tokenizer_of()
    assert tokenizer.decode(token_pair.prompt) == "ask:one two "
    assert [tokenizer.decode(r.ids) for r in token_pair.responses] == ["four<|end|>", "three<|end|>"]
    for one, other in zip(whole.responses, token_pair.responses, strict=True):
        assert (*whole.prompt, *one.ids) == (*token_pair.prompt, *other.ids), "the whole text is unchanged"


def test_a_response_that_begins_another_keeps_one_token_and_a_single_one_is_unchanged():
    tokenizer = tokenizer_of(shared_start="prompt", add_end=False)
    token_pair = tokenizer.token_pair(replace(PAIR, chosen="two", rejected="two three"))
    assert [tokenizer.decode(r.ids) for r in token_pair.responses] == ["o", "o three"]
    alone = tokenizer.token_pair(replace(PAIR, rejected=None, chosen="two"))
    assert tokenizer.decode(alone.prompt) == "ask:" and tokenizer.decode(alone.responses[0].ids) == "two"


def test_the_shared_start_of_several_answers_is_common_to_all():
    rows = [Response((1, 2, 3), (True,) * 3), Response((1, 2, 4), (True,) * 3), Response((1, 5, 4), (True,) * 3)]
    found = TokenPair((9,), tuple(rows)).from_first_difference()
    assert found.prompt == (9, 1) and [r.ids for r in found.responses] == [(2, 3), (2, 4), (5, 4)]


def test_without_add_end_a_response_has_an_end_token_only_if_its_text_has_one():
    tokenizer = tokenizer_of(add_end=False)
    talk = Pair(
        id="c",
        prompt=Conversation((Message("user", "hi"),)),
        chosen=Conversation((Message("assistant", "yes"),)),
        rejected=Conversation((Message("assistant", "no"),)),
    )
    assert scored(tokenizer, replace(PAIR, chosen="yes", rejected="no<|end|>")) == ["yes", "no<|end|>"]
    assert scored(tokenizer, talk) == ["yes", "no"]


def test_an_answer_without_scored_tokens_is_refused():
    tokenizer = tokenizer_of(score_spans=SpanConfig(end=END, include_marker=False), add_end=False)
    with pytest.raises(DataError, match="'p'.*no token of a response is left to be scored by model.score_spans"):
        tokenizer.token_pair(replace(PAIR, chosen=f"hm{END}"))


def test_rules_change_the_fingerprint_and_default_rules_do_not():
    rules = [
        {},
        {"shared_start": "prompt"},
        {"add_end": False},
        {"score_spans": SpanConfig(end=END)},
        {"score_spans": SpanConfig(end=START)},
        {"score_spans": SpanConfig(start=START, end=END, hide=0.5)},
        {"score_spans": SpanConfig(end=END, include_marker=False)},
    ]
    assert len({tokenizer_of(**rule).fingerprint() for rule in rules}) == len(rules)
    usual = {"shared_start": "answer", "add_end": True, "score_spans": None}
    assert tokenizer_of(**usual).fingerprint() == tokenizer_of().fingerprint()


def test_the_description_names_the_rules():
    assert f"scored from the last {END} on" in tokenizer_of(score_spans=SpanConfig(end=END)).describe()
    thin = tokenizer_of(score_spans=SpanConfig(start=START, end=END, hide=0.2), shared_start="prompt").describe()
    assert "20% of the tokens between" in thin and "first difference" in thin


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"end": END, "hide": 0.5}, "name the first"),
        ({"end": END, "start": START}, "reads no start"),
        ({"end": END, "start": START, "hide": 0.5, "include_marker": True}, "leave include_marker out"),
        ({"end": END, "start": START, "hide": 1.5}, "less than or equal to 1"),
    ],
)
def test_contradictory_rules_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpanConfig(**settings)


def test_a_marker_that_is_no_token_is_refused_with_a_list_of_tokens():
    with pytest.raises(ConfigError, match="score_spans.end is '</think>', which is no token.*<|user|>"):
        tokenizer_of(score_spans=SpanConfig(end="</think>"))
