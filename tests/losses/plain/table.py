"""What the plain formulas are written with: an example on Python floats, and what to try a formula with."""

import math
from dataclasses import dataclass, field
from typing import Any


def log_sigmoid(u):
    """``log(1 / (1 + exp(-u)))`` on whichever side does not overflow."""
    return -math.log1p(math.exp(-u)) if u >= 0 else u - math.log1p(math.exp(u))


@dataclass(frozen=True)
class Answer:
    """A further answer, or the candidate of a list: log-probabilities and number of tokens."""

    policy: float
    reference: float = 0.0
    tokens: int = 1


@dataclass(frozen=True)
class Parts:
    """One candidate token by token."""

    policy: tuple[float, ...]
    reference: tuple[float, ...] = ()
    divergence: tuple[float, ...] = ()
    masks: tuple[tuple[float, ...], ...] = ()
    steps: tuple[int, ...] = ()
    states: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Example:
    """Everything that a loss may read of one example."""

    chosen: float
    rejected: float = 0.0
    reference_chosen: float = 0.0
    reference_rejected: float = 0.0
    chosen_tokens: int = 1
    rejected_tokens: int = 1
    desirable: bool = True
    baseline: float = 0.0
    desirable_share: float = 0.5
    further: dict[str, Answer] = field(default_factory=dict)
    extra_models: dict[str, tuple[float, float]] = field(default_factory=dict)
    rewards: dict[str, float] = field(default_factory=dict)
    prompts: dict[str, float] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)

    @property
    def logratios(self):
        """Of the chosen and of the rejected candidate."""
        return self.chosen - self.reference_chosen, self.rejected - self.reference_rejected

    @property
    def ranked(self):
        """The candidates of a list, best first, with their rewards (0 where nothing was said)."""
        best = Answer(self.chosen, self.reference_chosen, self.chosen_tokens)
        worst = Answer(self.rejected, self.reference_rejected, self.rejected_tokens)
        between = [(role, self.further[role]) for role in sorted((r for r in self.further if r.isdigit()), key=int)]
        rows = [("chosen", best), *between, ("rejected", worst)]
        return [(answer, self.rewards.get(role, 0.0)) for role, answer in rows]

    def margin(self, per_token):
        n_w, n_l = (self.chosen_tokens, self.rejected_tokens) if per_token else (1, 1)
        return (self.chosen - self.reference_chosen) / n_w - (self.rejected - self.reference_rejected) / n_l

    def means(self, per_token):
        n_w, n_l = (self.chosen_tokens, self.rejected_tokens) if per_token else (1, 1)
        return self.chosen / n_w, self.rejected / n_l


@dataclass(frozen=True)
class Plain:
    """A formula of the margin, or of an :class:`Example`, and what to try it with.

    ``settings`` are the hyperparameters that the battery tries. ``below``: log-probabilities below this, where it is
    said; a probability is at most 1. ``together``: the formula takes all examples of a batch and returns a list.
    ``past``: the loss pulls the chosen candidate down, or the rejected one up, somewhere near margin 0 (a target may be
    behind it), so the battery does not ask for the signs of its gradient. ``apart``: each candidate's logratio counts
    by itself, so what both gain alike changes the loss, and the battery sees to it that it does. ``aside``: the loss
    reads further answers alone, neither of the two candidates: those then must be pulled up,
    unless ``past``. ``hill``: of
    hyperparameters, between which margins in units of 1 / beta the loss rises on its way down, if anywhere.
    """

    formula: Any
    settings: tuple[dict, ...]
    below: float | None = None
    needs_whole_batch: bool = False
    past: bool = False
    apart: bool = False
    aside: bool = False
    hill: Any = lambda hyper: None


def value(loss, example):
    """What a bound loss must say of one example."""
    return values(loss, [example])[0]


def values(loss, examples):
    """What a bound loss must say of each example of a batch. A formula takes the loss's own hyperparameters, and
    ``per_token`` where the loss has that setting."""
    from diffalign.losses import hyperparameters
    from tests.losses.plain import PLAIN

    plain = PLAIN[loss.name]
    keys = [*hyperparameters(loss.loss), *(["per_token"] if loss.loss.per_token is not None else [])]
    hyper = {key: loss.hyper[key] for key in keys}
    if plain.needs_whole_batch:
        return plain.formula(examples, **hyper)
    if loss.loss.takes == "logps":
        return [plain.formula(example, **hyper) for example in examples]
    per_token = hyper.pop("per_token", False)
    return [plain.formula(example.margin(per_token), **hyper) for example in examples]
