"""Judging: a language model beside its reference, live or looked up. What is asked is a layout, what is said, numbers
per token; nothing is drawn, so a pair is judged alike at every visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.errors import ConfigError
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.network.content_degree_head import Rarity, kept_tokens
from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.scoring.token_counts import TokenCounts
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.policies.module_utils import mixed_precision, unwrap, without_cast_cache
from diffalign.policies.part_diagnostics import part_diagnostics
from diffalign.policies.policy import BatchLogps
from diffalign.policies.references import EarlierCheckpoint, Reference, base_network, choose_reference
from diffalign.policies.second_adapter import SecondAdapter


@dataclass(frozen=True)
class EncodedTexts:
    """A batch on the device.

    Args:
        questions: One per pair, then those of answers with a prompt of their own.
        layout: Their tokens.
        seats: For each pair and role ``(question, response)``: which question holds the answer, and which it is there.
            Empty: a question is a pair.
    """

    questions: tuple[TokenPair, ...]
    layout: Layout
    seats: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """For each pair the layout's responses by role."""
        if not self.seats:
            return self.layout.places
        return tuple(tuple(self.layout.places[q][r] for q, r in row) for row in self.seats)

    @property
    def trees(self) -> tuple[tuple[int, ...], ...]:
        """For each pair the layout's prompts by role."""
        tree_of = self.layout.tree_of
        return tuple(tuple(tree_of[place] for place in row) for row in self.places)

    @property
    def unshared(self) -> int:
        """Tokens that these pairs have with their prompt before each response."""
        return sum(len(q.prompt) + len(response.ids) for q in self.questions for response in q.responses)


class PolicyAndReference:
    """Scores texts under policy and reference.

    Args:
        module: Returns the policy's network as it is now, distributed wrappers included.
        trainable: The parameters that train.
        config: The model's section of the recipe.
        fingerprint: Identity of weights and rules, for what is kept on disk.
        load: Loads the base network once more, frozen.
    """

    def __init__(
        self,
        module: Callable[[], nn.Module],
        trainable: Mapping[str, nn.Parameter],
        config: LanguageConfig,
        fingerprint: str,
        load: Callable[[], nn.Module],
    ) -> None:
        self.counts = TokenCounts()
        self._module, self._trainable, self._config, self._load = module, dict(trainable), config, load
        network = unwrap(module())
        self.device: torch.device = next(network.parameters()).device
        self.reference: Reference
        self._previous: EarlierCheckpoint | None = None
        self.reference_kind, self.reference = choose_reference(config, network, self.device, load)
        stored = self.reference_kind == "stored"
        self._stored = TensorCache(config.cache_folder(), f"logps-{fingerprint}") if stored else None

    def policy_logps(self, encoded: EncodedTexts) -> BatchLogps:
        """Scores under the policy, with gradient."""
        self.counts.policy += len(encoded.layout.ids)
        self.counts.unshared += encoded.unshared
        return logps_by_role(self._module()(encoded.layout), encoded)

    @torch.no_grad()
    def reference_logps(self, encoded: EncodedTexts) -> BatchLogps:
        """Scores under the reference: looked up where they are stored, else computed."""
        found = self._looked_up(encoded) if self._stored is not None else None
        return logps_by_role(self._live(encoded.layout) if found is None else found, encoded)

    def logps_with_degree(self, encoded: EncodedTexts, rarity: Rarity) -> tuple[BatchLogps, Tensor]:
        """Scores under the policy, and ``(B,)`` how well it tells what is missing of a pair's answers, as the mean
        log-probability of being right; both with gradient. Raises ConfigError for a model without degrees."""
        if self._config.degree is None:
            raise ConfigError("this loss tells degrees apart, and the model has none. Type: --set model.degree={}")
        layout = encoded.layout
        self.counts.policy += len(layout.ids)
        self.counts.unshared += encoded.unshared
        said = self._module()(layout, kept=kept_tokens(layout, rarity, self._config.degree.removed))
        places = torch.tensor(encoded.places, device=said.cost.device)
        found = logps_by_role(said.logps, encoded)
        info = {**found.info, "degree/accuracy": said.right[places].mean(1).detach()}
        return BatchLogps(found.candidates, info), -said.cost[places].mean(1)

    def compare_parts(self, encoded: EncodedTexts) -> tuple[BatchLogps, BatchLogps]:
        """Scores under the policy, with gradient, their divergence from the reference, and masks where the model's
        section asks for some; and scores under the reference. The reference goes first.

        Raises:
            ConfigError: The reference is stored, as a number per token: the divergence sums over the vocabulary.
        """
        if self._stored is not None:
            raise ConfigError(
                "this loss compares whole distributions over the next token, but of a reference that is 'stored' only "
                "the given tokens' log-probabilities are kept. Type: --set model.reference=copy   or train an adapter: "
                "--set model.adapter.rank=16 --set model.reference=adapter_off"
            )
        layout = encoded.layout
        self.counts.policy += len(layout.ids)
        self.counts.reference += len(layout.ids)
        self.counts.unshared += encoded.unshared
        network: Any
        with without_cast_cache(self.device), self.reference.network() as network:
            beside = network.read(layout, self._config.masks)
            lasting = network.lasting_head
        if not lasting:
            beside = replace(beside, logits=self._asked)
        said = self._module()(layout, beside)
        return logps_by_role(said.logps, encoded, said.divergence, said.masks), logps_by_role(said.reference, encoded)

    @torch.no_grad()
    def store(self, batches: Iterable[EncodedTexts]) -> Iterator[int]:
        """Computes and stores what the reference says of responses that are not stored yet; yields of how many, after
        each batch."""
        if self._stored is None:
            return
        with self._stored.writer() as out:
            seen: set[str] = set()
            for encoded in batches:
                keys = self._keys(encoded)
                missing = set(self._stored.missing(keys)) - seen
                if missing:
                    layout = encoded.layout
                    logps = self._live(layout).split([*layout.lengths, *layout.prompts])
                    for key, values in zip(keys, logps, strict=True):
                        if key in missing:
                            out.put(key, {"logps": values})
                seen |= missing
                yield len(missing)

    def set_reference(self, state: Mapping[str, Tensor]) -> None:
        """The reference is the network with these trainable tensors from now on."""
        if self._stored is not None:
            raise ConfigError(
                "the reference changes while training, but reference is 'stored'. Type: --set model.reference=copy"
            )
        self.reference_kind, self.reference = (
            "earlier",
            EarlierCheckpoint(unwrap(self._module()), self._trainable, state),
        )

    def second_adapter_logps(self, encoded: EncodedTexts, second: SecondAdapter) -> BatchLogps:
        """Scores under a second set of weights, with gradient."""
        self.counts.policy += len(encoded.layout.ids)
        return logps_by_role(second.network(unwrap(self._module()))(encoded.layout), encoded)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors beside the reference."""
        self._previous = EarlierCheckpoint(unwrap(self._module()), self._trainable, state)

    @torch.no_grad()
    def previous_logps(self, encoded: EncodedTexts) -> BatchLogps:
        """Scores under the policy as it was held."""
        assert self._previous is not None, "nothing was held"
        return logps_by_role(self._live(encoded.layout, self._previous), encoded)

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """The network that the policy started from; loaded for the occasion where nothing else holds its weights."""
        with base_network(self._config, unwrap(self._module()), self.reference, self._load) as network:
            yield network

    def _asked(self, states: Tensor) -> Tensor:
        """The reference's logits by its own head, whatever that is made of."""
        network: Any
        with torch.no_grad(), without_cast_cache(self.device), self.reference.network() as network:
            return network.logits()(states)  # type: ignore[no-any-return]

    def _live(self, layout: Layout, reference: Reference | None = None) -> Tensor:
        self.counts.reference += len(layout.ids)
        with without_cast_cache(self.device), (reference or self.reference).network() as network:
            return network(layout)  # type: ignore[no-any-return]

    def _looked_up(self, encoded: EncodedTexts) -> Tensor | None:
        assert self._stored is not None
        entries = [self._stored.get(key) for key in self._keys(encoded)]
        if any(entry is None for entry in entries):
            return None
        return torch.cat([entry["logps"] for entry in entries if entry is not None]).to(self.device)

    def _keys(self, encoded: EncodedTexts) -> list[str]:
        """One for each response of the layout: its tokens, its prompt's, and the precision; then one for each prompt
        that is asked about."""
        mixed = mixed_precision(self.device)
        keys = [""] * encoded.layout.responses
        for question, places in zip(encoded.questions, encoded.layout.places, strict=True):
            for response, place in zip(question.responses, places, strict=True):
                keys[place] = response_key(question.prompt, response, str(mixed))
        if encoded.layout.prompts:
            ids = encoded.layout.ids.tolist()
            keys += [content_key("prompt", str(ids[t.start : t.fork]), str(mixed)) for t in encoded.layout.trees]
        return keys


def response_key(prompt: Sequence[int], response: Response, numerics: str) -> str:
    """Name of what a reference says of a response."""
    return content_key(str(prompt), str(response.ids), str(response.scored), numerics)


def logps_by_role(
    logps: Tensor, encoded: EncodedTexts, divergence: Tensor | None = None, masks: Tensor | None = None
) -> BatchLogps:
    """Scores of each role, from the log-probabilities ``(N,)`` of a layout's scored tokens, and where they are known
    divergences ``(N,)`` and masks ``(2, N)``.

    The parts ``(B, L)`` are the scored tokens of each response, in order, zero behind the last; so are the others.
    """
    layout = encoded.layout
    count, width = sum(layout.lengths), max(layout.lengths)
    owners, columns = layout.owners[:count], layout.columns[:count]

    def table(values: Tensor) -> Tensor:
        return values.new_zeros(layout.responses, width).index_put((owners, columns), values[:count])

    parts = table(logps)
    apart = None if divergence is None else table(divergence)
    weighed = None if masks is None else torch.stack([table(mask) for mask in masks])
    counts = torch.tensor(layout.lengths, device=logps.device)
    sums = parts.sum(1)
    places = torch.tensor(encoded.places, device=logps.device)
    prompts: list[Tensor | None] = [None] * places.shape[1]
    if layout.prompts:
        whole = logps.new_zeros(len(layout.trees)).index_add(0, layout.owners[count:] - layout.responses, logps[count:])
        prompts = list(whole[torch.tensor(encoded.trees, device=logps.device)].unbind(1))
    found = [
        CandidateLogps(
            sums[role],
            parts[role],
            counts[role],
            prompts=prompt,
            divergence=None if apart is None else apart[role],
            masks=None if weighed is None else weighed[:, role],
        )
        for role, prompt in zip(places.unbind(1), prompts, strict=True)
    ]
    return BatchLogps(tuple(found), part_diagnostics(found))
