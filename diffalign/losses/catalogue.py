"""The catalogue: one row per loss says what it computes, what it needs and what it promises.

The command line, the recipes and the common test battery walk these rows; nothing else knows a loss by its name. A row
*claims* facts about its curve (value and slope at margin zero, ...) as functions of the hyperparameters ``h``; the
battery compares each with the function itself, so a claim that is here is true.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from diffalign.losses.ranges import Range
from diffalign.losses.rewards import implicit_rewards
from diffalign.losses.scores import PairScores, exact

Hyper = Mapping[str, float]
Claim = Callable[[Hyper], float]

NEEDS = ("reference", "parts", "lengths", "point")
"""What scores may have to carry beyond the policy's log-probabilities."""
PER_TOKEN = "per_token"
"""The setting of those losses that may see means over tokens in place of sums."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A row of the catalogue.

    Args:
        name: Its name in recipes, results and messages.
        function: The mathematics: tensors in, ``(B,)`` out, hyperparameters keyword-only.
        takes: What the function receives: the margin, or all of the scores.
        kind: What one example is: a pair, a single judged candidate, or a ranked list.
        both_sides: Whether single examples may be undesirable, too.
        needs: What the scores must carry, out of :data:`NEEDS`.
        modalities: Where it has a meaning: "image", "video", "text".
        per_token: Whether the function sees scores per token unless the setting ``per_token`` says otherwise; None: it
            sees sums, and there is no such setting.
        absolute: Whether a candidate's likelihood counts by itself, beside what it gained against a reference.
        summary: One line for a listing.
        formula: The loss of one example as plain text.
        source: Paper and equation, with its identifier.
        advice: When to take it, and what to watch.
        limits: The range of each numeric hyperparameter.
        at_zero: Claimed loss where the policy equals its reference; None where no reference fixes it. The claim is None
            where it is not the same for all examples.
        slope_at_zero: Claimed derivative by the margin there; None for a loss that is no function of one margin.
        skew: Claimed ``k`` with ``L(m) - L(-m) = k m`` for every margin; None where there is no such line.
        optimum: Claimed smallest margin at which the loss is least; infinite where more is always better.
        aliases: Other projects' names for it.
    """

    name: str
    function: Callable[..., Tensor]
    takes: Literal["margin", "scores"] = "margin"
    kind: Literal["pair", "single", "list"] = "pair"
    both_sides: bool = False
    needs: tuple[str, ...] = ("reference",)
    modalities: tuple[str, ...] = ("image", "video", "text")
    per_token: bool | None = None
    absolute: bool = False
    summary: str
    formula: str
    source: str
    advice: str
    limits: Mapping[str, Range]
    at_zero: Callable[[Hyper], float | None] | None
    slope_at_zero: Claim | None = None
    skew: Claim | None = None
    optimum: Claim | None = None
    aliases: tuple[str, ...] = ()

    @property
    def needs_reference(self) -> bool:
        """Whether the reference has to be scored too."""
        return "reference" in self.needs

    @property
    def compares(self) -> bool:
        """Whether it looks at two candidates' logratios and at nothing else. Then a label may scale them or gate one,
        and the loss where the policy equals its reference is known."""
        return self.kind == "pair" and self.needs_reference and not self.absolute

    def explain(self) -> str:
        """Everything a user wants to know before choosing it, as plain text."""
        hyper = ", ".join(
            name if default is None else f"{name} = {default}" for name, default in hyperparameters(self).items()
        )
        lines = [
            f"{self.name}: {self.summary}",
            f"  loss     {self.formula}",
            f"  source   {self.source}",
            f"  advice   {self.advice}",
            f"  takes    {hyper}",
            *(f"           {name} in {limit}: {limit.meaning}" for name, limit in self.limits.items()),
            *["           per_token: means over tokens instead of sums; a denoiser's scores are the same in both"]
            * (self.per_token is not None),
            f"  needs    {self.kind} examples with {', '.join(self.needs) or 'the policy alone'}",
            f"  used on  {', '.join(self.modalities)}",
        ]
        return "\n".join(lines + [f"  also     {', '.join(self.aliases)}"] * bool(self.aliases))

    def bind(self, **given: float) -> BoundLoss:
        """Fixes the hyperparameters. Raises ValueError for unknown, missing or impossible ones."""
        defaults = hyperparameters(self)
        for name in given:
            if name not in defaults:
                hint = _closest(name, defaults)
                raise ValueError(f"the loss '{self.name}' takes {', '.join(defaults)}; it has no '{name}'.{hint}")
        hyper: dict[str, Any] = {**defaults, **given}
        if missing := [name for name, value in hyper.items() if value is None]:
            says = "; ".join(f"{name} is {self.limits[name].meaning}. {self.limits[name].advice}" for name in missing)
            raise ValueError(f"the loss '{self.name}' needs a value for {', '.join(missing)}: {says}")
        for name, default in defaults.items():
            if isinstance(default, bool) and not isinstance(hyper[name], bool):
                raise ValueError(f"{name} of the loss '{self.name}' is true or false; got {hyper[name]!r}")
        for name, limit in self.limits.items():
            value = hyper[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} is {limit.meaning}, a number in {limit}; got {value!r}. {limit.advice}")
            if value not in limit:
                raise ValueError(f"{name} is {limit.meaning}, so it must lie in {limit}; got {value:g}. {limit.advice}")
        return BoundLoss(self, hyper)


@dataclass(frozen=True)
class BoundLoss:
    """A loss with its hyperparameters: scores in, one number per example out. Made by :meth:`Loss.bind`."""

    loss: Loss
    hyper: Hyper

    def __call__(self, scores: PairScores) -> Tensor:
        """``(B,)``, one loss per example, in float32 or better. Averaging belongs to the loop."""
        seen = self.seen(scores)
        return self.loss.function(seen.margin if self.loss.takes == "margin" else seen, **self._settings)

    def seen(self, scores: PairScores) -> PairScores:
        """The scores as the function sees them: per token where the loss is set so. Rewards and margins are theirs."""
        return scores.per_token() if self.hyper.get(PER_TOKEN) else scores

    @property
    def name(self) -> str:
        """The row's name."""
        return self.loss.name

    @property
    def beta(self) -> float:
        """The inverse temperature; 1 for a loss without one."""
        return self.hyper.get("beta", 1.0)

    @property
    def at_zero(self) -> float | None:
        """The loss where the policy equals its reference, so at the first step of a fresh adapter; None: unknown."""
        return None if self.loss.at_zero is None else self.loss.at_zero(self.hyper)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor | None]:
        """Implicit rewards ``(chosen, rejected)``, each ``(B,)``, without gradient; None for no rejected candidate."""
        return implicit_rewards(self.seen(scores), beta=self.beta, against_reference=self.loss.needs_reference)

    def slope(self, margin: Tensor) -> Tensor:
        """``(B,)``: derivative of each pair's loss by its margin: how hard the pair still pulls."""
        if self.loss.takes != "margin":
            raise ValueError(f"the loss '{self.name}' is no function of one margin, so it has no slope by it")
        with torch.enable_grad():
            leaf = exact(margin).detach().clone().requires_grad_(True)
            total = self.loss.function(leaf, **self._settings).sum()
        return torch.autograd.grad(total, leaf)[0]

    def saturation(self, scores: PairScores) -> Tensor:
        """``(B,)``: ``|slope|`` relative to the slope at margin 0. Near 0 the pair no longer teaches anything."""
        margin = self.seen(scores).margin.detach()
        return self.slope(margin).abs() / self.slope(torch.zeros_like(margin)).abs()

    @property
    def _settings(self) -> dict[str, float]:
        return {name: value for name, value in self.hyper.items() if name != PER_TOKEN}


def hyperparameters(loss: Loss) -> dict[str, float | None]:
    """Names and defaults of a loss's hyperparameters, read off its signature. None: a value must be given."""
    parameters = inspect.signature(loss.function).parameters.values()
    keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    found = {p.name: None if p.default is inspect.Parameter.empty else p.default for p in keywords}
    return found if loss.per_token is None else {**found, PER_TOKEN: loss.per_token}


def table(*rows: Loss) -> dict[str, Loss]:
    """Rows by name. Two rows of one name, or an alias that is already taken, are our own mistake."""
    taken = [name for row in rows for name in (row.name, *row.aliases)]
    assert len(taken) == len(set(taken)), f"a name occurs twice among {sorted(taken)}"
    return {row.name: row for row in rows}


def find(rows: Mapping[str, Loss], name: str) -> Loss:
    """The row of a name or an alias. Raises ValueError naming the nearest one."""
    by_alias = {alias: row for row in rows.values() for alias in (row.name, *row.aliases)}
    if name not in by_alias:
        raise ValueError(f"there is no loss '{name}'; known are {', '.join(rows)}.{_closest(name, by_alias)}")
    return by_alias[name]


def _closest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
