"""Settings that a loss has beside its own hyperparameters: what is done to scores before its function sees them.

In this order: ``ld_alpha`` weighs tokens, ``per_token`` divides by their number, ``logp_scale`` stretches, and
``f_divergence`` bends each logratio before the two are subtracted. Each is a row here; which losses have it follows
from what a loss says of itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from diffalign.losses.divergences import DIVERGENCES
from diffalign.losses.ranges import Range

PER_TOKEN, LD_ALPHA, LOGP_SCALE = "per_token", "ld_alpha", "logp_scale"
F_DIVERGENCE, F_ALPHA, REWARDS, SHIFT = "f_divergence", "f_alpha", "rewards", "shift"


class LossProperties(Protocol):
    """What a setting asks a loss's row, see `catalogue`."""

    @property
    def kind(self) -> str:
        """What one example is."""

    @property
    def takes(self) -> str:
        """What the function receives."""

    @property
    def needs(self) -> tuple[str, ...]:
        """What the scores must carry."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Further answers that it reads."""

    @property
    def media(self) -> tuple[str, ...]:
        """Where it has a meaning."""

    @property
    def per_token(self) -> bool | None:
        """Whether it sees means over tokens; None: it has no such setting."""

    @property
    def scale_sensitive(self) -> bool:
        """Whether the size of a log-probability counts beside its product with beta."""

    @property
    def needs_reference(self) -> bool:
        """Whether the reference has to be scored too."""


@dataclass(frozen=True)
class LossSetting:
    """A setting of many losses.

    Args:
        name: Its key in recipes.
        default: Its value for a row that has it.
        fits: Whether a row has it.
        meaning: What it does, in a line.
        limit: The numbers that it may be; None where it is none.
        words: The words that it may be.
    """

    name: str
    default: Callable[[LossProperties], Any]
    fits: Callable[[LossProperties], bool]
    meaning: str
    limit: Range | None = None
    words: Sequence[str] = ()

    def check(self, loss: str, value: Any) -> None:
        """Raises ValueError for a value that it cannot have."""
        if self.words and value not in self.words:
            raise ValueError(f"{self.name} of the loss '{loss}' is one of {', '.join(self.words)}; got {value!r}")
        if self.limit is not None:
            self.limit.check(self.name, value)
        if self.name == PER_TOKEN and not isinstance(value, bool):
            raise ValueError(f"{self.name} of the loss '{loss}' is true or false; got {value!r}")
        if self.name == REWARDS and not (value == "" or isinstance(value, (str, Mapping))):
            raise ValueError(
                f"rewards of the loss '{loss}' names whose scores are read, or several with their weights, such as "
                f"rewards: {{clip: 0.7, aesthetic: 0.3}}; got {value!r}"
            )


SETTINGS: Mapping[str, LossSetting] = {
    row.name: row
    for row in (
        LossSetting(
            LD_ALPHA,
            lambda loss: 1.0,
            # Tokens behind the shorter answer's length count by this; one answer alone has no other, a third no length.
            lambda loss: loss.kind == "pair" and loss.needs_reference and "text" in loss.media and not loss.roles,
            "texts: tokens behind the length of the shorter answer count by this much (LD-DPO)",
            limit=Range(
                *(0.0, 1.0, True, True),
                meaning="how much the tokens count that the longer answer has more",
                advice="1 leaves them as they are; start at 0.5 where answers get longer and longer.",
            ),
        ),
        LossSetting(
            PER_TOKEN,
            lambda loss: loss.per_token,
            lambda loss: loss.per_token is not None,
            "means over tokens instead of sums; a denoiser's scores are the same in both",
        ),
        LossSetting(
            LOGP_SCALE,
            lambda loss: 1.0,
            lambda loss: loss.scale_sensitive or loss.takes == "margin",
            "every log-probability times this. A denoiser's is minus half a mean squared error: 50000 with a beta of "
            "0.1 is as strong as a beta of 5000",
            limit=Range(
                *(0.0, math.inf, False, False),
                meaning="the factor on every log-probability",
                advice="Leave it at 1 for texts; for denoisers start at 50000 with a beta of 0.1.",
            ),
        ),
        LossSetting(
            F_DIVERGENCE,
            lambda loss: "reverse_kl",
            lambda loss: loss.takes == "margin" and loss.needs_reference,
            "the divergence that holds the policy to its reference (f-DPO)",
            words=tuple(DIVERGENCES),
        ),
        LossSetting(
            F_ALPHA,
            lambda loss: 0.5,
            lambda loss: loss.takes == "margin" and loss.needs_reference,
            "of the alpha divergence: towards 0 the reverse, towards 1 the forward KL; TRL's coefficient is 1 minus it",
            limit=Range(
                *(0.0, 1.0, False, False),
                meaning="which divergence between reverse and forward KL it is",
                advice="Published runs take 0.3, 0.5 and 0.7.",
            ),
        ),
        LossSetting(
            REWARDS,
            lambda loss: "",
            lambda loss: "rewards" in loss.needs,
            "whose scores of the candidates are read; empty: the only ones that the data have",
        ),
        LossSetting(
            SHIFT,
            lambda loss: "classes",
            lambda loss: "bco_shift" in loss.needs,
            "where the running shift lies: midway between the means of the two kinds, or (pooled, TRL's) at the mean "
            "of all examples, which is the same where both kinds are equally many",
            words=("classes", "pooled"),
        ),
    )
}
"""Every such setting by name, in the order in which they act."""


def settings_of(loss: LossProperties) -> dict[str, Any]:
    """The settings that a row has, with their defaults."""
    return {name: row.default(loss) for name, row in SETTINGS.items() if row.fits(loss)}
