"""The reference of a language policy: a network, or the log-probabilities that it stored before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from diffalign.data.storage.tensor_cache import TensorCache, Writer, content_key
from diffalign.errors import ConfigError
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.network.token_kl import ReferenceStates
from diffalign.policies.language.scoring.batch import EncodedTexts
from diffalign.policies.language.scoring.compute_cost import TokenCounts
from diffalign.policies.language.tokens.token_pair import Response
from diffalign.policies.module_utils import mixed_precision, without_cast_cache
from diffalign.policies.references import EarlierCheckpoint, Reference, base_network, choose_reference
from diffalign.policies.trainable import Trainable


class LanguageReference:
    """Computes, stores and looks up log-probabilities under the reference.

    Args:
        network: The policy's network, without distributed wrappers. Its trainable parameters are those that require a
            gradient now.
        config: The model's section of the recipe.
        fingerprint: Identity of weights and tokenisation, for stored numbers.
        load_base: Loads the base network again, frozen.
        counts: Counts the computed tokens.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        config: LanguageConfig,
        fingerprint: str,
        load_base: Callable[[], nn.Module],
        counts: TokenCounts,
    ) -> None:
        self._network, self._config = network, config
        self._trainable = Trainable(network).parameters
        self._load_base, self._counts = load_base, counts
        self.device: torch.device = next(network.parameters()).device
        self._reference: Reference
        self.kind, self._reference = choose_reference(config, network, self.device, load_base)
        self._initial = self.kind, self._reference
        stored = self.kind == "stored"
        self._stored = TensorCache(config.cache_folder(), f"logps-{fingerprint}") if stored else None

    @property
    def kept_bytes(self) -> int:
        """Bytes that the reference takes beside the policy's network."""
        return self._reference.kept_bytes

    def current(self) -> Reference:
        """Returns the reference as it is now."""
        return self._reference

    def describe(self) -> str:
        """Returns one line for a header."""
        return self._reference.describe()

    def network(self) -> AbstractContextManager[LanguageNetwork]:
        """Gives the reference's network within a block."""
        return cast(AbstractContextManager[LanguageNetwork], self._reference.network())

    def base_network(self) -> AbstractContextManager[LanguageNetwork]:
        """Gives the network that the policy started from within a block; it is loaded again if need be."""
        context = base_network(self._config, self._network, self._reference, self._load_base)
        return cast(AbstractContextManager[LanguageNetwork], context)

    def token_logps(self, encoded: EncodedTexts) -> Tensor:
        """Returns ``(N,)``, log-probabilities of the scored tokens without gradient: stored ones, or computed."""
        stored_logps = self._look_up(encoded) if self._stored is not None else None
        return self.compute(self._reference, encoded.layout) if stored_logps is None else stored_logps

    @torch.no_grad()
    def compute(self, reference: Reference, layout: Layout) -> Tensor:
        """Returns ``(N,)``, log-probabilities of the scored tokens under ``reference``, without gradient."""
        self._counts.reference += len(layout.ids)
        with without_cast_cache(self.device), reference.network() as network:
            return network(layout)  # type: ignore[no-any-return]

    def states(self, layout: Layout) -> ReferenceStates:
        """Returns the states that a policy is compared with token by token.

        Raises:
            ConfigError: The reference is stored, as a number per token: a divergence sums over the vocabulary.
        """
        if self._stored is not None:
            raise ConfigError(
                "this loss compares whole distributions over the next token, but of a reference that is 'stored' only "
                "the given tokens' log-probabilities are kept. Type: --set model.reference=copy   or train an adapter: "
                "--set model.adapter.rank=16 --set model.reference=adapter_off"
            )
        self._counts.reference += len(layout.ids)
        with without_cast_cache(self.device), self.network() as network:
            states = network.reference_states(layout, self._config.masks)
            logits_outlive_forward = network.logits_outlive_forward
        return states if logits_outlive_forward else replace(states, logits=self._logits)

    @contextmanager
    def storing(self) -> Iterator[Callable[[EncodedTexts], int]]:
        """Lends a function that computes and stores the log-probabilities of a batch that are not stored yet, and
        returns their number; 0 where nothing is to be stored.
        """
        if self._stored is None:
            yield lambda encoded: 0
            return
        with self._stored.writer() as writer:
            written: set[str] = set()
            yield lambda encoded: self._store(encoded, writer, written)

    def _store(self, encoded: EncodedTexts, writer: Writer, written: set[str]) -> int:
        assert self._stored is not None
        keys = self._keys(encoded)
        missing = set(self._stored.missing(keys)) - written
        if missing:
            layout = encoded.layout
            parts = self.compute(self._reference, layout).split([*layout.lengths, *layout.prompt_lengths])
            for key, values in zip(keys, parts, strict=True):
                if key in missing:
                    writer.put(key, {"logps": values})
        written |= missing
        return len(missing)

    def set_state(self, state: Mapping[str, Tensor] | None) -> None:
        """Makes the network with these trainable tensors the reference; None: the initial one again. Raises ConfigError
        if it is stored.
        """
        if self._stored is not None:
            raise ConfigError(
                "the reference changes while training, but reference is 'stored'. Type: --set model.reference=copy"
            )
        self.kind, self._reference = self._initial if state is None else ("earlier", self.earlier(state))

    def earlier(self, state: Mapping[str, Tensor]) -> EarlierCheckpoint:
        """Returns the network with these trainable tensors, as a reference."""
        return EarlierCheckpoint(self._network, self._trainable, state)

    def _logits(self, states: Tensor) -> Tensor:
        """Returns logits of the reference's head, for heads that compute only while their network is active."""
        with torch.no_grad(), without_cast_cache(self.device), self.network() as network:
            return network.logits_function()(states)

    def _look_up(self, encoded: EncodedTexts) -> Tensor | None:
        """Returns the stored log-probabilities of a batch; None if one is missing."""
        assert self._stored is not None
        entries = [self._stored.get(key) for key in self._keys(encoded)]
        if any(entry is None for entry in entries):
            return None
        return torch.cat([entry["logps"] for entry in entries if entry is not None]).to(self.device)

    def _keys(self, encoded: EncodedTexts) -> list[str]:
        """Returns a key for each response of the layout, from its tokens, its prompt's and the precision; then one for
        each scored prompt.
        """
        layout = encoded.layout
        precision = str(mixed_precision(self.device))
        keys = [""] * layout.response_count
        for token_pair, numbers in zip(encoded.token_pairs, layout.pair_responses, strict=True):
            for response, number in zip(token_pair.responses, numbers, strict=True):
                keys[number] = response_key(token_pair.prompt, response, precision)
        if layout.prompt_lengths:
            ids = layout.ids.tolist()
            prompts = [str(ids[group.start : group.prompt_end]) for group in layout.groups]
            keys += [content_key("prompt", prompt, precision) for prompt in prompts]
        return keys


def response_key(prompt: Sequence[int], response: Response, precision: str) -> str:
    """Returns the name under which the log-probabilities of a response are stored."""
    return content_key(str(prompt), str(response.ids), str(response.scored), precision)
