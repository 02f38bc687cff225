"""An objective: one loss, or several with factors, summed per example. It has the interface of a loss for the loop.

    loss_b = sum over terms of times_k L_k,b

The first term leads: rewards, margins and their metrics are its own. On pairs a further term may be a loss on single
candidates, such as ``sft``: it reads the chosen one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffalign.losses.logp_settings import PER_TOKEN, settings_of
from diffalign.losses.loss import BoundLoss
from diffalign.losses.pair_logps import PairLogps


@dataclass(frozen=True)
class Term:
    """A loss and its factor in a sum."""

    loss: BoundLoss
    times: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.times, (int, float)) and 0.0 < self.times < math.inf):
            raise ValueError(
                f"times is the factor of the loss '{self.loss.name}' in a sum, so it must be a positive number; got "
                f"{self.times!r}. Leave out a loss that should not count."
            )


@dataclass(frozen=True)
class Objective:
    """A sum of losses.

    Args:
        terms: One at least; the first leads.

    Raises:
        ValueError: Terms that cannot be summed on the same examples.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        lead = self.lead.loss
        for term in self.terms[1:]:
            row = term.loss.loss
            if row.kind != lead.kind and (row.kind != "single" or row.accepts_undesirable):
                raise ValueError(
                    f"'{self.lead.name}' is a loss on {lead.kind} examples, but '{row.name}' on {row.kind} ones, so "
                    "they cannot be summed. To a loss on pairs or lists, others of its kind and sft can be added."
                )

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    @property
    def lead(self) -> BoundLoss:
        """The first term's loss."""
        return self.terms[0].loss

    def __call__(self, logps: PairLogps, *, swapped: PairLogps | None = None, offset: Tensor | None = None) -> Tensor:
        """Returns ``(B,)``, the sum of each example; arguments as for :meth:`term_losses`."""
        return total(self.term_losses(logps, swapped=swapped, offset=offset))

    def term_losses(
        self, logps: PairLogps, *, swapped: PairLogps | None = None, offset: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the summands ``times_k L_k`` by the names of :attr:`term_names`, in order, ``(B,)`` each.

        Args:
            logps: The batch.
            swapped: The same pairs with the opposite label. All terms read these instead, except those on single
                candidates, which still read the chosen one.
            offset: For terms of one margin, see `bound_loss`.
        """
        losses: dict[str, Tensor] = {}
        for name, term in zip(self.term_names, self.terms, strict=True):
            row = term.loss.loss
            read = logps if swapped is None or row.kind == "single" else swapped
            value = term.loss(read, offset if row.takes == "margin" else None)
            losses[name] = value if term.times == 1.0 else term.times * value
        return losses

    @property
    def term_names(self) -> tuple[str, ...]:
        """A name for each term: its loss's, with a number from the second term of the same loss on."""
        names: list[str] = []
        for term in self.terms:
            count = 1 + sum(other.loss.name == term.loss.name for other in self.terms[: len(names)])
            names.append(term.loss.name if count == 1 else f"{term.loss.name}_{count}")
        return tuple(names)

    @property
    def name(self) -> str:
        """The terms' names, joined: ``"logistic + 0.1 sft"``."""
        shown = (f"{'' if t.times == 1.0 else f'{t.times:g} '}{t.loss.name}" for t in self.terms)
        return " + ".join(shown)

    @property
    def kind(self) -> str:
        """The kind of example, that of the lead."""
        return self.lead.loss.kind

    @property
    def needs(self) -> frozenset[str]:
        """The inputs that some term needs."""
        return frozenset(need for term in self.terms for need in term.loss.loss.needs)

    @property
    def needs_reference(self) -> bool:
        """Whether some term reads the reference's log-probabilities."""
        return "reference" in self.needs

    @property
    def roles(self) -> tuple[str, ...]:
        """Further answers that some term reads."""
        return tuple(dict.fromkeys(role for term in self.terms for role in term.loss.loss.roles))

    @property
    def accepts_undesirable(self) -> bool:
        """Whether single examples may be undesirable, too."""
        return all(term.loss.loss.accepts_undesirable for term in self.terms)

    @property
    def allows_only_undesirable(self) -> bool:
        """Whether undesirable examples are enough."""
        return all(term.loss.loss.allows_only_undesirable for term in self.terms)

    @property
    def is_pure_margin(self) -> bool:
        """Whether every term is a function of the difference of the two logratios only."""
        return all(term.loss.loss.is_pure_margin for term in self.terms)

    @property
    def scale_is_beta(self) -> bool:
        """Whether a factor on a pair's logratios is a beta of its own for that pair, in every term."""
        return all(term.loss.scale_is_beta for term in self.terms)

    @property
    def needs_whole_batch(self) -> bool:
        """Whether some term compares a batch's examples with each other."""
        return any(term.loss.loss.needs_whole_batch for term in self.terms)

    @property
    def is_quadratic(self) -> bool:
        """Whether some term squares a distance, so that noise of single draws adds to it."""
        return any(term.loss.loss.is_quadratic for term in self.terms)

    @property
    def media(self) -> tuple[str, ...]:
        """The media that every term applies to."""
        return tuple(m for m in self.lead.loss.media if all(m in t.loss.loss.media for t in self.terms))

    @property
    def at_zero(self) -> float | None:
        """The loss where the policy equals its reference; None where a term's is unknown."""
        values = self.term_losses_at_zero
        return None if values is None else sum(values.values())

    @property
    def term_losses_at_zero(self) -> dict[str, float] | None:
        """The summands where the policy equals its reference, by name; None where one of them is unknown."""
        values = {name: term.loss.at_zero for name, term in zip(self.term_names, self.terms, strict=True)}
        known = {name: value for name, value in values.items() if value is not None}
        if len(known) < len(values):
            return None
        return {name: term.times * value for term, (name, value) in zip(self.terms, known.items(), strict=True)}

    @property
    def beta(self) -> float:
        """The lead's inverse temperature."""
        return self.lead.beta

    def rewards(self, logps: PairLogps) -> tuple[Tensor, Tensor | None]:
        """The lead's implicit rewards."""
        return self.lead.rewards(logps)

    @property
    def settings(self) -> dict[str, Any]:
        """Every hyperparameter; those of further terms under ``NAME.KEY``."""
        lead, *others = self.terms
        settings = dict(lead.loss.hyper) if lead.times == 1.0 else {**lead.loss.hyper, "times": lead.times}
        for term in others:
            settings |= {f"{term.loss.name}.{key}": x for key, x in {**term.loss.hyper, "times": term.times}.items()}
        return settings

    @property
    def shown_settings(self) -> dict[str, Any]:
        """The hyperparameters to show: all but the settings that have their default values."""
        usual = {name: x for term in self.terms for name, x in settings_of(term.loss.loss).items() if name != PER_TOKEN}
        return {key: x for key, x in self.settings.items() if usual.get(key.rpartition(".")[2], object()) != x}

    @property
    def source(self) -> str:
        """The sources of the terms."""
        return "; ".join(dict.fromkeys(term.loss.loss.source for term in self.terms))

    @property
    def formula(self) -> str:
        """The sum, as plain text."""
        return " + ".join(
            term.loss.loss.formula if term.times == 1.0 else f"{term.times:g} ({term.loss.loss.formula})"
            for term in self.terms
        )


def single_loss_objective(loss: BoundLoss) -> Objective:
    """Returns an objective of one loss."""
    return Objective((Term(loss),))


def total(term_losses: Mapping[str, Tensor]) -> Tensor:
    """Returns ``(B,)``, the sum of the terms, added in their order."""
    first, *others = term_losses.values()
    for value in others:
        first = first + value
    return first
