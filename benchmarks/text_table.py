"""The tables of `benchmarks.text_step`: measured numbers, and ratios with their bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import Measurement

TOLERANCE = 1e-4
"""Largest difference between losses of two libraries, in float32."""


@dataclass(frozen=True)
class Bar:
    """Bounds on speed and memory of a variant relative to a baseline.

    Args:
        id: Name of the bar.
        title: Title in the table.
        variant: A variant of :func:`variants`.
        baseline: The variant to compare with.
        speed: Smallest ratio of pairs per second.
        memory: Largest ratio of memory.
    """

    id: str
    title: str
    variant: str
    baseline: str
    speed: float
    memory: float


LOOP = {"speed": 1 / 1.05, "memory": 1.05}
BARS = (
    Bar("LM1", "long shared prompt", "diffalign, 384+64", "TRL, 384+64", 1.5, 0.75),
    Bar("LM4", "short prompt", "diffalign, 64+64", "TRL, 64+64", 1.4, 0.72),
    Bar("LM5", "reference stored", "diffalign, 384+64, stored", "TRL, 384+64, stored", 1.45, 0.80),
    Bar("LM6", "bf16", "diffalign, 384+64, bf16", "TRL, 384+64, bf16", 1.6, 0.78),
    Bar("LM7", "LoRA", "diffalign, 384+64, LoRA", "TRL, 384+64, LoRA", 1.5, 0.70),
    Bar("LM8", "varied lengths", "diffalign, varied", "TRL, varied", 1.4, 0.75),
    Bar("LM9", "low-memory mode", "diffalign, 384+64, low memory", "TRL, 384+64", 1.2, 0.60),
    Bar("LM10", "against the raw loop", "diffalign, 384+64", "raw, 384+64", **LOOP),
    Bar("LM10-stored", "reference stored", "diffalign, 384+64, stored", "raw, 384+64, stored", **LOOP),
    Bar("LM10-bf16", "bf16", "diffalign, 384+64, bf16", "raw, 384+64, bf16", **LOOP),
    Bar("LM10-LoRA", "LoRA", "diffalign, 384+64, LoRA", "raw, 384+64, LoRA", **LOOP),
    Bar("LM10-short", "short prompt", "diffalign, 64+64", "raw, 64+64", **LOOP),
    Bar("LM10-varied", "varied lengths", "diffalign, varied", "raw, varied", **LOOP),
)
SHIPPED = (
    Bar("LM2", "TRL as shipped on a CPU", "diffalign, 384+64", "TRL as shipped, 384+64", 3.5, 0.40),
    Bar("LM3", "TRL's defaults; bf16", "diffalign, 384+64, bf16", "TRL as shipped, 384+64, defaults", 5.0, 0.45),
)


def numbers(results: Mapping[str, Measurement], pairs: Mapping[str, int]) -> str:
    """Returns the measured numbers."""
    lines = ["", f"{'':<36} {'s/step':>7} {'MB':>6} {'pairs/s':>8}   losses"]
    for name in sorted(results):
        result, shape = results[name], name.split(", ")[1]
        losses = " ".join(f"{loss:.6f}" for loss in result.returned[-1])
        lines.append(f"{name:<36} {result.step:7.2f} {result.memory:6.0f} {pairs[shape] / result.step:8.2f}   {losses}")
    return "\n".join(lines)


def table(results: Mapping[str, Measurement], bars: Sequence[Bar]) -> str:
    """Returns the ratios, each with its bar."""
    lines = ["", f"{'':<11} {'':<24} {'against':<32} {'speed':>6} {'memory':>7}   bar (speed / memory)"]
    for bar in bars:
        if bar.variant not in results or bar.baseline not in results:
            continue
        variant, baseline = results[bar.variant], results[bar.baseline]
        speed, memory = baseline.step / variant.step, variant.memory / baseline.memory
        verdict = "held" if speed >= bar.speed and memory <= bar.memory else "MISSED"
        lines.append(
            f"{bar.id:<11} {bar.title:<24} {bar.baseline:<32} {speed:6.2f} {memory:7.2f}   "
            f">= {bar.speed:.2f} / <= {bar.memory:.2f}  {verdict}"
        )
    return "\n".join(lines)


def check_losses(results: Mapping[str, Measurement]) -> None:
    """Raises SystemExit if variants do different work: all losses start at log 2, and in float32 all must agree.

    Each library draws a LoRA differently, and bfloat16 rounds differently, so only the first loss of these is checked.
    """
    first_of_shape: dict[str, tuple[str, tuple[float, ...]]] = {}
    errors = []
    for name, result in results.items():
        losses = result.returned[-1]
        if abs(losses[0] - math.log(2)) > TOLERANCE:
            errors.append(f"{name} starts at {losses[0]:.6f}, not at log 2")
        if any(kind in name for kind in ("LoRA", "bf16", "defaults")):
            continue
        first, expected = first_of_shape.setdefault(name.split(", ")[1], (name, losses))
        difference = max(abs(a - b) for a, b in zip(losses, expected, strict=True))
        if not difference <= TOLERANCE:
            errors.append(f"{name}: a loss differs by {difference:.1e} from that of {first}")
    if errors:
        raise SystemExit("the variants do not do the same work:\n  " + "\n  ".join(errors))
