"""The course of a run as a chart: win rates over its first previews against drift, where that is known, else steps."""

from __future__ import annotations

import math

from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Role
from diffalign.evaluation.report.plots import FIRST, INK, SECOND, Chart, as_svg, blank

STYLES = ("-", "--", ":", "-.")


def course_chart(course: PreviewCurve) -> Chart:
    """Held-out judges in the one colour, those that training learnt from in the other."""
    known = [drift for drift in course.drifts if drift is not None]
    by_drift = len(known) == len(course.steps)
    places = [math.sqrt(max(drift.value, 0.0)) for drift in known] if by_drift else list(course.steps)
    figure, axes = blank()
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.6)
    colours: dict[Role, str] = {"held-out": FIRST, "trained-on": SECOND}
    for role, colour in colours.items():
        for number, name in enumerate(course.named(role)):
            won = [course.win(name, step) for step in range(len(course.steps))]
            points = sorted((x, w.rate) for x, w in zip(places, won, strict=True) if w is not None)
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
        f"{len(course.prompts)} previews at each of {len(course.steps)} steps. A judge that training learnt from and "
        "that goes on rising, while a held-out one turns down, is being pleased without being right."
    )
    if by_drift:
        caption += f" Drift: {known[-1].value:.3g} {known[-1].unit} at the end."
    return Chart(title, as_svg(figure, title), caption)


def _short(name: str) -> str:
    """Without what matplotlib would read as mathematics, and no longer than a legend can hold."""
    plain = name.replace("$", "").lstrip("_")
    return plain if len(plain) <= 30 else plain[:29] + "…"
