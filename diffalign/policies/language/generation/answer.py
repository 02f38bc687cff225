"""Answering: drawn token by token, or by beam search with the reference beside the policy where a mode asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.conversation import Text
from diffalign.policies.language.generation.generate import fits, plain_settings, written
from diffalign.policies.language.generation.implicit_reward_beam import BeamSettings, implicit_beam_search
from diffalign.policies.language.tokens.tokenize import Tokens

Base = Callable[[], AbstractContextManager[Any]]
"""Gives the network that a policy started from, within a block."""


def answered(
    network: Any,
    tokens: Tokens,
    prompts: Sequence[Text],
    seeds: Sequence[int],
    *,
    base: Base | None = None,
    apart: bool = False,
    **settings: Any,
) -> list[list[int]]:
    """The tokens of one answer per prompt and seed, drawn or searched for, as ``settings`` (of `TextSampling`) say.

    Args:
        network: A language network.
        tokens: Writes prompts, and knows the tokens that end an answer.
        prompts: Plain, or conversations.
        seeds: One per prompt; a search does not ask for them.
        base: See :func:`searched`.
        apart: See there.
        settings: How, and ``batch``: rows at a time.
    """
    beams = BeamSettings(**{name: settings.pop(name) for name in BeamSettings.model_fields if name in settings})
    if not beams.beams:
        return written(network.model, tokens, prompts, seeds, **settings)
    settings = {name: value for name, value in settings.items() if name not in ("temperature", "batch")}
    return searched(network, tokens, prompts, beams, base=base, apart=apart, **settings)


def searched(
    network: Any,
    tokens: Tokens,
    prompts: Sequence[Text],
    beams: BeamSettings,
    *,
    base: Base | None = None,
    apart: bool = False,
    max_new_tokens: int = 128,
    top_p: float = 1.0,
    top_k: int = 0,
    raw: bool = False,
) -> list[list[int]]:
    """The tokens of the best answer to each prompt; equal prompts are searched once.

    Args:
        network: A language network; its mode is kept, its model's own generation settings are left out of account.
        tokens: Writes prompts, and knows the tokens that end an answer.
        prompts: Plain, or conversations.
        beams: Width, mode, weight and length penalty.
        base: The reference, asked in modes other than ``"policy"``. None searches ``network`` by its own likelihood,
            whatever the mode: the reference itself has no reward.
        apart: Whether ``base`` is a network of its own, to be held for the whole search. Otherwise it is this one with
            something switched off, and has to be asked in turns.
        max_new_tokens: As in `TextSampling`, with the three that follow.
        top_p: See there.
        top_k: See there.
        raw: See there.

    Raises:
        ConfigError: where prompt and answer together could have more tokens than the model has positions.
        DataError: for a prompt without tokens, or beyond the limit of the recipe.
    """
    mode = "policy" if base is None else beams.beam_mode
    ids = [tuple(tokens.prompt_ids(prompt, raw)) for prompt in prompts]
    fits(network.model, max(map(len, ids), default=0), max_new_tokens)
    found: dict[tuple[int, ...], list[int]] = {}
    with plain_settings(network.model, tokens, max_new_tokens) as ends, ExitStack() as held:
        reference = None if mode == "policy" else base
        if reference is not None and apart:
            other = held.enter_context(reference())
            reference = lambda: nullcontext(other)
        for row in dict.fromkeys(ids):
            best, *_ = implicit_beam_search(
                CachedSteps(row, network, reference),
                ends=ends,
                max_new_tokens=max_new_tokens,
                width=beams.beams,
                mode=mode,
                weight=beams.beam_weight,
                length_penalty=beams.length_penalty,
                top_k=top_k,
                top_p=top_p,
            )
            found[row] = list(best.ids)
    return [found[row] for row in ids]


class CachedSteps:
    """Steps of a network and its reference; each keeps what it computed of every live beam. The two may be one network
    with its adapter on and off, so the reference is asked within a block of its own.

    Args:
        prompt: Tokens, one at least.
        network: The policy's.
        reference: Gives the reference's; None: there is none to ask.
    """

    def __init__(self, prompt: Sequence[int], network: Any, reference: Base | None) -> None:
        self._prompt, self._network, self._reference = prompt, network, reference
        self._caches: dict[str, Any] = {}

    def __call__(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """See :class:`~diffalign.policies.language.generation.implicit_reward_beam.Steps`."""
        policy = self._next("policy", self._network.model, parents, tokens)
        if self._reference is None:
            return policy, None
        with self._reference() as reference:
            return policy, self._next("reference", reference.model, parents, tokens)

    def _next(self, who: str, model: Any, parents: Sequence[int], tokens: Sequence[int]) -> Tensor:
        cache = self._caches.get(who)
        rows = [[token] for token in tokens] if cache is not None else [list(self._prompt)]
        if cache is not None:
            cache.reorder_cache(torch.tensor(list(parents), device=model.device))
        ids = torch.tensor(rows, device=model.device)
        last = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, **last)
        self._caches[who] = out.past_key_values
        return out.logits[:, -1].float().log_softmax(-1)  # type: ignore[no-any-return]
