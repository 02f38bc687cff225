"""Diagnoses a run from its curves, in sentences: whether it learns, whether it has stopped, whether it forgets.

A diagnosis reads only the records of ``metrics.jsonl``, so it can be repeated from an old run's file. A mean counts as
different from zero when it is two standard errors of the window's records away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from diffalign.evaluation.stats.last_records import WINDOW, accuracy_by_level
from diffalign.policies.latent_noise import LOW_RMS, MENDS
from diffalign.training.report.trends import Mean, Record, change

UNMOVED = 0.02
"""A mean |reward margin| below this has not moved: the loss is within 1 % of its value at zero."""
RISEN = 0.001
"""A rise of the error under forward noising counts from this share of the base's error on."""


@dataclass(frozen=True)
class Finding:
    """One diagnosis of the curves.

    Args:
        name: Short and stable: ``both_worse``, ``displaced``, ``saturated``, ``still``, ``levels``, ``wrong_way``,
            ``noise_deficit``, ``less_noise``, ``learning``.
        state: "good", "note" or "alarm".
        text: The observation, its meaning, and advice.
    """

    name: str
    state: Literal["good", "note", "alarm"]
    text: str


def diagnose(records: Sequence[Record], *, beta: float, learning_rate: float, reference: bool = True) -> list[Finding]:
    """Returns all diagnoses of the last records.

    Args:
        records: Metric records of a run, oldest first.
        beta: The run's beta, for advice.
        learning_rate: The run's peak learning rate, for advice.
        reference: Whether rewards are relative to a reference. Without one there are no diagnoses: either candidate may
            be the likelier one from the start, so neither size nor sign of a margin shows what was learned.
    """
    records = [record for record in records if "rewards/margins" in record]
    if not records or not reference:
        return []
    found = [finding for check in CHECKS if (finding := check(records[-WINDOW:], beta, learning_rate)) is not None]
    if any(finding.name == "still" for finding in found):
        found = [finding for finding in found if finding.name != "learning"]  # of margins too small to speak of
    if (displaced := _displaced(records, beta, learning_rate)) is None:
        return found
    return [*(finding for finding in found if finding.name != "both_worse"), displaced]  # the more precise of the two


def _both_worse(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    chosen, rejected = Mean.of(records, "rewards/chosen"), Mean.of(records, "rewards/rejected")
    if not (chosen.below(-UNMOVED) and rejected.below(-UNMOVED)):
        return None
    shown = f"reward {chosen.value:.3g} of the chosen, {rejected.value:.3g} of the rejected candidates"
    if "error/chosen_change" in records[-1]:
        errors = [Mean.of(records, f"error/{side}_change").value for side in ("chosen", "rejected")]
        shown += f"; errors {errors[0]:+.3g} and {errors[1]:+.3g} against the reference"
    return Finding(
        "both_worse",
        "alarm",
        f"Both candidates have become less likely than under the reference ({shown}): the margin grows because the "
        f"rejected ones lose more, and samples may degrade while the loss still falls. Lower the learning rate (now "
        f"{rate:g}; try {rate / 3:.2g}), raise beta (now {beta:g}; try {beta * 2:g}), or take an earlier checkpoint.",
    )


def _displaced(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    """Compares two windows: the chosen candidates fall below their start, while margins grow."""
    moved = Mean.of(records[-WINDOW:], "displacement/chosen")
    fell, grew = (change(records, name, WINDOW) for name in ("displacement/chosen", "rewards/margins"))
    if not (moved.below(0.0) and fell.below(0.0) and grew.above(0.0)):
        return None
    return Finding(
        "displaced",
        "alarm",
        f"Likelihood displacement: margins grow (by {grew.value:.3g} from one window to the next) while the chosen "
        f"candidates become less likely (log-probability {moved.value:.3g} against the start, {fell.value:.3g} since "
        "the window before): probability goes to answers that are neither chosen nor rejected. Add the chosen ones' "
        "likelihood (the loss rpo, or sft as a further term), leave out pairs whose two answers are nearly alike, or "
        f"lower the learning rate (now {rate:g}).",
    )


def _saturated(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    share = Mean.of(records, "health/saturated").value
    if not share > 0.5:
        return None
    size = Mean.of(records, "health/margin_size").value
    advice = suggested_beta(beta, size)
    return Finding(
        "saturated",
        "alarm",
        f"{share:.0%} of the pairs have no gradient left: their margins are so large (mean size {size:.3g}) "
        f"that the loss is flat. Stop here, or lower beta (now {beta:g}; about {advice:.2g} would bring "
        "the mean margin to 1) if the samples still look like the reference's.",
    )


def _still(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    size = Mean.of(records, "health/margin_size")
    if len(records) < WINDOW or not size.value < UNMOVED:
        return None
    return Finding(
        "still",
        "alarm",
        f"The margins do not move (mean size {size.value:.2g}): the policy is still its reference. If the learning "
        f"rate (now {rate:g}) is past its warm-up, raise it tenfold ({rate * 10:.2g}); an adapter needs 1e-5 to 1e-3. "
        f"With small margins beta (now {beta:g}) may also be raised.",
    )


def _wrong_way(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    right = Mean.of(records, "rewards/accuracies")
    if len(records) < WINDOW or not right.below(0.5 - 0.02):
        return None
    return Finding(
        "wrong_way",
        "alarm",
        f"The policy disagrees with the labels of the pairs it trains on (accuracy {right.value:.2f}). Check whether "
        "chosen and rejected are swapped in the data, and whether the learning rate is so high that steps overshoot.",
    )


def _levels(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    levels = accuracy_by_level(records)
    learned, lost, idle = (
        [level.name for level in levels if level.verdict == verdict] for verdict in ("learned", "lost", "at chance")
    )
    if len(records) < WINDOW or not learned or not (lost or idle):
        return None
    text = f"Noise levels {', '.join(learned)} have learned"
    if lost:
        text += f"; {', '.join(lost)} got worse than chance"
    if idle:
        text += f"; {', '.join(idle)} are at chance"
    numbers = ", ".join(map(str, levels))
    return Finding(
        "levels", "note", f"{text} (accuracy by level over the last {WINDOW} records, 1 is pure noise: {numbers})."
    )


def _noise_deficit(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    size = Mean.of(records, "noise/rms")
    if not size.value < LOW_RMS:
        return None
    return Finding(
        "noise_deficit",
        "alarm",
        f"The inverted latents hold less noise than their levels say (rms {size.value:.2f}, where noise has 1): both "
        "candidates of a pair teach the network to predict less noise, which has nothing to do with the preference. "
        f"See noise/level_* for the levels. {MENDS}",
    )


def _less_noise(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    """Compares errors at the inverted latents with those under forward noising, which samplers meet."""
    chosen, rejected = (Mean.of(records, f"error/{side}_change") for side in ("chosen", "rejected"))
    rise, spread, error = (
        Mean.of(records, f"forward/{name}").value for name in ("error_change", "error_change_se", "error")
    )
    base = error - rise
    # The same latents in every record: the spread of the change over pairs counts, not that over records.
    if not (chosen.below(0.0) and rejected.below(0.0) and rise > max(RISEN * base, 2 * spread)):
        return None
    return Finding(
        "less_noise",
        "alarm",
        f"The model learns to predict less noise, not what is preferred: at the inverted latents the errors of both "
        f"candidates fall ({chosen.value:+.3g} chosen, {rejected.value:+.3g} rejected), while the error under forward "
        f"noising rises ({rise:+.3g}, {rise / base:.1%} of the base's), so samples gain grain. Take an "
        f"earlier checkpoint, and mend the latents. {MENDS}",
    )


def _learning(records: Sequence[Record], beta: float, rate: float) -> Finding | None:
    right = Mean.of(records, "rewards/accuracies")
    margin = Mean.of(records, "rewards/margins")
    chosen = Mean.of(records, "rewards/chosen")
    if len(records) < 3 or not (right.above(0.52) and margin.above(0.0)):
        return None
    both = (
        "the chosen candidates gained against the reference"
        if chosen.value > 0
        else "the rejected candidates lost more"
    )
    return Finding(
        "learning",
        "good",
        f"It learns: accuracy {right.value:.2f}, mean reward margin {margin.value:.3g}; {both}. {_near_zero(records)}"
        "Judge by accuracy, margins and samples.",
    )


def _near_zero(records: Sequence[Record]) -> str:
    """Returns a remark on a denoiser's loss; its records have errors, those of a language model do not."""
    if "error/chosen_change" not in records[-1]:
        return ""
    return (
        "A loss near its value at zero (0.693 for the logistic loss) is normal for a denoiser: one noise level tells "
        "little about a pair. "
    )


Check = Callable[[Sequence[Record], float, float], Finding | None]
CHECKS: tuple[Check, ...] = (
    _learning,
    _both_worse,
    _noise_deficit,
    _less_noise,
    _saturated,
    _still,
    _wrong_way,
    _levels,
)


def suggested_beta(beta: float, margin_size: float) -> float:
    """Returns the beta at which the present margins would have mean size 1: clearly won, and with a gradient left."""
    return beta / margin_size if margin_size > 0 else beta
