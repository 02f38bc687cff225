"""The law of tokens: prompt and answer decode to the text as it is written, on both sides, from one prompt.

It is tried on tokenizers of all kinds, with templates that end turns in several ways, in scripts with and without
spaces, and on the tokenizers of the embedded models.
"""

from itertools import product
from pathlib import Path

import pytest

import diffalign
from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Pair
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.continuation import continuation_ids
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from tests.policies.language.tokens.tokenizers_of_all_kinds import KINDS, TEMPLATES, tokenizer
from tests.tiny_text import tiny_tokenizer

PLAIN = [
    ("[INST] What is the price? [/INST] ", "46 now", "$46 now"),
    ("[INST] What is the price? [/INST]", " 46 now", "46 now"),
    ("User: Why is the sky blue?\n\nAssistant:", " Because of scattering", "that is why"),
    ("问：天空是什么颜色？答：", "蓝色。", "绿色的。"),
    ("空は何色ですか？", "青いです。", " 青い"),
    ("ท้องฟ้าสีอะไร ", "สีฟ้า", "สีเขียว"),
    ("def f(x):\n    ", "return x + 1\n", "    return x"),
    ("Because of scat", "tering", " blue"),
]
EMBEDDED = sorted(Path(diffalign.__file__).parent.parent.glob("assets/*/**/vocab.json"))


def _pairs(ids):
    return [Pair(f"{number}", prompt, *answers) for number, (prompt, *answers) in enumerate(ids)]


def _sides(tokenizer, pair):
    """Tokens of prompt and answer, for both answers, and the prompt's own."""
    token_pair = PairTokenizer(tokenizer, LanguageConfig(path="x")).token_pair(pair)
    return token_pair.prompt, [[*token_pair.prompt, *response.ids] for response in token_pair.responses]


def _decoded(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_plain_prompts_and_answers_decode_to_their_text_on_both_sides(kind, begins):
    made, apart = tokenizer(kind, begins=begins), 0
    for pair in _pairs(PLAIN):
        prompt, sides = _sides(made, pair)
        assert prompt == PairTokenizer(made, LanguageConfig(path="x")).prompt_ids(pair.prompt, raw=True)
        for answer, ids in zip((pair.chosen, pair.rejected), sides, strict=True):
            whole = [*made(pair.prompt + answer)["input_ids"], made.eos_token_id]
            assert _decoded(made, ids) == _decoded(made, whole), (pair.prompt, answer)
            assert (pair.prompt + answer + "</s>") in _decoded(made, ids)
            apart += ids != whole
    assert apart or kind == "unigram"  # otherwise nothing was tried


@pytest.mark.parametrize(("kind", "template"), list(product(KINDS, TEMPLATES)))
def test_conversations_decode_to_what_the_template_writes_up_to_the_end_of_the_answer(kind, template):
    made = tokenizer(kind, template)
    for prompt, *answers in PLAIN:
        turns = Conversation((Message("user", prompt.strip()),))
        chosen, rejected = (
            Conversation((Message("assistant", text.strip()),)) for text in (answers[0], f"{answers[1]}!")
        )
        _, sides = _sides(made, Pair("a", turns, chosen, rejected))
        for answer, ids in zip((chosen, rejected), sides, strict=True):
            text = made.apply_chat_template((turns + answer).rows(), tokenize=False)
            written = text[: text.rindex(">") + 1]  # what follows the end of the turn is never generated
            assert _decoded(made, ids) == _decoded(made, made(written, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_an_exchange_that_a_template_wrote_is_tokenised_the_same_as_plain_text(kind):
    """Prompts rendered beforehand, with their begin token, and answers with their end token and a newline after it."""
    for template in TEMPLATES:
        made = tokenizer(kind, template)
        turns = Conversation((Message("user", "What is the price?"),))
        answers = [Conversation((Message("assistant", text),)) for text in ("46 now", "$46 now")]
        prompt = made.apply_chat_template(turns.rows(), tokenize=False, add_generation_prompt=True)
        wholes = [made.apply_chat_template((turns + answer).rows(), tokenize=False) for answer in answers]
        plain, sides = _sides(made, Pair("a", prompt, *(whole[len(prompt) :] for whole in wholes)))
        _, expected = _sides(made, Pair("a", turns, *answers))
        assert list(plain).count(made.bos_token_id) == 1
        for ids, as_turns in zip(sides, expected, strict=True):
            written = _decoded(made, as_turns)
            assert _decoded(made, ids).removeprefix("<s>").strip() == written.removeprefix("<s>").strip()
            assert ids[-1] == as_turns[-1] and ids.count(ids[-1]) == as_turns.count(ids[-1])


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: path.parent.name)
def test_the_embedded_tokenizers_keep_the_law(path):
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(path.parent)
    for prompt, *answers in PLAIN[:3]:
        for answer in answers:
            before, whole = (made(text, add_special_tokens=False)["input_ids"] for text in (prompt, prompt + answer))
            ids, _ = continuation_ids(made, before, answer, whole)
            assert _decoded(made, [*before, *ids]) == _decoded(made, whole)


def test_a_begin_token_in_the_text_is_not_doubled():
    made = tiny_tokenizer(bos=True)
    rendered = "<s><|user|>\nSky?<|end|>\n<|assistant|>\n"
    prompt, sides = _sides(made, Pair("a", rendered, "Blue.<|end|>\n", "Green.<|end|> \n"))
    assert _decoded(made, prompt) == rendered
    assert [_decoded(made, ids) for ids in sides] == [f"{rendered}Blue.<|end|>", f"{rendered}Green.<|end|>"]
    assert PairTokenizer(made, LanguageConfig(path="x")).prompt_ids(rendered, raw=True) == prompt
    _, (kept, _) = _sides(made, Pair("a", "q", "a<|end|>\nb", "c"))
    assert _decoded(made, kept) == "<s>qa<|end|>\nb<|end|>"


def test_in_answers_of_several_turns_after_an_anchor_the_assistants_turns_are_scored():
    made = tokenizer("bytes, prefix space", "end then a line")
    several = Conversation((Message("assistant", "is now"), Message("user", "What?"), Message("assistant", "Qz")))
    pair = Pair("a", Conversation((Message("user", "price"),)), several, None)
    token_pair = PairTokenizer(made, LanguageConfig(path="x")).token_pair(pair)
    (response,) = token_pair.responses
    scored = [token for token, own in zip(response.ids, response.scored, strict=True) if own]
    assert token_pair.tokenised_apart and _decoded(made, scored).replace(" ", "") == "isnow</s>Qz</s>"
