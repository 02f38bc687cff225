"""Answers: drawn as the model says, alone as in a batch, with an adapter and in bfloat16."""

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import ConfigError, DataError
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.generate import Gumbel, TextSampling, answers
from diffalign.policies.language.tokens.tokenize import Tokens
from tests.tiny_text import FAMILIES, POSITIONS, tiny_model, tiny_tokenizer

PROMPTS = ["a", "tell me of the old house by the sea", "why so", "one two three four"]
SEEDS = [3, 5, 7, 9]
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def tokens(**options) -> Tokens:
    return Tokens(tiny_tokenizer(**options), LanguageConfig(path="tiny"))


def drawn(count: int, **settings) -> torch.Tensor:
    """How often each token wins over ``count`` steps of one generator."""
    draw = Gumbel([11], **settings)
    winners = torch.stack([draw(torch.empty(1, 0), LOGITS[None])[0].argmax() for _ in range(count)])
    return torch.bincount(winners, minlength=len(LOGITS)).double()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_draws_are_distributed_as_the_softmax_at_the_temperature(temperature):
    count = 8000
    expected = (LOGITS / temperature).double().softmax(0) * count
    distance = ((drawn(count, temperature=temperature) - expected) ** 2 / expected).sum()
    assert distance < 20.5  # chi-squared of 5 degrees: a true sampler is beyond it once in a thousand seeds


def test_top_k_and_top_p_leave_the_rest_out_and_the_shares_as_they_are():
    for settings in ({"top_k": 2}, {"top_p": 0.75}):  # shares 0.56, 0.21, ...: the second crosses 0.75
        seen = drawn(2000, **settings)
        assert (seen[:2] > 0).all() and seen[2:].sum() == 0
        assert abs(seen[0] / 2000 - LOGITS[:2].softmax(0)[0]) < 0.04
    assert drawn(50, top_p=1e-6)[0] == 50
    assert (drawn(4000, top_k=100, top_p=1.0) > 0).all()


def test_temperature_zero_takes_the_likeliest_token_each_time():
    model, reader = tiny_model(), tokens()
    ids = list(reader.prompt_ids("hi"))
    length = len(ids)
    while len(ids) < length + 12 and ids[-1] not in reader.ends:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    expected = reader.tokenizer.decode(ids[length:], skip_special_tokens=True).strip()
    assert answers(model, reader, ["hi"], [0], max_new_tokens=12, temperature=0.0) == [expected] != [""]


def test_a_row_is_drawn_from_the_models_own_probabilities():
    """Step by step without cache, padding or generate, from the same uniform numbers."""
    model, reader = tiny_model(), tokens()
    ids = list(reader.prompt_ids(PROMPTS[1]))
    length, generator = len(ids), torch.Generator().manual_seed(5)
    while len(ids) < length + 20 and ids[-1] not in reader.ends:
        logits = model(torch.tensor([ids])).logits[0, -1].double()
        uniform = torch.rand(len(logits), generator=generator, dtype=torch.float64)
        ids.append(int((logits.softmax(0) / -uniform.log()).argmax()))
    expected = reader.tokenizer.decode(ids[length:], skip_special_tokens=True).strip()
    assert answers(model, reader, PROMPTS, SEEDS, max_new_tokens=20)[1] == expected != ""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_alone_is_the_row_in_a_batch(family):
    model, reader = tiny_model(family), tokens()
    together = answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16)
    alone = [answers(model, reader, [p], [s], max_new_tokens=16)[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert together == alone
    assert answers(model, reader, PROMPTS[::-1], SEEDS[::-1], max_new_tokens=16, batch=3)[::-1] == alone
    assert len(set(together)) == len(together)


def test_seeds_tell_answers_apart_and_alone_decide_them():
    model, reader = tiny_model(), tokens()
    torch.manual_seed(1)
    first = answers(model, reader, ["hi"] * 4, [1, 2, 3, 1], max_new_tokens=16)
    torch.manual_seed(2)
    assert answers(model, reader, ["hi"] * 4, [1, 2, 3, 1], max_new_tokens=16) == first
    assert first[0] == first[3] and len(set(first)) == 3


def test_an_answer_stops_at_its_end_token_or_its_length():
    """The end token is made likely: some answers end by it, none has anything after it, none is too long."""
    model, reader = tiny_model(tie_word_embeddings=False), tokens(chat=False)
    raw = {"max_new_tokens": 24, "raw": True}
    free = answers(model, reader, ["hi"] * 6, range(6), **raw)
    assert all(0 < len(text) <= 24 for text in free)
    original = model.forward

    def eager_to_end(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits[..., reader.end] += 4.0
        return output

    model.forward = eager_to_end
    short = answers(model, reader, ["hi"] * 6, range(6), **raw)
    assert max(map(len, short)) < 24 and len({len(text) for text in short}) > 1
    assert all("<|end|>" not in text for text in short)


def test_a_models_own_settings_do_not_reach_the_draw_but_its_end_tokens_do():
    model, reader = tiny_model(), tokens()
    plain = answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16)
    model.generation_config.update(do_sample=True, temperature=0.2, top_k=1, repetition_penalty=3.0, max_length=20)
    kept = model.generation_config
    assert answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16) == plain
    assert model.generation_config is kept and kept.max_length == 20
    first = reader.tokenizer(plain[1][3])["input_ids"][0]
    model.generation_config.eos_token_id = [first]
    assert len(answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16)[1]) < len(plain[1])


def test_plain_prompts_are_the_users_turn_unless_they_are_raw():
    model, reader = tiny_model(), tokens()
    turn = Conversation((Message("user", "hi"),))
    settings = {"max_new_tokens": 16}
    assert answers(model, reader, ["hi"], [0], **settings) == answers(model, reader, [turn], [0], **settings)
    assert answers(model, reader, ["hi"], [0], raw=True, **settings) == answers(
        model, tokens(chat=False), ["hi"], [0], **settings
    )
    assert answers(model, reader, ["hi"], [0], raw=True, **settings) != answers(model, reader, ["hi"], [0], **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_answers_for_itself_and_a_fresh_one_as_its_base(dtype):
    reader = tokens()
    base = answers(tiny_model().to(dtype), reader, PROMPTS, SEEDS, max_new_tokens=16)
    model = tiny_model().to(dtype)
    add_adapter(model, AdapterConfig(rank=2, targets=("q_proj", "v_proj")))
    model.train()
    assert answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16) == base
    assert model.training
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    assert answers(model, reader, PROMPTS, SEEDS, max_new_tokens=16) != base


def test_answers_of_a_recomputing_model_are_those_of_the_model():
    reader = tokens()
    model = tiny_model()
    expected = answers(model, reader, PROMPTS, SEEDS, max_new_tokens=8)
    model.gradient_checkpointing_enable()
    model.train()
    assert answers(model, reader, PROMPTS, SEEDS, max_new_tokens=8) == expected


def test_prompts_that_cannot_be_answered_are_refused():
    model, reader = tiny_model(), tokens()
    with pytest.raises(ConfigError, match="one seed per prompt"):
        answers(model, reader, ["hi"], [])
    with pytest.raises(ConfigError, match=rf"{POSITIONS} positions. Set max_new_tokens to {POSITIONS - 8} or less"):
        answers(model, reader, ["hi"], [0], max_new_tokens=POSITIONS)
    with pytest.raises(DataError, match="no tokens"):
        answers(model, reader, [""], [0], raw=True)
    assert answers(model, reader, [], []) == []


def test_sampling_settings_are_checked():
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"max_new_tokens": 0}, {"steps": 3}):
        with pytest.raises(ValueError):
            TextSampling(**wrong)
