"""Sampled answers follow the model's probabilities, in any batch, with an adapter and in bfloat16."""

from functools import wraps

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import ConfigError, DataError
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.decode import decode_answers
from diffalign.policies.language.generation.sample import GumbelNoise, sample_ids
from diffalign.policies.language.generation.settings import TextSampling
from diffalign.policies.language.generation.shared_prompts import shared_keys_and_values
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from tests.tiny_text import FAMILIES, POSITIONS, tiny_model, tiny_tokenizer

PROMPTS = ["a", "tell me of the old house by the sea", "why so", "one two three four"]
SEEDS = [3, 5, 7, 9]
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def tokenizer_of(**options) -> PairTokenizer:
    return PairTokenizer(tiny_tokenizer(**options), LanguageConfig(path="tiny"))


def answers(model, tokenizer, prompts, seeds, *, raw=False, **settings):
    ids = sample_ids(model, tokenizer, prompts, seeds, raw=raw, **settings)
    return decode_answers(model, tokenizer, prompts, ids, raw=raw)


def drawn(count: int, **settings) -> torch.Tensor:
    """How often each token wins over ``count`` steps of one generator."""
    draw = GumbelNoise([11], **settings)
    winners = torch.stack([draw(torch.empty(1, 0), LOGITS[None])[0].argmax() for _ in range(count)])
    return torch.bincount(winners, minlength=len(LOGITS)).double()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
def test_draws_follow_the_softmax_at_the_temperature(temperature):
    count = 8000
    expected = (LOGITS / temperature).double().softmax(0) * count
    distance = ((drawn(count, temperature=temperature) - expected) ** 2 / expected).sum()
    assert distance < 20.5  # chi-squared of 5 degrees: a true sampler is beyond it once in a thousand seeds


def test_top_k_and_top_p_exclude_the_rest_and_keep_the_ratios():
    for settings in ({"top_k": 2}, {"top_p": 0.75}):  # shares 0.56, 0.21, ...: the second crosses 0.75
        seen = drawn(2000, **settings)
        assert (seen[:2] > 0).all() and seen[2:].sum() == 0
        assert abs(seen[0] / 2000 - LOGITS[:2].softmax(0)[0]) < 0.04
    assert drawn(50, top_p=1e-6)[0] == 50
    assert (drawn(4000, top_k=100, top_p=1.0) > 0).all()


def test_temperature_zero_takes_the_likeliest_token_each_time():
    model, tokenizer = tiny_model(), tokenizer_of()
    ids = list(tokenizer.prompt_ids("hi"))
    length = len(ids)
    while len(ids) < length + 12 and ids[-1] not in tokenizer.end_ids:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    expected = tokenizer.tokenizer.decode(ids[length:], skip_special_tokens=True).strip()
    assert answers(model, tokenizer, ["hi"], [0], max_new_tokens=12, temperature=0.0) == [expected] != [""]


def test_a_row_is_sampled_from_the_models_own_probabilities():
    """Step by step without cache, padding or generate, from the same uniform numbers."""
    model, tokenizer = tiny_model(), tokenizer_of()
    ids = list(tokenizer.prompt_ids(PROMPTS[1]))
    length, generator = len(ids), torch.Generator().manual_seed(5)
    while len(ids) < length + 20 and ids[-1] not in tokenizer.end_ids:
        logits = model(torch.tensor([ids])).logits[0, -1].double()
        uniform = torch.rand(len(logits), generator=generator, dtype=torch.float64)
        ids.append(int((logits.softmax(0) / -uniform.log()).argmax()))
    expected = tokenizer.tokenizer.decode(ids[length:], skip_special_tokens=True).strip()
    assert answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=20)[1] == expected != ""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_depend_on_its_batch(family):
    model, tokenizer = tiny_model(family), tokenizer_of()
    together = answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16)
    alone = [answers(model, tokenizer, [p], [s], max_new_tokens=16)[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    assert together == alone
    assert answers(model, tokenizer, PROMPTS[::-1], SEEDS[::-1], max_new_tokens=16, batch=3)[::-1] == alone
    assert len(set(together)) == len(together)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_one_prompt_in_a_batch_read_it_once_and_are_those_of_prompts_read_alone(family, monkeypatch):
    model, tokenizer = tiny_model(family), tokenizer_of()
    prompts = [prompt for prompt in PROMPTS for _ in range(3)]
    seeds = list(range(len(prompts)))
    alone = [sample_ids(model, tokenizer, [p], [s], max_new_tokens=12)[0] for p, s in zip(prompts, seeds, strict=True)]
    read, forward = [], model.forward

    @wraps(forward)  # generation reads its signature
    def count(*args, **kwargs):
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        read.append(tuple(ids.shape))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", count)
    assert sample_ids(model, tokenizer, prompts, seeds, max_new_tokens=12, batch=12) == alone
    longest = max(len(tokenizer.prompt_ids(prompt)) for prompt in PROMPTS)
    assert read[0] == (4, longest - 1) and all(shape == (12, 1) for shape in read[1:])
    assert sample_ids(model, tokenizer, prompts[::-1], seeds[::-1], max_new_tokens=12, batch=5) == alone[::-1]


def test_a_prompt_of_one_token_and_prompts_that_differ_are_not_shared():
    model = tiny_model()
    two = torch.tensor([[9, 8], [9, 7]])
    assert shared_keys_and_values(model, [[9], [9]], two[:, :1], torch.ones(2, 1)) == {}
    assert shared_keys_and_values(model, [[9, 8], [9, 7]], two, torch.ones(2, 2)) == {}


def test_answers_depend_on_their_seeds_and_on_no_other_randomness():
    model, tokenizer = tiny_model(), tokenizer_of()
    torch.manual_seed(1)
    first = answers(model, tokenizer, ["hi"] * 4, [1, 2, 3, 1], max_new_tokens=16)
    torch.manual_seed(2)
    assert answers(model, tokenizer, ["hi"] * 4, [1, 2, 3, 1], max_new_tokens=16) == first
    assert first[0] == first[3] and len(set(first)) == 3


def test_an_answer_stops_at_its_end_token_or_its_length():
    """The end token is made likely: some answers end by it, none has anything after it, none is too long."""
    model, tokenizer = tiny_model(tie_word_embeddings=False), tokenizer_of(chat=False)
    raw = {"max_new_tokens": 24, "raw": True}
    free = answers(model, tokenizer, ["hi"] * 6, range(6), **raw)
    assert all(0 < len(text) <= 24 for text in free)
    original = model.forward

    def eager_to_end(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits[..., tokenizer.end_id] += 4.0
        return output

    model.forward = eager_to_end
    short = answers(model, tokenizer, ["hi"] * 6, range(6), **raw)
    assert max(map(len, short)) < 24 and len({len(text) for text in short}) > 1
    assert all("<|end|>" not in text for text in short)


def test_a_models_own_settings_are_ignored_except_its_end_tokens():
    model, tokenizer = tiny_model(), tokenizer_of()
    plain = answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16)
    model.generation_config.update(do_sample=True, temperature=0.2, top_k=1, repetition_penalty=3.0, max_length=20)
    kept = model.generation_config
    assert answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16) == plain
    assert model.generation_config is kept and kept.max_length == 20
    first = tokenizer.tokenizer(plain[1][3])["input_ids"][0]
    model.generation_config.eos_token_id = [first]
    assert len(answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16)[1]) < len(plain[1])


def test_plain_prompts_are_the_users_turn_unless_they_are_raw():
    model, tokenizer = tiny_model(), tokenizer_of()
    turn = Conversation((Message("user", "hi"),))
    settings = {"max_new_tokens": 16}
    assert answers(model, tokenizer, ["hi"], [0], **settings) == answers(model, tokenizer, [turn], [0], **settings)
    assert answers(model, tokenizer, ["hi"], [0], raw=True, **settings) == answers(
        model, tokenizer_of(chat=False), ["hi"], [0], **settings
    )
    assert answers(model, tokenizer, ["hi"], [0], raw=True, **settings) != answers(
        model, tokenizer, ["hi"], [0], **settings
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_changes_answers_and_a_fresh_one_does_not(dtype):
    tokenizer = tokenizer_of()
    base = answers(tiny_model().to(dtype), tokenizer, PROMPTS, SEEDS, max_new_tokens=16)
    model = tiny_model().to(dtype)
    add_adapter(model, AdapterConfig(rank=2, targets=("q_proj", "v_proj")))
    model.train()
    assert answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16) == base
    assert model.training
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    assert answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=16) != base


def test_gradient_checkpointing_does_not_change_answers():
    tokenizer = tokenizer_of()
    model = tiny_model()
    expected = answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=8)
    model.gradient_checkpointing_enable()
    model.train()
    assert answers(model, tokenizer, PROMPTS, SEEDS, max_new_tokens=8) == expected


def test_prompts_that_cannot_be_answered_are_refused():
    model, tokenizer = tiny_model(), tokenizer_of()
    with pytest.raises(ConfigError, match="one seed per prompt"):
        answers(model, tokenizer, ["hi"], [])
    with pytest.raises(ConfigError, match=rf"{POSITIONS} positions. Set max_new_tokens to {POSITIONS - 8} or less"):
        answers(model, tokenizer, ["hi"], [0], max_new_tokens=POSITIONS)
    with pytest.raises(DataError, match="no tokens"):
        answers(model, tokenizer, [""], [0], raw=True)
    assert answers(model, tokenizer, [], []) == []


def test_sampling_settings_are_checked():
    for wrong in ({"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"max_new_tokens": 0}, {"steps": 3}):
        with pytest.raises(ValueError):
            TextSampling(**wrong)
