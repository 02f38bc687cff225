"""Samples answers of a language model, with randomness as an argument.

A token is drawn by the Gumbel rule: with logits ``l`` after temperature, top-k and top-p, and ``g_v = -log(-log u_v)``,

    argmax_v (l_v + g_v)  is distributed as  softmax(l)

``u`` comes from one CPU generator per row, seeded with the row's seed. So an answer does not depend on its batch
(except for rounding, which another shape may change: in bfloat16 occasionally visibly). Two models that agree give
equal texts for equal seeds, so differences between their texts are due to training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.conversation import Text
from diffalign.errors import ConfigError
from diffalign.policies.language.generation.implicit_reward_beam import likely_tokens
from diffalign.policies.language.generation.model_settings import check_positions, plain_generation_config
from diffalign.policies.language.generation.shared_prompts import shared_keys_and_values
from diffalign.policies.language.tokens.tokenize import PairTokenizer

BATCH_SIZE = 8


@torch.no_grad()
def sample_ids(
    model: Any,
    pair_tokenizer: PairTokenizer,
    prompts: Sequence[Text],
    seeds: Sequence[int],
    *,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    raw: bool = False,
    batch: int = BATCH_SIZE,
) -> list[list[int]]:
    """Returns the tokens of one answer per prompt and seed, in their order. The last one ends the answer, unless
    ``max_new_tokens`` were not enough.

    Args:
        model: A causal language model of transformers, with or without an adapter. Its training mode is restored. Of
            its own generation settings only the end tokens are used.
        pair_tokenizer: Tokenises prompts.
        prompts: Plain texts or conversations.
        seeds: One per prompt.
        max_new_tokens, temperature, top_p, top_k, raw: As in :class:`TextSampling`.
        batch: Rows at a time; rows of similar length share a batch, and equal prompts of a batch are read once.

    Raises:
        ConfigError: Prompt and answer together could have more tokens than the model has positions.
        DataError: A prompt has no tokens, or is longer than the recipe's limit.
    """
    if len(prompts) != len(seeds):
        raise ConfigError(f"one seed per prompt is needed; got {len(prompts)} prompts and {len(seeds)} seeds")
    prompt_ids = [pair_tokenizer.prompt_ids(prompt, raw) for prompt in prompts]
    check_positions(model, max((len(ids) for ids in prompt_ids), default=0), max_new_tokens)
    answers: list[list[int]] = [[] for _ in prompt_ids]
    # Answers of one prompt become neighbours, so that a batch reads it once.
    by_length = sorted(range(len(prompt_ids)), key=lambda row: (len(prompt_ids[row]), tuple(prompt_ids[row])))
    with plain_generation_config(model, pair_tokenizer, max_new_tokens) as ends:
        for start in range(0, len(by_length), batch):
            rows = by_length[start : start + batch]
            noise = GumbelNoise([seeds[row] for row in rows], temperature=temperature, top_p=top_p, top_k=top_k)
            for row, ids in zip(rows, _generate(model, [prompt_ids[row] for row in rows], noise), strict=True):
                length = next((position + 1 for position, token in enumerate(ids) if token in ends), len(ids))
                answers[row] = ids[:length]
    return answers


class GumbelNoise:
    """A logits processor that adds Gumbel noise, so that the largest logit is a random draw.

    Args:
        seeds: One per row.
        temperature, top_p, top_k: As in :class:`TextSampling`.
    """

    def __init__(self, seeds: Sequence[int], *, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0):
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns logits ``(rows, vocabulary)`` with noise; -inf for tokens outside top-k and top-p."""
        if self.temperature == 0.0:
            return scores
        scores = scores.float() / self.temperature
        if 0 < self.top_k < scores.shape[-1] or self.top_p < 1.0:
            scores = scores.masked_fill(~likely_tokens(scores, top_k=self.top_k, top_p=self.top_p), -torch.inf)
        # In float64: the largest of many draws decides, and float32 has few numbers just below 1.
        uniform = [torch.rand(scores.shape[-1], generator=g, dtype=torch.float64) for g in self.generators]
        noise = torch.stack(uniform).log_().neg_().log_().neg_()
        return scores + noise.to(scores.device, scores.dtype)


def _generate(model: Any, prompt_ids: Sequence[Sequence[int]], noise: GumbelNoise) -> list[list[int]]:
    """Returns the new tokens of each row, from one batch padded on the left."""
    width, device = max(map(len, prompt_ids)), model.device
    pad = model.generation_config.pad_token_id
    padded = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompt_ids], device=device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompt_ids], device=device)
    shared = shared_keys_and_values(model, prompt_ids, padded, mask)
    output = model.generate(input_ids=padded, attention_mask=mask, logits_processor=[noise], **shared)
    return output[:, width:].tolist()
