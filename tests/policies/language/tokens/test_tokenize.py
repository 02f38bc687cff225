"""Texts as tokens: the stated rules, what they cut, and what is refused before training."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.tokenize import Tokens
from tests.tiny_text import CHARACTERS, TEMPLATE, chat_pairs, text_pairs, tiny_tokenizer

PAIR = Pair(id="p", prompt="ask: ", chosen="yes", rejected="no", source="file:3")


def tokens(tokenizer=None, **config) -> Tokens:
    return Tokens(tokenizer or tiny_tokenizer(), LanguageConfig(path="tiny", **config))


def spelt(reader: Tokens, pair: Pair) -> list[str]:
    question = reader.question(pair)
    return [reader.spell(ids) for ids in (question.prompt, *(one.ids for one in question.responses))]


def test_a_plain_response_follows_its_prompt_and_ends_with_the_end_token():
    assert spelt(tokens(), PAIR) == ["ask: ", "yes<|end|>", "no<|end|>"]
    question = tokens().question(PAIR)
    assert question.responses[0].scored == (True,) * 4
    assert spelt(tokens(), replace(PAIR, chosen="yes<|end|>"))[1] == "yes<|end|>"


def test_a_tokenizers_begin_token_begins_plain_prompts_and_chats_once():
    reader = tokens(tiny_tokenizer(bos=True))
    assert spelt(reader, PAIR)[0] == "<s>ask: "
    assert spelt(reader, chat_pairs(1)[0])[0].count("<s>") == 1
    assert spelt(reader, chat_pairs(1)[0])[0].startswith("<s><|user|>")


def test_a_token_across_the_border_leaves_the_prompt_as_it_is_asked():
    """``": "`` would merge with the response's space; the prompt's own tokens stay, and the row is counted."""
    reader = tokens(tiny_tokenizer(merges=(": ",)))
    pair = replace(PAIR, prompt="ask:", chosen=" yes", rejected="no")
    question = reader.question(pair)
    assert question.apart and spelt(reader, pair) == ["ask:", " yes<|end|>", "no<|end|>"]
    assert question.prompt == reader.prompt_ids("ask:", raw=True)
    assert not reader.question(PAIR).apart
    assert reader.survey([pair, PAIR]).apart == 1


def test_a_conversation_is_written_by_the_template_and_answered_up_to_its_end():
    pair = Pair(
        id="c",
        prompt=Conversation((Message("user", "hi"),)),
        chosen=Conversation((Message("assistant", "yes"),)),
        rejected=Conversation((Message("assistant", "no"),)),
    )
    expected = ["<|user|>\nhi<|end|>\n<|assistant|>\n", "yes<|end|>", "no<|end|>"]
    assert spelt(tokens(), pair) == expected
    assert spelt(tokens(), replace(pair, prompt="hi")) == expected  # turns on one side make turns of the other
    assert spelt(tokens(), replace(pair, chosen="yes", rejected="no")) == expected
    assert tokens().question(pair).prompt == tokens().prompt_ids("hi")


def test_in_answers_of_several_turns_only_the_assistants_words_are_scored():
    several = Conversation((Message("assistant", "one"), Message("user", "one"), Message("assistant", "two")))
    for merges in ((), ("on", "\no")):
        reader = tokens(tiny_tokenizer(merges=merges))
        response = reader.question(
            Pair(id="c", prompt=Conversation((Message("user", "hi"),)), chosen=several, rejected=None)
        ).responses[0]
        mine = [token for token, scored in zip(response.ids, response.scored, strict=True) if scored]
        assert reader.spell(mine) == "one<|end|>two<|end|>"
        assert reader.spell(response.ids) == "one<|end|>\n<|user|>\none<|end|>\n<|assistant|>\ntwo<|end|>"


def test_a_long_exchange_has_the_tokens_of_its_text_at_once():
    """A prompt is tokenised once for all its answers, cut at a special token: no merge crosses it."""
    tokenizer = tiny_tokenizer(merges=("on", "\no", " o", "\n\n", ">\n"))
    reader = tokens(tokenizer)
    for content in ("one", "\n\none", " on on"):
        prompt = Conversation((Message("user", content), Message("assistant", content), Message("user", content)))
        answer = Conversation((Message("assistant", content),))
        question = reader.question(Pair(id="c", prompt=prompt, chosen=answer, rejected=None))
        whole = tokenizer.apply_chat_template((prompt + answer).rows(), return_dict=False)[:-1]
        assert list(question.prompt + question.responses[0].ids) == whole or question.apart
        assert question.apart == (content == "\n\none")
        assert reader.chat.exchange(prompt, [answer]).seam > len("one" * 3)


def test_a_single_example_has_one_response():
    assert len(tokens().question(replace(PAIR, rejected=None)).responses) == 1


def test_the_template_may_end_turns_with_another_token_than_texts():
    reader = tokens(chat_template=TEMPLATE.replace("<|end|>", "<unk>"))
    assert reader.ends == (3, 1)
    assert spelt(reader, chat_pairs(1)[0])[1].endswith("!<unk>")
    assert spelt(reader, PAIR)[1] == "yes<|end|>"


def test_a_template_that_writes_no_end_token_is_given_one():
    reader = tokens(chat_template=TEMPLATE.replace("<|end|>", ""))
    assert spelt(reader, chat_pairs(1)[0])[1].endswith("!<|end|>")


@given(st.lists(st.text("".join(CHARACTERS), min_size=1).filter(str.strip), min_size=3, max_size=3, unique=True))
def test_tokens_say_what_the_texts_say(texts):
    prompt, chosen, rejected = texts
    pair = Pair(id="p", prompt=prompt, chosen=chosen, rejected=rejected)
    assert spelt(tokens(), pair) == [prompt, f"{chosen}<|end|>", f"{rejected}<|end|>"]


def test_many_rows_are_read_as_each_alone():
    pairs = text_pairs(20) + chat_pairs(20)
    reader = tokens()
    assert reader.questions(pairs) == [reader.question(pair) for pair in pairs]


def test_long_responses_lose_their_end_and_are_counted():
    reader = tokens(max_length=7)
    assert spelt(reader, PAIR) == ["ask: ", "ye", "no"]
    cuts = reader.survey([PAIR])
    assert (cuts.rows, cuts.responses, cuts.response_tokens, cuts.longest) == (1, 2, 3, 7)
    assert "cut 2 responses by 3 tokens" in cuts.summary()


def test_long_prompts_are_refused_or_cut_as_the_recipe_says():
    with pytest.raises(DataError, match=r"pair 'p' \(file:3\): the prompt has 5 tokens, and 3 are its limit"):
        tokens(max_prompt_length=3).question(PAIR)
    assert spelt(tokens(max_prompt_length=3, long_prompts="keep_end"), PAIR)[0] == "k: "
    assert spelt(tokens(max_prompt_length=3, long_prompts="keep_start"), PAIR)[0] == "ask"
    begun = tokens(tiny_tokenizer(bos=True), max_prompt_length=3, long_prompts="keep_end")
    assert spelt(begun, PAIR)[0] == "<s>: "
    assert begun.survey([PAIR]).prompt_tokens == 3
    assert len(begun.prompt_ids("a much longer question", raw=True)) == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chosen": "  "}, "the response is empty"),
        ({"chosen": "no"}, "chosen and rejected are equal in tokens"),
        ({"prompt": ""}, "the prompt has no tokens"),
        ({"chosen": b"png"}, "a language model judges texts, but a candidate is bytes"),
        ({"chosen": "<|end|>"}, "the response is empty once it is tokenised"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(changes, why):
    with pytest.raises(DataError, match=rf"pair 'p' \(file:3\): {why}"):
        tokens().question(replace(PAIR, **changes))


def test_rows_that_differ_beyond_the_limit_alone_are_named():
    with pytest.raises(DataError, match="equal in tokens once they are cut to model.max_length 7"):
        tokens(max_length=7).question(replace(PAIR, chosen="yes", rejected="yellow"))


def test_a_survey_counts_all_mistakes_and_names_the_first():
    pairs = [replace(PAIR, id=f"p{i}", chosen="no" if i % 2 else "yes") for i in range(1000)]
    with pytest.raises(DataError) as error:
        tokens().survey(iter(pairs))
    text = str(error.value)
    assert "500 of 1,000 rows" in text and "pair 'p1'" in text and "pair 'p9'" in text and "495 more" in text
    assert "pair 'p11'" not in text


def test_a_survey_tells_how_far_it_is():
    told: list[int] = []
    tokens().survey(text_pairs(300), told.append)
    assert told == [256, 300]


def test_a_tokenizer_without_an_end_token_is_refused_with_what_to_type():
    with pytest.raises(ConfigError, match="model.end_token=TOKEN"):
        tokens(tiny_tokenizer(eos=False))
    assert spelt(tokens(tiny_tokenizer(eos=False), end_token="<|end|>"), PAIR)[1] == "yes<|end|>"
    with pytest.raises(ConfigError, match=r"Did you mean '<\|end\|>'"):
        tokens(end_token="<|ende|>")


def test_a_conversation_without_a_chat_template_is_refused():
    with pytest.raises(ConfigError, match="no chat template"):
        tokens(tiny_tokenizer(chat=False)).survey(chat_pairs(2))


def test_a_plain_prompt_is_a_users_turn_only_where_it_is_asked_of_a_chat_model():
    assert tokens().spell(tokens().prompt_ids("hi")) == "<|user|>\nhi<|end|>\n<|assistant|>\n"
    assert tokens().spell(tokens().prompt_ids("hi", raw=True)) == "hi"
    plain = tokens(tiny_tokenizer(chat=False))
    assert plain.spell(plain.prompt_ids("hi")) == "hi"


def test_the_fingerprint_changes_with_what_changes_tokens_and_with_nothing_else():
    first = tokens().fingerprint()
    used = tokens()
    used.tokenizer(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert used.fingerprint() == first and tokens(dtype="bfloat16").fingerprint() == first
    others = [
        tokens(max_length=64),
        tokens(system="be brief"),
        tokens(long_prompts="keep_end"),
        tokens(chat_template=TEMPLATE + " "),
        tokens(tiny_tokenizer(merges=("th",))),
        tokens(tiny_tokenizer(bos=True)),
        tokens(end_token="<unk>"),
    ]
    assert len({first, *(one.fingerprint() for one in others)}) == len(others) + 1
