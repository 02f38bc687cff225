"""Settings that many losses share: transformations of the log-probabilities before the loss's function reads them.

They act in this order: ``ld_alpha`` weighs tokens, ``per_token`` divides by their number, ``logp_scale`` multiplies,
and ``f_divergence`` transforms each logratio before the two are subtracted. Each is a row of :data:`SETTINGS`; which
losses have it follows from the properties of a loss's row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from diffalign.losses.divergences import DIVERGENCES
from diffalign.losses.hyperparameters import Value, check_choice, check_switch
from diffalign.losses.ranges import Range

PER_TOKEN, LD_ALPHA, LOGP_SCALE = "per_token", "ld_alpha", "logp_scale"
F_DIVERGENCE, F_ALPHA, REWARDS, SHIFT = "f_divergence", "f_alpha", "rewards", "shift"

Check = Callable[[str, str, object], None]
"""``check(loss, setting, value)`` raises ValueError for a value that the setting cannot have."""


class LossProperties(Protocol):
    """The properties of a loss's row that decide which settings it has, see `loss.Loss`."""

    @property
    def kind(self) -> str:
        """The kind of example."""

    @property
    def takes(self) -> str:
        """The argument of the function."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Further inputs of the function."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Further answers of each example."""

    @property
    def media(self) -> tuple[str, ...]:
        """Media that it applies to."""

    @property
    def per_token(self) -> bool | None:
        """Whether it reads means over tokens by default; None: it has no such setting."""

    @property
    def scale_sensitive(self) -> bool:
        """Whether the size of a log-probability matters in addition to its product with beta."""

    @property
    def needs_reference(self) -> bool:
        """Whether it reads the reference's log-probabilities."""


@dataclass(frozen=True)
class LossSetting:
    """A setting of many losses.

    Args:
        name: Its key in recipes.
        default: Its default value for a row that has it.
        applies: Whether a row has it.
        meaning: Its effect, in a line.
        check: Raises ValueError for a value that it cannot have.
    """

    name: str
    default: Callable[[LossProperties], Value]
    applies: Callable[[LossProperties], bool]
    meaning: str
    check: Check


def _in(limit: Range) -> Check:
    return lambda loss, setting, value: limit.check(setting, value)


def _one_of(choices: Sequence[str]) -> Check:
    return lambda loss, setting, value: check_choice(loss, setting, value, choices)


def _check_rewards(loss: str, setting: str, value: object) -> None:
    if not isinstance(value, (str, Mapping)):
        raise ValueError(
            f"{setting} of the loss '{loss}' names whose scores are read, or several with their weights, such as "
            f"rewards: {{clip: 0.7, aesthetic: 0.3}}; got {value!r}"
        )


SETTINGS: Mapping[str, LossSetting] = {
    row.name: row
    for row in (
        LossSetting(
            LD_ALPHA,
            lambda loss: 1.0,
            # It compares the lengths of two answers: a single candidate has no other, a further answer no length.
            lambda loss: loss.kind == "pair" and loss.needs_reference and "text" in loss.media and not loss.roles,
            "texts: factor on the tokens beyond the length of the shorter answer (LD-DPO)",
            _in(
                Range(
                    *(0.0, 1.0, True, True),
                    meaning="the factor on the tokens by which the longer answer is longer",
                    advice="1 leaves them as they are; start at 0.5 where answers get longer and longer.",
                )
            ),
        ),
        LossSetting(
            PER_TOKEN,
            lambda loss: bool(loss.per_token),
            lambda loss: loss.per_token is not None,
            "means over tokens instead of sums; a denoiser's log-probabilities are the same in both",
            check_switch,
        ),
        LossSetting(
            LOGP_SCALE,
            lambda loss: 1.0,
            lambda loss: loss.scale_sensitive or loss.takes == "margin",
            "factor on every log-probability. A denoiser's is minus half a mean squared error: 50000 with a beta of "
            "0.1 is as strong as a beta of 5000",
            _in(
                Range(
                    *(0.0, math.inf, False, False),
                    meaning="the factor on every log-probability",
                    advice="Leave it at 1 for texts; for denoisers start at 50000 with a beta of 0.1.",
                )
            ),
        ),
        LossSetting(
            F_DIVERGENCE,
            lambda loss: "reverse_kl",
            lambda loss: loss.takes == "margin" and loss.needs_reference,
            "the divergence that holds the policy to its reference (f-DPO)",
            _one_of(tuple(DIVERGENCES)),
        ),
        LossSetting(
            F_ALPHA,
            lambda loss: 0.5,
            lambda loss: loss.takes == "margin" and loss.needs_reference,
            "of the alpha divergence: towards 0 the reverse, towards 1 the forward KL; TRL's coefficient is 1 minus it",
            _in(
                Range(
                    *(0.0, 1.0, False, False),
                    meaning="which divergence between reverse and forward KL it is",
                    advice="Published runs take 0.3, 0.5 and 0.7.",
                )
            ),
        ),
        LossSetting(
            REWARDS,
            lambda loss: "",
            lambda loss: "rewards" in loss.needs,
            "whose scores of the candidates are read; empty: the only ones in the data",
            _check_rewards,
        ),
        LossSetting(
            SHIFT,
            lambda loss: "classes",
            lambda loss: "bco_shift" in loss.needs,
            "where the running shift lies: midway between the means of the two classes, or (pooled, as in TRL) at the "
            "mean of all examples, which is the same where both classes are equally large",
            _one_of(("classes", "pooled")),
        ),
    )
}
"""Every such setting by name, in the order in which they act."""


def settings_of(loss: LossProperties) -> dict[str, Value]:
    """Returns the settings that a row has, with their defaults."""
    return {name: row.default(loss) for name, row in SETTINGS.items() if row.applies(loss)}
