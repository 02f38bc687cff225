"""Judging: a language model beside its reference, live or looked up. What is asked is a layout, what is said, numbers
per token; nothing is drawn, so a pair is judged alike at every visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffalign.data.cache import TensorCache, content_key
from diffalign.errors import ConfigError
from diffalign.losses.scores import Scores
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.counts import TokenCounts
from diffalign.policies.language.layout import Layout
from diffalign.policies.language.question import Question, Response
from diffalign.policies.networks import mixed_precision, unwrapped, without_cast_cache
from diffalign.policies.policy import Scored
from diffalign.policies.references import Earlier, Reference, base_of, choose_reference


@dataclass(frozen=True)
class Encoded:
    """A batch on the device.

    Args:
        questions: One per pair, then those of answers with a prompt of their own.
        layout: Their tokens.
        seats: For each pair and role ``(question, response)``: which question holds the answer, and which it is there.
            Empty: a question is a pair.
    """

    questions: tuple[Question, ...]
    layout: Layout
    seats: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def places(self) -> tuple[tuple[int, ...], ...]:
        """For each pair the layout's responses by role."""
        if not self.seats:
            return self.layout.places
        return tuple(tuple(self.layout.places[q][r] for q, r in row) for row in self.seats)

    @property
    def unshared(self) -> int:
        """Tokens that these pairs have with their prompt before each response."""
        return sum(len(q.prompt) + len(response.ids) for q in self.questions for response in q.responses)


class Judging:
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
        network = unwrapped(module())
        self.device: torch.device = next(network.parameters()).device
        self.reference: Reference
        self._previous: Earlier | None = None
        self.kind, self.reference = choose_reference(config, network, self.device, load)
        stored = self.kind == "stored"
        self._stored = TensorCache(config.cache_folder(), f"logps-{fingerprint}") if stored else None

    def score_policy(self, encoded: Encoded) -> Scored:
        """Scores under the policy, with gradient."""
        self.counts.policy += len(encoded.layout.ids)
        self.counts.unshared += encoded.unshared
        return scored(self._module()(encoded.layout), encoded)

    @torch.no_grad()
    def score_reference(self, encoded: Encoded) -> Scored:
        """Scores under the reference: looked up where they are stored, else computed."""
        found = self._looked_up(encoded) if self._stored is not None else None
        return scored(self._live(encoded.layout) if found is None else found, encoded)

    @torch.no_grad()
    def store(self, batches: Iterable[Encoded]) -> Iterator[int]:
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
                    logps = self._live(encoded.layout).split(list(encoded.layout.lengths))
                    for key, values in zip(keys, logps, strict=True):
                        if key in missing:
                            out.put(key, {"logps": values})
                seen |= missing
                yield len(missing)

    def hold(self, state: Mapping[str, Tensor]) -> None:
        """The reference is the network with these trainable tensors from now on."""
        if self._stored is not None:
            raise ConfigError(
                "the reference changes while training, but reference is 'stored'. Type: --set model.reference=copy"
            )
        self.kind, self.reference = "earlier", Earlier(unwrapped(self._module()), self._trainable, state)

    def hold_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors beside the reference."""
        self._previous = Earlier(unwrapped(self._module()), self._trainable, state)

    @torch.no_grad()
    def score_previous(self, encoded: Encoded) -> Scored:
        """Scores under the policy as it was held."""
        assert self._previous is not None, "nothing was held"
        return scored(self._live(encoded.layout, self._previous), encoded)

    @contextmanager
    def base(self) -> Iterator[nn.Module]:
        """The network that the policy started from; loaded for the occasion where nothing else holds its weights."""
        with base_of(self._config, unwrapped(self._module()), self.reference, self._load) as network:
            yield network

    def _live(self, layout: Layout, reference: Reference | None = None) -> Tensor:
        self.counts.reference += len(layout.ids)
        with without_cast_cache(self.device), (reference or self.reference).network() as network:
            return network(layout)  # type: ignore[no-any-return]

    def _looked_up(self, encoded: Encoded) -> Tensor | None:
        assert self._stored is not None
        entries = [self._stored.get(key) for key in self._keys(encoded)]
        if any(entry is None for entry in entries):
            return None
        return torch.cat([entry["logps"] for entry in entries if entry is not None]).to(self.device)

    def _keys(self, encoded: Encoded) -> list[str]:
        """One for each response of the layout: its tokens, its prompt's, and the precision."""
        mixed = mixed_precision(self.device)
        keys = [""] * encoded.layout.responses
        for question, places in zip(encoded.questions, encoded.layout.places, strict=True):
            for response, place in zip(question.responses, places, strict=True):
                keys[place] = response_key(question.prompt, response, str(mixed))
        return keys


def response_key(prompt: Sequence[int], response: Response, numerics: str) -> str:
    """Name of what a reference says of a response."""
    return content_key(str(prompt), str(response.ids), str(response.scored), numerics)


def scored(logps: Tensor, encoded: Encoded) -> Scored:
    """Scores of each role, from the log-probabilities ``(N,)`` of a layout's scored tokens.

    The parts ``(B, L)`` are the scored tokens of each response, in order, zero behind the last.
    """
    layout = encoded.layout
    table = logps.new_zeros(layout.responses, max(layout.lengths)).index_put((layout.owners, layout.columns), logps)
    counts = torch.tensor(layout.lengths, device=logps.device)
    sums = table.sum(1)
    places = torch.tensor(encoded.places, device=logps.device)
    return Scored(tuple(Scores(sums[role], table[role], counts[role]) for role in places.unbind(1)))
