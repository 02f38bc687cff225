"""Answers that a policy samples are used by their tokens, in any role, beside answers that are texts."""

from dataclasses import replace

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Answer, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.show_token_pair import render_pair
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from tests.tiny_text import cached_answer, tiny_tokenizer

PAIR = Pair("p", "ask: ", "yes", "no")
CHAT = Conversation((Message("user", "hi"),))


def rules(**config):
    return PairTokenizer(tiny_tokenizer(), LanguageConfig(path="tiny", **config))


def own(folder, text, key):
    tokenizer = rules()
    return cached_answer(folder, tokenizer.token_pair(replace(PAIR, chosen=text, rejected=None)).responses[0].ids, key)


def test_a_pair_of_samples_has_the_tokens_of_the_same_pair_as_texts(tmp_path):
    samples = replace(PAIR, chosen=own(tmp_path, "yes", "a"), rejected=own(tmp_path, "no", "b"))
    assert rules().token_pair(samples) == rules().token_pair(PAIR)


def test_samples_stand_in_the_order_of_the_roles_among_texts(tmp_path):
    texts = replace(PAIR, further={"gold": Answer("maybe"), "calibration": Answer("so")})
    expected = rules().token_pair(texts)
    for chosen, rejected, gold, calibration in [
        (own(tmp_path, "yes", "a"), "no", "maybe", "so"),
        ("yes", own(tmp_path, "no", "b"), own(tmp_path, "maybe", "c"), "so"),
        (own(tmp_path, "yes", "d"), own(tmp_path, "no", "e"), "maybe", own(tmp_path, "so", "f")),
    ]:
        mixed = Pair("p", "ask: ", chosen, rejected, further={"gold": Answer(gold), "calibration": Answer(calibration)})
        assert rules().token_pair(mixed) == expected


def test_the_prompt_of_samples_alone_is_the_one_that_they_were_sampled_from(tmp_path):
    chat = Pair("c", CHAT, own(tmp_path, "yes", "a"), own(tmp_path, "no", "b"))
    assert rules().token_pair(chat).prompt == rules().prompt_ids(CHAT)
    assert rules().token_pair(replace(chat, prompt="ask:")).prompt == rules().prompt_ids("ask:", raw=True)


def test_a_sample_with_a_prompt_of_its_own_follows_that_prompt(tmp_path):
    other = replace(PAIR, further={"gold": Answer(own(tmp_path, "so", "a"), "else: ")})
    assert "else: " in render_pair(rules(), other) and "'[[so<|end|>]]'" in render_pair(rules(), other)


def test_rules_on_scored_tokens_compare_samples_with_texts(tmp_path):
    tokenizer = rules(shared_start="prompt")
    mixed = replace(PAIR, chosen="one two four", rejected=own(tmp_path, "one two three", "a"))
    assert tokenizer.token_pair(mixed) == tokenizer.token_pair(replace(mixed, rejected="one two three"))


def test_an_answer_that_does_not_exist_yet_counts_with_the_tokens_that_it_may_have():
    waiting = replace(PAIR, chosen=ToSample(0, tokens=7), rejected=ToSample(1, tokens=7))
    statistics = rules().scan([waiting, PAIR])
    assert statistics.to_sample == 2 and statistics.longest_response == 7
    assert "2 answers are sampled in their rounds" in statistics.summary()
    assert render_pair(rules(), waiting).count("(sampled in its round, at most 7 tokens)") == 2
    assert rules().scan([PAIR]).to_sample == 0
