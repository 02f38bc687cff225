"""Generates answers by sampling or by beam search, as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.conversation import Text
from diffalign.policies.language.generation.implicit_reward_beam import implicit_beam_search
from diffalign.policies.language.generation.model_settings import check_positions, plain_generation_config
from diffalign.policies.language.generation.sample import sample_ids
from diffalign.policies.language.generation.settings import BeamSettings
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.tokens.tokenize import PairTokenizer

NetworkContext = Callable[[], AbstractContextManager[LanguageNetwork]]
"""Gives a network within a block, such as the policy's with its adapter off."""


def answer_ids(
    network: LanguageNetwork,
    pair_tokenizer: PairTokenizer,
    prompts: Sequence[Text],
    seeds: Sequence[int],
    *,
    base: NetworkContext | None = None,
    base_is_separate: bool = False,
    **settings: Any,
) -> list[list[int]]:
    """Returns the tokens of one answer per prompt and seed.

    Args:
        network: A language network.
        pair_tokenizer: Tokenises prompts.
        prompts: Plain texts or conversations.
        seeds: One per prompt; beam search ignores them.
        base, base_is_separate: As in :func:`search_ids`.
        settings: Those of :class:`TextSampling`, and ``batch``: rows at a time.
    """
    beams = BeamSettings(**{name: settings.pop(name) for name in BeamSettings.model_fields if name in settings})
    if not beams.beams:
        return sample_ids(network.model, pair_tokenizer, prompts, seeds, **settings)
    settings = {name: value for name, value in settings.items() if name not in ("temperature", "batch")}
    return search_ids(network, pair_tokenizer, prompts, beams, base=base, base_is_separate=base_is_separate, **settings)


def search_ids(
    network: LanguageNetwork,
    pair_tokenizer: PairTokenizer,
    prompts: Sequence[Text],
    beams: BeamSettings,
    *,
    base: NetworkContext | None = None,
    base_is_separate: bool = False,
    max_new_tokens: int = 128,
    top_p: float = 1.0,
    top_k: int = 0,
    raw: bool = False,
) -> list[list[int]]:
    """Returns the tokens of the best answer to each prompt. Equal prompts are searched once.

    Args:
        network: A language network. Its training mode is restored, and its own generation settings are not used.
        pair_tokenizer: Tokenises prompts.
        prompts: Plain texts or conversations.
        beams: Width, mode, weight and length penalty.
        base: The reference, for modes other than ``"policy"``. None searches by ``network``'s own likelihood in every
            mode: the reference itself has no reward.
        base_is_separate: Whether ``base`` is another network, which stays open for the whole search. Otherwise it is
            this one with its adapter off, and is opened for each step.
        max_new_tokens, top_p, top_k, raw: As in :class:`TextSampling`.

    Raises:
        ConfigError: Prompt and answer together could have more tokens than the model has positions.
        DataError: A prompt has no tokens, or is longer than the recipe's limit.
    """
    mode = "policy" if base is None else beams.beam_mode
    prompt_ids = [tuple(pair_tokenizer.prompt_ids(prompt, raw)) for prompt in prompts]
    check_positions(network.model, max(map(len, prompt_ids), default=0), max_new_tokens)
    answers: dict[tuple[int, ...], list[int]] = {}
    with plain_generation_config(network.model, pair_tokenizer, max_new_tokens) as ends, ExitStack() as stack:
        reference = None if mode == "policy" else base
        if reference is not None and base_is_separate:
            base_network = stack.enter_context(reference())
            reference = lambda: nullcontext(base_network)
        for ids in dict.fromkeys(prompt_ids):
            best, *_ = implicit_beam_search(
                CachedNextTokens(ids, network, reference),
                ends=ends,
                max_new_tokens=max_new_tokens,
                width=beams.beams,
                mode=mode,
                weight=beams.beam_weight,
                length_penalty=beams.length_penalty,
                top_k=top_k,
                top_p=top_p,
            )
            answers[ids] = list(best.ids)
    return [answers[ids] for ids in prompt_ids]


class CachedNextTokens:
    """Next-token log-probabilities of a network and its reference, each with a key-value cache of the live beams.

    The two may be one network with its adapter on and off, so the reference is computed within a block of its own.

    Args:
        prompt: Tokens, at least one.
        network: The policy's.
        reference: Gives the reference's network; None: there is none.
    """

    def __init__(self, prompt: Sequence[int], network: LanguageNetwork, reference: NetworkContext | None) -> None:
        self._prompt, self._network, self._reference = prompt, network, reference
        self._caches: dict[str, Any] = {}

    def __call__(self, parents: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """See :class:`~diffalign.policies.language.generation.implicit_reward_beam.NextTokenLogps`."""
        policy = self._next_logps("policy", self._network.model, parents, tokens)
        if self._reference is None:
            return policy, None
        with self._reference() as reference:
            return policy, self._next_logps("reference", reference.model, parents, tokens)

    def _next_logps(self, cache_name: str, model: Any, parents: Sequence[int], tokens: Sequence[int]) -> Tensor:
        cache = self._caches.get(cache_name)
        rows = [[token] for token in tokens] if cache is not None else [list(self._prompt)]
        if cache is not None:
            cache.reorder_cache(torch.tensor(list(parents), device=model.device))
        ids = torch.tensor(rows, device=model.device)
        last_only = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, **last_only)
        self._caches[cache_name] = output.past_key_values
        return output.logits[:, -1].float().log_softmax(-1)  # type: ignore[no-any-return]
