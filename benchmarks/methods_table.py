"""The tables of `benchmarks.methods`: measured and counted, beside the formula of each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.measure import Measured

T, N = 1000, 10
"""Levels of the schedule, and steps of an inversion to the noisiest."""
VISITS = (4, 8, 16)


@dataclass(frozen=True)
class Told:
    """What a step returns.

    Args:
        prepared: Evaluations before the first step, by what for.
        preparing: Seconds of that.
        step: Evaluations of the step.
        examples: Pairs, or samples, of the step.
    """

    prepared: Mapping[str, int]
    preparing: float
    step: Mapping[str, int]
    examples: int


def exact(t: int) -> int:
    """Steps to level ``t``: max(1, ceil(N (t + 1) / T))."""
    return max(1, -(-N * (t + 1) // T))


def released(t: int) -> int:
    """Steps of the released scripts: those of -99, 1, 101, ... that start below ``t``, the first always."""
    return max(1, sum(start < t for start in range(1 - T // N, T - T // N, T // N)))


STEPS = {"n": exact, "n'": released}
FORMULAS = {
    "diffusion_dpo": ("8", 8, 0, "n"),
    "ddim_inpo": ("8 + 2 n", 8, 2, "n"),
    "smpo": ("8 + 2 n (1 + K)", 8, 4, "n"),
    "seppo": ("8 + 2 S", 8, 0, "n"),
    "sft": ("3", 3, 0, "n"),
    "mapo": ("6", 6, 0, "n"),
    "ddim_inpo, released": ("8 + 2 n'", 8, 2, "n'"),
    "smpo, released": ("8 + 2 n' (1 + K)", 8, 4, "n'"),
}
"""``name: (in words, constant, factor on n, which n)``, F per pair; guidance doubles SePPO's S sampling steps."""


def table(
    results: Mapping[str, Measured], levels: tuple[int, int], sampling: int, draws: int, batches: Sequence[int]
) -> str:
    """Methods, what storing saves, and the sampling stage."""
    dpo = results["diffusion_dpo"]
    unit, weight = _per_example(dpo), _forwards(dpo)
    most = results[f"sampling {max(batches)}"]
    lines = ["", f"{'':<27}{'s/pair':>8}{'x DPO':>7}{'counted':>9}{'formula':>9}{'per F':>7}{'everywhere':>12}"]
    for name, (words, constant, factor, kind) in FORMULAS.items():
        seconds, counted = _per_example(results[name]), _forwards(results[name])
        here = constant + factor * mean(STEPS[kind](t) for t in range(*levels))
        everywhere = constant + factor * mean(STEPS[kind](t) for t in range(T))
        if name == "seppo":  # its losers are made in a stage of its own, in large batches
            seconds, counted = seconds + _per_example(most), counted + _forwards(most)
            here, everywhere = here + 2 * sampling, everywhere + 2 * 50
        per = seconds / counted / (unit / weight)
        numbers = f"{seconds:8.3f}{seconds / unit:7.2f}{counted:9.1f}{here:9.1f}{per:7.2f}{everywhere:12.1f}"
        lines.append(f"{name:<27}{numbers}   {words}")
    lines.append(f"n, n' steps of an inversion, K = 1 correction, S = {sampling} sampling steps (everywhere: 50)")
    return "\n".join([*lines, *_stored(results, draws, unit), *_sampling(results, batches, unit / weight)])


def _stored(results: Mapping[str, Measured], draws: int, unit: float) -> list[str]:
    """DDIM-InPO with the frozen reference as inverter."""
    visits = "".join(f"{f'V = {v}':>9}" for v in VISITS)
    lines = ["", f"{'inverter: reference':<27}{'s/pair':>8}{'x DPO':>7}{'counted':>9}{'prepare':>10}{'F':>7}{visits}"]
    for name in ("reference inverts, live", "reference inverts, stored", "stored, its errors as well"):
        result = results[name]
        seconds, counted, pairs = _per_example(result), _forwards(result), result.told[0].examples
        prepared = mean(told.preparing for told in result.told) / pairs
        before = result.told[0].prepared["forwards"] / pairs
        shares = "".join(f"{(seconds + prepared / v) / unit:9.2f}" for v in VISITS)
        lines.append(
            f"{name:<27}{seconds:8.3f}{seconds / unit:7.2f}{counted:9.1f}{prepared:8.2f} s{before:7.1f}{shares}"
        )
    lines.append(
        f"prepare, F: once per pair, for {draws} draws of it; V: a visit in DPO steps, preparation shared by V visits "
        "(computed from the columns before)"
    )
    return lines


def _sampling(results: Mapping[str, Measured], batches: Sequence[int], unit: float) -> list[str]:
    lines = ["", f"{'SePPO, sampling':<27}{'samples/s':>10}{'F':>7}{'per F':>7}"]
    for batch in batches:
        result = results[f"sampling {batch}"]
        seconds, counted = _per_example(result), _forwards(result)
        name = f"{batch} at once"
        lines.append(f"{name:<27}{1 / seconds:10.2f}{counted:7.1f}{seconds / counted / unit:7.2f}")
    return lines


def _per_example(result: Measured) -> float:
    return result.step / result.told[0].examples


def _forwards(result: Measured) -> float:
    """Counted F per example."""
    return mean(told.step["forwards"] / told.examples for told in result.told)
