"""Chart of a run's previews: win rates over its first previews against drift, or against steps without drift."""

from __future__ import annotations

import math

from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Role
from diffalign.evaluation.report.training_curves import FIRST, INK, SECOND, Chart, as_svg, blank

STYLES = ("-", "--", ":", "-.")


def preview_curve_chart(curve: PreviewCurve) -> Chart:
    """Draws held-out judges in one colour and trained-on judges in the other."""
    drifts = [drift for drift in curve.drifts if drift is not None]
    by_drift = len(drifts) == len(curve.steps)
    positions = [math.sqrt(max(drift.value, 0.0)) for drift in drifts] if by_drift else list(curve.steps)
    figure, axes = blank()
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.6)
    colours: dict[Role, str] = {"held-out": FIRST, "trained-on": SECOND}
    for role, colour in colours.items():
        for number, name in enumerate(curve.judges(role)):
            wins = [curve.win(name, step) for step in range(len(curve.steps))]
            points = sorted((x, win.rate) for x, win in zip(positions, wins, strict=True) if win is not None)
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                color=colour,
                linewidth=1.8,
                linestyle=STYLES[number % len(STYLES)],
                marker="o",
                markersize=3.5,
                label=f"{_short(name)} ({'held out' if role == 'held-out' else 'trained on'})",
            )
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8.5, loc="best", handlelength=1.6)
    axes.set_xlabel("root of the drift" if by_drift else "step", color=INK, fontsize=8.5)
    title = "Win rate over the first previews"
    caption = (
        f"{len(curve.prompts)} previews at each of {len(curve.steps)} steps. A trained-on judge that keeps rising, "
        "while a held-out one falls, shows over-optimisation."
    )
    if by_drift:
        caption += f" Drift: {drifts[-1].value:.3g} {drifts[-1].unit} at the end."
    return Chart(title, as_svg(figure, title), caption)


def _short(name: str) -> str:
    """Removes what matplotlib would read as mathematics, and shortens the name to fit a legend."""
    plain = name.replace("$", "").lstrip("_")
    return plain if len(plain) <= 30 else plain[:29] + "…"
