"""The catalogue: one row per loss says what it computes, what it needs and what it promises.

The command line, the recipes and the common test battery walk these rows; nothing else knows a loss by its name. A row
*claims* facts about its curve (value and slope at margin zero, ...) as functions of the hyperparameters ``h``; the
battery compares each with the function itself, so a claim that is here is true.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from diffalign.losses.bound_loss import BoundLoss, Hyper
from diffalign.losses.papers import papers_in
from diffalign.losses.ranges import Range
from diffalign.losses.settings import SETTINGS, settings_of

Claim = Callable[[Hyper], float]

NEEDS = (
    *(
        "reference",
        "parts",
        "lengths",
        "kto_baseline",
        "bco_shift",
        "rewards",
        "prompts",
        "divergence",
        "previous",
        "degree",
    ),
    "steps",
)
"""What scores may have to carry beyond the policy's log-probabilities: the reference's; what they are sums of, and how
many; a reference point of the batch, or a running one; rewards of the data; the prompt's log-probability; how far each
part is from the reference; the candidates' scores under the policy as it was; how well it tells what is missing of an
answer; which step of an answer each part belongs to, and the steps' hidden states."""


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A row of the catalogue.

    Args:
        name: Its name in recipes, results and messages.
        function: The mathematics: tensors in, ``(B,)`` out, hyperparameters keyword-only.
        takes: What the function receives: the margin, or all of the scores.
        kind: What one example is: a pair, a single judged candidate, or a ranked list.
        accepts_undesirable: Whether single examples may be undesirable, too.
        allows_only_undesirable: Whether undesirable ones alone are enough, where both are allowed.
        needs: What the scores must carry, out of :data:`NEEDS`.
        roles: Further answers that each example must have, by the names under which the scores carry them.
        needs_whole_batch: Whether the examples of a batch are compared with each other, so that all must be in memory.
        is_quadratic: Whether it squares a log-ratio's distance from a target. The noise of a single draw then adds to
            the loss, so a denoiser's log-probabilities are means over several draws.
        scale_sensitive: Whether the size of a log-probability matters apart from its product with beta; a denoiser's
            then needs a scale of its own (``logp_scale``).
        media: Where it has a meaning: "image", "video", "text".
        per_token: Whether the function sees scores per token unless the setting ``per_token`` says otherwise; None: it
            sees sums, and there is no such setting.
        uses_absolute_logps: Whether a candidate's likelihood counts, and not only its gain against a reference.
        summary: One line for a listing.
        formula: The loss of one example as plain text.
        source: Paper and equation, with its identifier.
        advice: When to take it, and what to watch.
        limits: The range of each numeric hyperparameter.
        words: The values of each that is a word, or what raises ValueError for a wrong one.
        agree: Raises ValueError where hyperparameters that are fine by themselves do not go together.
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
    advice: str
    limits: Mapping[str, Range]
    words: Mapping[str, Sequence[str] | Callable[[str], None]] = field(default_factory=dict)
    agree: Callable[[Hyper], None] | None = None
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
    def is_pure_margin(self) -> bool:
        """Whether it is a function of the two logratios' difference and of nothing else. Then a label may scale them,
        a swapped pair is one of the opposite margin, and the loss where the policy equals its reference is known."""
        return self.kind == "pair" and self.takes == "margin" and self.needs_reference and not self.needs_whole_batch

    def explain(self) -> str:
        """Everything a user wants to know before choosing it, as plain text."""
        own = hyperparameters(self)
        hyper = ", ".join(name if default is None else f"{name} = {default}" for name, default in own.items())
        settings = [SETTINGS[name] for name in settings_of(self)]
        needs = [*self.needs, *(f"a further answer '{role}'" for role in self.roles)]
        lines = [
            f"{self.name}: {self.summary}",
            f"  loss     {self.formula}",
            f"  source   {self.source}",
            *(f"           {paper.line}" for paper in papers_in(self.source)),
            f"  advice   {self.advice}",
            f"  takes    {hyper or 'nothing'}",
            *(f"           {name} in {limit}: {limit.meaning}" for name, limit in self.limits.items()),
            *(f"           {s.name} = {s.default(self)!r}: {s.meaning}" for s in settings),
            f"  needs    {self.kind} examples with {', '.join(needs) or 'the policy alone'}",
            f"  used on  {', '.join(self.media)}",
        ]
        cited = "\n\n".join(paper.bibtex() for paper in papers_in(self.source))
        return "\n".join([*lines, *[f"  also     {', '.join(self.aliases)}"] * bool(self.aliases), "", cited])

    def bind(self, **given: Any) -> BoundLoss:
        """Fixes the hyperparameters. Raises ValueError for unknown, missing or impossible ones."""
        own, further = hyperparameters(self), settings_of(self)
        defaults = {**own, **further}
        for name in given:
            if name not in defaults:
                hint = closest(name, defaults)
                raise ValueError(f"the loss '{self.name}' takes {', '.join(defaults)}; it has no '{name}'.{hint}")
        hyper: dict[str, Any] = {**defaults, **given}
        if missing := [name for name, value in hyper.items() if value is None]:
            says = "; ".join(f"{name} is {self.limits[name].meaning}. {self.limits[name].advice}" for name in missing)
            raise ValueError(f"the loss '{self.name}' needs a value for {', '.join(missing)}: {says}")
        for name, default in own.items():
            if isinstance(default, bool) and not isinstance(hyper[name], bool):
                raise ValueError(f"{name} of the loss '{self.name}' is true or false; got {hyper[name]!r}")
            if name in self.words:
                _check_word(self.name, name, hyper[name], self.words[name])
        for name, limit in self.limits.items():
            limit.check(name, hyper[name])
        for name in further:
            SETTINGS[name].check(self.name, hyper[name])
        if self.agree is not None:
            self.agree(hyper)
        return BoundLoss(self, hyper)


def hyperparameters(loss: Loss) -> dict[str, Any]:
    """Names and defaults of a loss's own hyperparameters, read off its signature. None: a value must be given."""
    parameters = inspect.signature(loss.function).parameters.values()
    keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {p.name: None if p.default is inspect.Parameter.empty else p.default for p in keywords}


def table(*rows: Loss) -> dict[str, Loss]:
    """Rows by name. Two rows of one name, or an alias that is already taken, are our own mistake."""
    taken = [name for row in rows for name in (row.name, *row.aliases)]
    assert len(taken) == len(set(taken)), f"a name occurs twice among {sorted(taken)}"
    return {row.name: row for row in rows}


def find(rows: Mapping[str, Loss], name: str) -> Loss:
    """The row of a name or an alias. Raises ValueError naming the nearest one."""
    by_alias = {alias: row for row in rows.values() for alias in (row.name, *row.aliases)}
    if name not in by_alias:
        raise ValueError(f"there is no loss '{name}'; known are {', '.join(rows)}.{closest(name, by_alias)}")
    return by_alias[name]


def closest(name: str, known: Mapping[str, object]) -> str:
    """``" Did you mean ...?"``, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def _check_word(loss: str, name: str, value: Any, known: Sequence[str] | Callable[[str], None]) -> None:
    if callable(known):
        known(value)
    elif value not in known:
        hint = closest(str(value), dict.fromkeys(known))
        raise ValueError(f"{name} of the loss '{loss}' is one of {', '.join(known)}; got {value!r}.{hint}")
