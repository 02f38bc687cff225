"""Draws the noise that the inverted latents of a run held, by noise level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffalign.evaluation.report.training_curves import FIRST, INK, Chart, as_svg, blank
from diffalign.evaluation.stats.last_records import WINDOW, noise_by_level
from diffalign.policies.latent_noise import LOW_RMS, MENDS

TITLE = "Noise of the inverted latents"


def noise_chart(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Returns a chart of the rms of the latents' noise over the last records, with what mends a lack of it; None for a
    run that inverts nothing.
    """
    levels = noise_by_level(rows)
    if not levels:
        return None
    figure, axes = blank()
    for i, rms in enumerate(levels.values()):
        axes.bar(i, rms, width=0.62, color=FIRST)
        axes.annotate(f"{rms:.2f}", (i, rms), (0, 3), textcoords="offset points", ha="center", color=INK, fontsize=8.5)
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.6)
    axes.set_xticks(range(len(levels)), [name.replace("-", "–") for name in levels])
    axes.set_ylim(0.0, max(1.2, *levels.values()) + 0.1)
    axes.set_xlabel("noise level, as a share of the schedule", color=INK, fontsize=8.5)
    caption = f"Rms of the inverted latents' noise over the last {min(WINDOW, len(rows))} records. Noise has 1."
    if min(levels.values()) < LOW_RMS:
        caption += f" Below {LOW_RMS:g} both candidates teach the model to predict less noise. {MENDS}"
    return Chart(TITLE, as_svg(figure, TITLE), caption)
