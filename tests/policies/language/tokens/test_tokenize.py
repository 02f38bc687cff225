"""Tokenised pairs: the rules, what they cut, and which rows are refused before training."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from tests.tiny_text import CHARACTERS, TEMPLATE, chat_pairs, text_pairs, tiny_tokenizer

PAIR = Pair(id="p", prompt="ask: ", chosen="yes", rejected="no", source="file:3")


def rules(tokenizer=None, **config) -> PairTokenizer:
    return PairTokenizer(tokenizer or tiny_tokenizer(), LanguageConfig(path="tiny", **config))


def decoded(pair_tokenizer: PairTokenizer, pair: Pair) -> list[str]:
    token_pair = pair_tokenizer.token_pair(pair)
    return [pair_tokenizer.decode(ids) for ids in (token_pair.prompt, *(one.ids for one in token_pair.responses))]


def test_a_plain_response_follows_its_prompt_and_ends_with_the_end_token():
    assert decoded(rules(), PAIR) == ["ask: ", "yes<|end|>", "no<|end|>"]
    token_pair = rules().token_pair(PAIR)
    assert token_pair.responses[0].scored == (True,) * 4
    assert decoded(rules(), replace(PAIR, chosen="yes<|end|>"))[1] == "yes<|end|>"


def test_a_tokenizers_begin_token_begins_plain_prompts_and_chats_once():
    pair_tokenizer = rules(tiny_tokenizer(bos=True))
    assert decoded(pair_tokenizer, PAIR)[0] == "<s>ask: "
    assert decoded(pair_tokenizer, chat_pairs(1)[0])[0].count("<s>") == 1
    assert decoded(pair_tokenizer, chat_pairs(1)[0])[0].startswith("<s><|user|>")


def test_a_token_across_the_border_leaves_the_prompt_as_in_generation():
    """``": "`` would merge with the response's space; the prompt's own tokens stay, and the row is counted."""
    pair_tokenizer = rules(tiny_tokenizer(merges=(": ",)))
    pair = replace(PAIR, prompt="ask:", chosen=" yes", rejected="no")
    token_pair = pair_tokenizer.token_pair(pair)
    assert token_pair.tokenised_apart and decoded(pair_tokenizer, pair) == ["ask:", " yes<|end|>", "no<|end|>"]
    assert token_pair.prompt == pair_tokenizer.prompt_ids("ask:", raw=True)
    assert not pair_tokenizer.token_pair(PAIR).tokenised_apart
    assert pair_tokenizer.scan([pair, PAIR]).tokenised_apart == 1


def test_a_conversation_is_rendered_by_the_template_and_an_answer_ends_with_its_turn():
    pair = Pair(
        id="c",
        prompt=Conversation((Message("user", "hi"),)),
        chosen=Conversation((Message("assistant", "yes"),)),
        rejected=Conversation((Message("assistant", "no"),)),
    )
    expected = ["<|user|>\nhi<|end|>\n<|assistant|>\n", "yes<|end|>", "no<|end|>"]
    assert decoded(rules(), pair) == expected
    assert decoded(rules(), replace(pair, prompt="hi")) == expected  # turns on one side make turns of the other
    assert decoded(rules(), replace(pair, chosen="yes", rejected="no")) == expected
    assert rules().token_pair(pair).prompt == rules().prompt_ids("hi")


def test_in_answers_of_several_turns_only_the_assistants_turns_are_scored():
    several = Conversation((Message("assistant", "one"), Message("user", "one"), Message("assistant", "two")))
    for merges in ((), ("on", "\no")):
        pair_tokenizer = rules(tiny_tokenizer(merges=merges))
        response = pair_tokenizer.token_pair(
            Pair(id="c", prompt=Conversation((Message("user", "hi"),)), chosen=several, rejected=None)
        ).responses[0]
        mine = [token for token, scored in zip(response.ids, response.scored, strict=True) if scored]
        assert pair_tokenizer.decode(mine) == "one<|end|>two<|end|>"
        assert pair_tokenizer.decode(response.ids) == "one<|end|>\n<|user|>\none<|end|>\n<|assistant|>\ntwo<|end|>"


def test_an_exchange_tokenised_in_pieces_has_the_tokens_of_its_whole_text():
    """A prompt is tokenised once for all its answers, cut at a special token: no merge crosses it."""
    tokenizer = tiny_tokenizer(merges=("on", "\no", " o", "\n\n", ">\n"))
    pair_tokenizer = rules(tokenizer)
    for content in ("one", "\n\none", " on on"):
        prompt = Conversation((Message("user", content), Message("assistant", content), Message("user", content)))
        answer = Conversation((Message("assistant", content),))
        token_pair = pair_tokenizer.token_pair(Pair(id="c", prompt=prompt, chosen=answer, rejected=None))
        whole = tokenizer.apply_chat_template((prompt + answer).rows(), return_dict=False)[:-1]
        assert list(token_pair.prompt + token_pair.responses[0].ids) == whole or token_pair.tokenised_apart
        assert token_pair.tokenised_apart == (content == "\n\none")
        assert pair_tokenizer.chat.render_exchange(prompt, [answer]).stable_prefix > len("one" * 3)


def test_a_single_example_has_one_response():
    assert len(rules().token_pair(replace(PAIR, rejected=None)).responses) == 1


def test_the_template_may_end_turns_with_another_token_than_texts():
    pair_tokenizer = rules(chat_template=TEMPLATE.replace("<|end|>", "<unk>"))
    assert pair_tokenizer.end_ids == (3, 1)
    assert decoded(pair_tokenizer, chat_pairs(1)[0])[1].endswith("!<unk>")
    assert decoded(pair_tokenizer, PAIR)[1] == "yes<|end|>"


def test_an_end_token_is_added_after_a_template_that_writes_none():
    pair_tokenizer = rules(chat_template=TEMPLATE.replace("<|end|>", ""))
    assert decoded(pair_tokenizer, chat_pairs(1)[0])[1].endswith("!<|end|>")


@given(st.lists(st.text("".join(CHARACTERS), min_size=1).filter(str.strip), min_size=3, max_size=3, unique=True))
def test_decoded_tokens_are_the_texts(texts):
    prompt, chosen, rejected = texts
    pair = Pair(id="p", prompt=prompt, chosen=chosen, rejected=rejected)
    assert decoded(rules(), pair) == [prompt, f"{chosen}<|end|>", f"{rejected}<|end|>"]


def test_many_rows_give_the_tokens_of_each_row():
    pairs = text_pairs(20) + chat_pairs(20)
    pair_tokenizer = rules()
    assert pair_tokenizer.token_pairs(pairs) == [pair_tokenizer.token_pair(pair) for pair in pairs]


def test_long_responses_lose_their_end_and_are_counted():
    pair_tokenizer = rules(max_length=7)
    assert decoded(pair_tokenizer, PAIR) == ["ask: ", "ye", "no"]
    statistics = pair_tokenizer.scan([PAIR])
    assert (statistics.rows, statistics.cut_responses, statistics.cut_response_tokens, statistics.longest) == (
        1,
        2,
        3,
        7,
    )
    assert "cut 2 responses by 3 tokens" in statistics.summary()


def test_long_prompts_are_refused_or_cut_as_the_recipe_says():
    with pytest.raises(DataError, match=r"pair 'p' \(file:3\): the prompt has 5 tokens, and 3 are its limit"):
        rules(max_prompt_length=3).token_pair(PAIR)
    assert decoded(rules(max_prompt_length=3, long_prompts="keep_end"), PAIR)[0] == "k: "
    assert decoded(rules(max_prompt_length=3, long_prompts="keep_start"), PAIR)[0] == "ask"
    begun = rules(tiny_tokenizer(bos=True), max_prompt_length=3, long_prompts="keep_end")
    assert decoded(begun, PAIR)[0] == "<s>: "
    assert begun.scan([PAIR]).cut_prompt_tokens == 3
    assert len(begun.prompt_ids("a much longer token_pair", raw=True)) == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chosen": "  "}, "the response is empty"),
        ({"chosen": "no"}, "chosen and rejected are equal in tokens"),
        ({"prompt": ""}, "the prompt has no tokens"),
        ({"chosen": b"png"}, "a language model reads texts, but a candidate is bytes"),
        ({"chosen": "<|end|>"}, "the response is empty once it is tokenised"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(changes, why):
    with pytest.raises(DataError, match=rf"pair 'p' \(file:3\): {why}"):
        rules().token_pair(replace(PAIR, **changes))


def test_rows_that_differ_only_beyond_the_limit_are_named():
    with pytest.raises(DataError, match="equal in tokens once they are cut to model.max_length 7"):
        rules(max_length=7).token_pair(replace(PAIR, chosen="yes", rejected="yellow"))


def test_a_scan_counts_all_bad_rows_and_names_the_first():
    pairs = [replace(PAIR, id=f"p{i}", chosen="no" if i % 2 else "yes") for i in range(1000)]
    with pytest.raises(DataError) as error:
        rules().scan(iter(pairs))
    text = str(error.value)
    assert "500 of 1,000 rows" in text and "pair 'p1'" in text and "pair 'p9'" in text and "495 more" in text
    assert "pair 'p11'" not in text


def test_a_scan_reports_progress():
    reports: list[int] = []
    rules().scan(text_pairs(300), reports.append)
    assert reports == [256, 300]


def test_a_tokenizer_without_an_end_token_is_refused_with_advice():
    with pytest.raises(ConfigError, match="model.end_token=TOKEN"):
        rules(tiny_tokenizer(eos=False))
    assert decoded(rules(tiny_tokenizer(eos=False), end_token="<|end|>"), PAIR)[1] == "yes<|end|>"
    with pytest.raises(ConfigError, match=r"Did you mean '<\|end\|>'"):
        rules(end_token="<|ende|>")


def test_a_conversation_without_a_chat_template_is_refused():
    with pytest.raises(ConfigError, match="no chat template"):
        rules(tiny_tokenizer(chat=False)).scan(chat_pairs(2))


def test_a_plain_prompt_becomes_the_users_turn_only_for_a_chat_model():
    assert rules().decode(rules().prompt_ids("hi")) == "<|user|>\nhi<|end|>\n<|assistant|>\n"
    assert rules().decode(rules().prompt_ids("hi", raw=True)) == "hi"
    plain = rules(tiny_tokenizer(chat=False))
    assert plain.decode(plain.prompt_ids("hi")) == "hi"


def test_the_fingerprint_changes_only_with_settings_that_change_tokens():
    first = rules().fingerprint()
    used = rules()
    used.tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert used.fingerprint() == first and rules(dtype="bfloat16").fingerprint() == first
    others = [
        rules(max_length=64),
        rules(system="be brief"),
        rules(long_prompts="keep_end"),
        rules(chat_template=TEMPLATE + " "),
        rules(tiny_tokenizer(merges=("th",))),
        rules(tiny_tokenizer(bos=True)),
        rules(end_token="<unk>"),
    ]
    assert len({first, *(one.fingerprint() for one in others)}) == len(others) + 1
