"""The tables of `benchmarks.methods`: measured seconds and counted evaluations, with the formula of each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.measure import Measurement

T, N = 1000, 10
"""Levels of the schedule, and steps of an inversion to the noisiest level."""
VISITS = (4, 8, 16)


@dataclass(frozen=True)
class StepCounts:
    """Counts of a step, with those of the preparation before the first step.

    Args:
        prepared: Evaluations of the preparation by purpose.
        preparation_seconds: Duration of the preparation.
        step: Evaluations of the step by purpose.
        examples: Pairs, or samples, of the step.
    """

    prepared: Mapping[str, int]
    preparation_seconds: float
    step: Mapping[str, int]
    examples: int


def exact(t: int) -> int:
    """Returns the inversion steps to level ``t``: max(1, ceil(N (t + 1) / T))."""
    return max(1, -(-N * (t + 1) // T))


def released(t: int) -> int:
    """Returns the inversion steps of the released scripts: those of -99, 1, 101, ... below ``t``; at least 1."""
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
"""``name: (formula, constant, factor on n, which n)``, F per pair; guidance doubles SePPO's S sampling steps."""


def table(
    results: Mapping[str, Measurement], levels: tuple[int, int], sampling: int, draws: int, batches: Sequence[int]
) -> str:
    """Returns the tables of methods, of stored inversions, and of the sampling stage."""
    dpo = results["diffusion_dpo"]
    dpo_seconds, dpo_forwards = _per_example(dpo), _forwards(dpo)
    dpo_per_f = dpo_seconds / dpo_forwards
    largest_batch = results[f"sampling {max(batches)}"]
    lines = ["", f"{'':<27}{'s/pair':>8}{'x DPO':>7}{'counted':>9}{'formula':>9}{'per F':>7}{'all levels':>12}"]
    for name, (formula, constant, factor, kind) in FORMULAS.items():
        seconds, counted = _per_example(results[name]), _forwards(results[name])
        expected = constant + factor * mean(STEPS[kind](t) for t in range(*levels))
        all_levels = constant + factor * mean(STEPS[kind](t) for t in range(T))
        if name == "seppo":  # its rejected samples are generated in a separate stage, in large batches
            seconds, counted = seconds + _per_example(largest_batch), counted + _forwards(largest_batch)
            expected, all_levels = expected + 2 * sampling, all_levels + 2 * 50
        per_f = seconds / counted / dpo_per_f
        numbers = (
            f"{seconds:8.3f}{seconds / dpo_seconds:7.2f}{counted:9.1f}{expected:9.1f}{per_f:7.2f}{all_levels:12.1f}"
        )
        lines.append(f"{name:<27}{numbers}   {formula}")
    lines.append(f"n, n' steps of an inversion, K = 1 correction, S = {sampling} sampling steps (all levels: 50)")
    return "\n".join([*lines, *_stored(results, draws, dpo_seconds), *_sampling(results, batches, dpo_per_f)])


def _stored(results: Mapping[str, Measurement], draws: int, dpo_seconds: float) -> list[str]:
    """Returns the table of DDIM-InPO with the frozen reference as inverter."""
    visits = "".join(f"{f'V = {v}':>9}" for v in VISITS)
    lines = ["", f"{'inverter: reference':<27}{'s/pair':>8}{'x DPO':>7}{'counted':>9}{'prepare':>10}{'F':>7}{visits}"]
    for name in ("reference inverts, live", "reference inverts, stored", "stored, its errors as well"):
        result = results[name]
        seconds, counted, pairs = _per_example(result), _forwards(result), result.returned[0].examples
        preparation = mean(counts.preparation_seconds for counts in result.returned) / pairs
        prepared = result.returned[0].prepared["forwards"] / pairs
        visits_cost = "".join(f"{(seconds + preparation / v) / dpo_seconds:9.2f}" for v in VISITS)
        numbers = f"{seconds:8.3f}{seconds / dpo_seconds:7.2f}{counted:9.1f}{preparation:8.2f} s{prepared:7.1f}"
        lines.append(f"{name:<27}{numbers}{visits_cost}")
    lines.append(
        f"prepare, F: once per pair, for {draws} draws of it; V: cost of a visit in DPO steps, with the preparation "
        "shared by V visits (computed from the columns before)"
    )
    return lines


def _sampling(results: Mapping[str, Measurement], batches: Sequence[int], dpo_per_f: float) -> list[str]:
    lines = ["", f"{'SePPO, sampling':<27}{'samples/s':>10}{'F':>7}{'per F':>7}"]
    for batch in batches:
        result = results[f"sampling {batch}"]
        seconds, counted = _per_example(result), _forwards(result)
        name = f"{batch} at once"
        lines.append(f"{name:<27}{1 / seconds:10.2f}{counted:7.1f}{seconds / counted / dpo_per_f:7.2f}")
    return lines


def _per_example(result: Measurement) -> float:
    return result.step / result.returned[0].examples


def _forwards(result: Measurement) -> float:
    """Returns the counted F per example."""
    return mean(counts.step["forwards"] / counts.examples for counts in result.returned)
