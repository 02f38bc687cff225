"""Answers of a language model: generation whose randomness is an argument.

A token is drawn by the Gumbel rule: with logits ``l`` after temperature, top-k and top-p, and ``g_v = -log(-log u_v)``,

    argmax_v (l_v + g_v)  is distributed as  softmax(l)

``u`` comes from one CPU generator per row, seeded with the row's seed: an answer does not depend on the batch it is
made in (but for rounding, which another shape may change: in bfloat16 now and then visibly), and two models that agree
give equal texts for equal seeds, so that what differs between them is what training changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from diffalign.data.records.conversation import Text
from diffalign.errors import ConfigError
from diffalign.policies.language.generation.implicit_reward_beam import BeamSettings, likely
from diffalign.policies.language.tokens.tokenize import Tokens

BATCH = 8


class TextCandidates(BaseModel):
    """How answers are drawn that become candidates.

    Args:
        max_new_tokens: Tokens of an answer at most.
        temperature: Divides the logits; 0 takes the likeliest token each time.
        top_p: Draw among the likeliest tokens that together have this share; 1 means all.
        top_k: Draw among this many of the likeliest tokens; 0 means all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)


class TextSampling(TextCandidates, BeamSettings):
    """How answers are drawn, or searched for, for people and judges.

    Args:
        raw: Continue a plain prompt as it is, also where there is a chat template. Otherwise it is the user's turn.
    """

    raw: bool = False

    @model_validator(mode="after")
    def _rewards_are_searched_among_likely_tokens(self) -> TextSampling:
        if self.beams and self.beam_mode == "reward" and self.top_p == 1.0 and not self.top_k:
            raise ValueError(
                "beam_mode 'reward' prefers whatever the reference hardly knows unless it is kept to the policy's "
                "likely tokens. Set top_p=0.9, or top_k"
            )
        return self


def answers(model: Any, tokens: Tokens, prompts: Sequence[Text], seeds: Sequence[int], **settings: Any) -> list[str]:
    """One answer per prompt and seed, in their order, without special tokens. An answer in a conversation has no space
    around it; the continuation of a raw prompt is what follows it to the letter.

    Arguments and errors are those of :func:`written`.
    """
    new = written(model, tokens, prompts, seeds, **settings)
    return spelled(model, tokens, prompts, new, raw=settings.get("raw", False))


def spelled(
    model: Any, tokens: Tokens, prompts: Sequence[Text], new: Sequence[Sequence[int]], *, raw: bool = False
) -> list[str]:
    """The texts of what :func:`written` gave for these prompts."""
    ends, texts = _ends(model, tokens), []
    for prompt, ids in zip(prompts, new, strict=True):
        words = ids[:-1] if ids and ids[-1] in ends else ids
        if isinstance(tokens.format_prompt(prompt, raw), str):
            texts.append(_continuation(tokens.tokenizer, tokens.prompt_ids(prompt, raw), words))
        else:
            texts.append(_spell(tokens.tokenizer, words).strip())
    return texts


@torch.no_grad()
def written(
    model: Any,
    tokens: Tokens,
    prompts: Sequence[Text],
    seeds: Sequence[int],
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    raw: bool = False,
    batch: int = BATCH,
) -> list[list[int]]:
    """The tokens of one answer per prompt and seed, in their order; the last ends the answer, unless there was no room.

    Args:
        model: A causal language model of transformers, with or without an adapter on it. Its mode is kept, and its own
            generation settings (penalties, temperature) are left out of account, but for its end tokens.
        tokens: Writes prompts, and knows the tokens that end an answer.
        prompts: Plain, or conversations.
        seeds: One per prompt.
        max_new_tokens: As in `TextSampling`, with the four that follow.
        temperature: See there.
        top_p: See there.
        top_k: See there.
        raw: See there.
        batch: Rows at a time; rows of about one length share a batch.

    Raises:
        ConfigError: where prompt and answer together could have more tokens than the model has positions.
        DataError: for a prompt without tokens, or beyond the limit of the recipe.
    """
    if len(prompts) != len(seeds):
        raise ConfigError(f"one seed per prompt is needed; got {len(prompts)} prompts and {len(seeds)} seeds")
    ids = [tokens.prompt_ids(prompt, raw) for prompt in prompts]
    fits(model, max((len(row) for row in ids), default=0), max_new_tokens)
    found: list[list[int]] = [[] for _ in ids]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    with plain_settings(model, tokens, max_new_tokens) as ends:
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            draw = Gumbel([seeds[row] for row in rows], temperature=temperature, top_p=top_p, top_k=top_k)
            for row, new in zip(rows, _continue(model, tokens, [ids[row] for row in rows], draw), strict=True):
                found[row] = new[: next((place + 1 for place, token in enumerate(new) if token in ends), len(new))]
    return found


class Gumbel:
    """A logits processor after which the largest score is a draw.

    Args:
        seeds: One per row.
        temperature: As in `TextSampling`, with the two that follow.
        top_p: See there.
        top_k: See there.
    """

    def __init__(self, seeds: Sequence[int], *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0):
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores ``(rows, vocabulary)`` with noise; what top-k and top-p leave out is -inf."""
        if self.temperature == 0.0:
            return scores
        scores = scores.float() / self.temperature
        if 0 < self.top_k < scores.shape[-1] or self.top_p < 1.0:
            scores = scores.masked_fill(~likely(scores, top_k=self.top_k, top_p=self.top_p), -torch.inf)
        # In float64: the largest of many draws decides, and float32 has few numbers just below 1.
        draws = [torch.rand(scores.shape[-1], generator=one, dtype=torch.float64) for one in self.generators]
        noise = torch.stack(draws).log_().neg_().log_().neg_()
        return scores + noise.to(scores.device, scores.dtype)


def _continue(model: Any, tokens: Tokens, ids: Sequence[Sequence[int]], draw: Gumbel) -> list[list[int]]:
    """New tokens of each row, from one batch padded on the left."""
    width, device = max(map(len, ids)), model.device
    pad = model.generation_config.pad_token_id
    padded = torch.tensor([[pad] * (width - len(row)) + list(row) for row in ids], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=device)
    whole = model.generate(input_ids=padded, attention_mask=mask, logits_processor=[draw])
    return whole[:, width:].tolist()


@contextmanager
def plain_settings(model: Any, tokens: Tokens, max_new_tokens: int) -> Iterator[frozenset[int]]:
    """Within it the model generates by our settings alone, in evaluation mode; gives the tokens that end an answer."""
    from transformers import GenerationConfig

    own, mode = model.generation_config, model.training
    ends = _ends(model, tokens)
    pad = tokens.tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=sorted(ends),
        pad_token_id=tokens.end if pad is None else pad,
    )
    try:
        model.eval()
        yield ends
    finally:
        model.generation_config = own
        model.train(mode)


def _ends(model: Any, tokens: Tokens) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, the template's, and those that the model names itself."""
    own = getattr(model.generation_config, "eos_token_id", None)
    return frozenset({*tokens.ends, *([] if own is None else [own] if isinstance(own, int) else own)})


def fits(model: Any, longest: int, new: int) -> None:
    """Raises ConfigError where prompt and answer together could have more tokens than the model has positions."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions and longest + new > positions:
        raise ConfigError(
            f"a prompt has {longest:,} tokens, which with max_new_tokens {new:,} is beyond the model's {positions:,} "
            f"positions. Set max_new_tokens to {max(1, positions - longest):,} or less, or shorten the prompt"
        )


def _continuation(tokenizer: Any, prompt: Sequence[int], new: Sequence[int]) -> str:
    """What follows the prompt to the letter: some tokenizers drop the space that a text begins with."""
    before, whole = _spell(tokenizer, prompt), _spell(tokenizer, [*prompt, *new])
    return whole[len(before) :] if whole.startswith(before) else _spell(tokenizer, new)


def _spell(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
