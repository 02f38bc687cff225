"""A loss: its row in the registry, and the row with its hyperparameters bound.

The command line, the recipes and the common tests read these rows; nothing else knows a loss by its name. A row
*claims* facts about its curve (value and slope at margin zero, ...) as functions of the hyperparameters ``h``; the
tests compare each claim with the function itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.divergences import divergence_reward
from diffalign.losses.hyperparameters import (
    Hyper,
    Value,
    check_calls,
    check_choice,
    check_switch,
    keyword_defaults,
    nearest,
    numbers_in,
    unchecked,
)
from diffalign.losses.logp_settings import (
    F_ALPHA,
    F_DIVERGENCE,
    LD_ALPHA,
    LOGP_SCALE,
    PER_TOKEN,
    SETTINGS,
    settings_of,
)
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range
from diffalign.losses.rewards import implicit_rewards

Claim = Callable[[Mapping[str, float]], float]
"""A claimed number as a function of the hyperparameters that are numbers or switches."""

NEEDS = (
    "reference",  # the reference's log-probabilities
    "parts",  # the parts that each log-probability is the sum of
    "lengths",  # the number of parts
    "kto_baseline",  # the logratio that counts as neither gain nor loss, of the batch
    "bco_shift",  # the same as a running mean
    "desirable_share",  # the share of desirable examples in the batch
    "rewards",  # rewards of the candidates from the data
    "prompts",  # the prompt's log-probability
    "divergence",  # the distance of policy and reference at each part
    "previous",  # log-probabilities under an earlier state of the policy
    "degree",  # log-probability of the true degree of removed content
    "steps",  # the step of an answer that each part belongs to, and the steps' hidden states
)
"""Inputs that a loss may need in addition to the policy's log-probabilities."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A row of the registry.

    Args:
        name: Its name in recipes, results and messages.
        function: The mathematics: tensors in, ``(B,)`` out, hyperparameters keyword-only.
        takes: The function's argument: the margin, or all log-probabilities.
        kind: The kind of example: a pair, a single desirable or undesirable candidate, or a ranked list.
        accepts_undesirable: Whether single examples may be undesirable, too.
        allows_only_undesirable: Whether undesirable examples are enough, where both kinds are allowed.
        needs: Further inputs, out of :data:`NEEDS`.
        roles: Names of further answers that each example must have.
        needs_whole_batch: Whether the examples of a batch are compared with each other, so that all must be in memory.
        is_quadratic: Whether it squares a log-ratio's distance from a target. The noise of a single draw then adds to
            the loss, so a denoiser's log-probabilities are means over several draws.
        scale_sensitive: Whether the size of a log-probability matters apart from its product with beta; a denoiser's
            then needs a scale of its own (``logp_scale``).
        media: The media that it applies to: "image", "video", "text".
        per_token: Whether the function reads means over tokens unless the setting ``per_token`` overrides it; None: it
            reads sums and has no such setting.
        uses_absolute_logps: Whether a candidate's likelihood counts, not only its gain against a reference.
        summary: One line for a listing.
        formula: The loss of one example as plain text.
        source: Paper and equation, with its identifier.
        papers: The papers that the source cites.
        advice: When to choose it, and what to watch.
        limits: The range of each numeric hyperparameter.
        choices: The values of each hyperparameter that is a word, or a function that raises ValueError for a wrong one.
        of_beta_margin: Claims, for a loss of one margin, that it depends on beta times the margin only. Then a factor
            on the margin is a factor on beta, so labels may give each pair a beta of its own.
        agree: Raises ValueError for hyperparameters that are valid one by one but not together.
        fits_rewards: Raises ValueError for the chosen and rejected rewards of a whole data set, ``(N,)`` each, that it
            would misread; None where it takes any.
        at_zero: Claimed loss where the policy equals its reference; None where no reference fixes it. The claim is None
            where it is not the same for all examples.
        slope_at_zero: Claimed derivative by the margin there; None for a loss that is no function of one margin.
        skew: Claimed ``k`` with ``L(m) - L(-m) = k m`` for every margin; None where there is no such line.
        optimum: Claimed smallest margin at which the loss is least; infinite where more is always better.
        aliases: Other names that recipes may use.
    """

    name: str
    function: Callable[..., Tensor]
    takes: Literal["margin", "logps"] = "margin"
    kind: Literal["pair", "single", "list"] = "pair"
    accepts_undesirable: bool = False
    allows_only_undesirable: bool = False
    needs: tuple[str, ...] = ("reference",)
    roles: tuple[str, ...] = ()
    needs_whole_batch: bool = False
    is_quadratic: bool = False
    scale_sensitive: bool = False
    media: tuple[str, ...] = ("image", "video", "text")
    per_token: bool | None = None
    uses_absolute_logps: bool = False
    summary: str
    formula: str
    source: str
    papers: tuple[Paper, ...] = ()
    advice: str
    limits: Mapping[str, Range]
    choices: Mapping[str, Sequence[str] | Callable[[Value], None]] = field(default_factory=dict)
    of_beta_margin: Callable[[Mapping[str, float]], bool] = lambda h: True
    agree: Callable[[Hyper], None] | None = None
    fits_rewards: Callable[[Hyper, Tensor, Tensor], None] | None = None
    at_zero: Callable[[Mapping[str, float]], float | None] | None
    slope_at_zero: Claim | None = None
    skew: Claim | None = None
    optimum: Claim | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_calls(self.function, self._check_call)

    @property
    def needs_reference(self) -> bool:
        """Whether it reads the reference's log-probabilities."""
        return "reference" in self.needs

    @property
    def is_pure_margin(self) -> bool:
        """Whether it is a function of the difference of the two logratios only. Then a swapped pair is one of the
        opposite margin, and the loss where the policy equals its reference is known.
        """
        return self.kind == "pair" and self.takes == "margin" and self.needs_reference and not self.needs_whole_batch

    def explain(self) -> str:
        """Returns formula, source, advice, hyperparameters and citations as plain text."""
        own = hyperparameters(self)
        hyper = ", ".join(name if default is None else f"{name} = {default}" for name, default in own.items())
        settings = [SETTINGS[name] for name in settings_of(self)]
        needs = [*self.needs, *(f"a further answer '{role}'" for role in self.roles)]
        lines = [
            f"{self.name}: {self.summary}",
            f"  loss     {self.formula}",
            f"  source   {self.source}",
            *(f"           {paper.line}" for paper in self.papers),
            f"  advice   {self.advice}",
            f"  takes    {hyper or 'nothing'}",
            *(f"           {name} in {limit}: {limit.meaning}" for name, limit in self.limits.items()),
            *(f"           {s.name} = {s.default(self)!r}: {s.meaning}" for s in settings),
            f"  needs    {self.kind} examples with {', '.join(needs) or 'the policy only'}",
            f"  used on  {', '.join(self.media)}",
        ]
        cited = "\n\n".join(paper.bibtex() for paper in self.papers)
        return "\n".join([*lines, *[f"  also     {', '.join(self.aliases)}"] * bool(self.aliases), "", cited])

    def bind(self, **values: Value) -> BoundLoss:
        """Returns the loss with these hyperparameters. Raises ValueError for unknown, missing or invalid ones."""
        own, shared = hyperparameters(self), settings_of(self)
        defaults: dict[str, Value | None] = {**own, **shared}
        for name in values:
            if name not in defaults:
                near = nearest(name, defaults)
                raise ValueError(f"the loss '{self.name}' takes {', '.join(defaults)}; it has no '{name}'.{near}")
        hyper = {name: value for name, value in {**defaults, **values}.items() if value is not None}
        if missing := [name for name in defaults if name not in hyper]:
            advice = "; ".join(f"{name} is {self.limits[name].meaning}. {self.limits[name].advice}" for name in missing)
            raise ValueError(f"the loss '{self.name}' needs a value for {', '.join(missing)}: {advice}")
        return BoundLoss(self, hyper)

    def check(self, hyper: Hyper) -> None:
        """Raises ValueError for values of its own hyperparameters that it cannot have, alone or together."""
        for name, default in hyperparameters(self).items():
            if isinstance(default, bool):
                check_switch(self.name, name, hyper[name])
            if name in self.choices:
                choices = self.choices[name]
                choices(hyper[name]) if callable(choices) else check_choice(self.name, name, hyper[name], choices)
        for name, limit in self.limits.items():
            limit.check(name, hyper[name])
        if self.agree is not None:
            self.agree(hyper)

    def _check_call(self, given: Mapping[str, Any]) -> None:
        """Checks the keywords of a direct call, with its defaults; unknown and missing ones are Python's to refuse."""
        own = hyperparameters(self)
        hyper = {name: given.get(name, default) for name, default in own.items()}
        if all(name in given or default is not None for name, default in own.items()):
            self.check(hyper)


@dataclass(frozen=True)
class BoundLoss:
    """A row with its hyperparameters.

    Args:
        loss: The row.
        hyper: Its hyperparameters and settings by name.

    Raises:
        ValueError: A value that the loss cannot have.
    """

    loss: Loss
    hyper: Hyper

    def __post_init__(self) -> None:
        self.loss.check(self.hyper)
        for name in settings_of(self.loss):
            SETTINGS[name].check(self.loss.name, name, self.hyper[name])

    @property
    def function(self) -> Callable[..., Tensor]:
        """The row's function. Its hyperparameters have been checked here, so it checks them no more."""
        return unchecked(self.loss.function)

    def __call__(self, logps: PairLogps, offset: Tensor | None = None) -> Tensor:
        """Returns ``(B,)``, one loss per example, in float32 or better. The loop averages.

        Args:
            logps: The batch.
            offset: ``(B,)`` for a loss of one margin: the reward by which the chosen candidate is known to be ahead. It
                is subtracted from the margin, in units of ``1 / beta``.
        """
        if self.loss.takes != "margin":
            return self.function(self.with_settings(logps), **self.arguments)
        margin = self.margin(logps)
        if offset is not None:
            margin = margin - offset.to(margin) / self.beta
        return self.function(margin, **self.arguments)

    def with_settings(self, logps: PairLogps) -> PairLogps:
        """Returns the log-probabilities that the function reads, after the settings of `logp_settings`. Rewards and
        margins are of these.
        """
        numbers = self.numbers
        if (alpha := numbers.get(LD_ALPHA, 1.0)) != 1.0:
            logps = logps.length_desensitised(alpha)
        if numbers.get(PER_TOKEN):
            logps = logps.per_token()
        if (scale := numbers.get(LOGP_SCALE, 1.0)) != 1.0:
            logps = logps.scaled(torch.full_like(upcast(logps.chosen.logps), scale).detach())
        return logps

    def margin(self, logps: PairLogps) -> Tensor:
        """Returns ``(B,)``, the margin that the loss is a function of: of logratios, transformed by a divergence."""
        read = self.with_settings(logps)
        if self.divergence == "reverse_kl":
            return read.margin
        chosen, rejected = (divergence_reward(x, self.divergence, self.numbers[F_ALPHA]) for x in read.logratios)
        return chosen - rejected

    @property
    def name(self) -> str:
        """The row's name."""
        return self.loss.name

    @property
    def arguments(self) -> Hyper:
        """The keyword arguments of the function: the hyperparameters without the settings that losses share."""
        return {name: value for name, value in self.hyper.items() if name not in SETTINGS}

    @property
    def numbers(self) -> dict[str, float]:
        """The values that are numbers or switches: the argument of a row's claims."""
        return numbers_in(self.hyper)

    @property
    def beta(self) -> float:
        """The inverse temperature; 1 for a loss without one."""
        return self.numbers.get("beta", 1.0)

    @property
    def divergence(self) -> str:
        """The divergence that holds the policy to its reference."""
        return str(self.hyper.get(F_DIVERGENCE, "reverse_kl"))

    @property
    def scale_is_beta(self) -> bool:
        """Whether a factor on a pair's two logratios is a beta of its own for that pair: the loss is a function of beta
        times their difference only.
        """
        return self.loss.is_pure_margin and self.divergence == "reverse_kl" and self.loss.of_beta_margin(self.numbers)

    @property
    def at_zero(self) -> float | None:
        """The loss where the policy equals its reference, so at the first step of a fresh adapter; None: unknown."""
        return None if self.loss.at_zero is None else self.loss.at_zero(self.numbers)

    def rewards(self, logps: PairLogps) -> tuple[Tensor, Tensor | None]:
        """Returns implicit rewards ``(chosen, rejected)``, ``(B,)`` each, without gradient; None: no rejected one.

        Under another divergence than the reverse KL a reward is ``beta f'(policy / reference)``, so that the rewards'
        difference is beta times the margin of the loss.
        """
        read = self.with_settings(logps)
        return implicit_rewards(
            read,
            beta=self.beta,
            against_reference=self.loss.needs_reference,
            divergence=self.divergence,
            alpha=self.numbers.get(F_ALPHA, 0.5),
        )

    def slope(self, margin: Tensor) -> Tensor:
        """Returns ``(B,)``, the derivative of each pair's loss by its margin: how strongly the pair still pulls."""
        if self.loss.takes != "margin":
            raise ValueError(f"the loss '{self.name}' is no function of one margin, so it has no slope by it")
        with torch.enable_grad():
            leaf = upcast(margin).detach().clone().requires_grad_(True)
            total = self.function(leaf, **self.arguments).sum()
        return torch.autograd.grad(total, leaf)[0]

    def saturation(self, logps: PairLogps) -> Tensor:
        """Returns ``(B,)``, ``|slope|`` relative to the slope at margin 0. Near 0 the pair has hardly any gradient."""
        margin = self.margin(logps).detach()
        return self.slope(margin).abs() / self.slope(torch.zeros_like(margin)).abs()


def hyperparameters(loss: Loss) -> dict[str, Value | None]:
    """Returns names and defaults of a loss's own hyperparameters; None where a value must be given."""
    return keyword_defaults(loss.function)
