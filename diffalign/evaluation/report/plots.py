"""Curves of a run as SVG elements for a page: colours come from the page, so light and dark both work.

Rows are flat dictionaries with TRL's names, one per logged step; what a row lacks or holds as nan is a gap.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Stand-ins that matplotlib can draw with, and what the page replaces them by (with a colour for use outside a page).
INK, LINE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
_PAGE = {
    INK: "currentColor",
    LINE: "var(--line, #d9dde2)",
    FIRST: "var(--first, #2f5fd0)",
    SECOND: "var(--second, #c0603a)",
}
_MOST_POINTS = 400


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        title: What it shows.
        svg: An ``<svg>`` element, without links, scripts or identifiers that another chart on the page shares.
        caption: How to read it, with where it ended.
    """

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class _Plan:
    title: str
    series: tuple[tuple[str, str], ...]  # (column, label)
    caption: str
    level: float | None = None  # a horizontal line to compare with
    limits: tuple[float, float] | None = None
    unless: str = ""  # a column that says the same better


_PLANS = (
    _Plan(
        "Loss",
        (("loss", "loss"),),
        "Should sink slowly and stay finite. A logistic loss starts at log 2 = 0.693.",
    ),
    _Plan(
        "Accuracy of the implicit reward",
        (("rewards/accuracies", "training"), ("eval_rewards/accuracies", "held out")),
        "Share of pairs on whose order the model agrees more than its reference does. Chance is one half.",
        0.5,
        (0.0, 1.0),
    ),
    _Plan(
        "Reward margin",
        (("rewards/margins", "margin"),),
        "Implicit reward of the chosen minus the rejected candidate. Should rise above 0, without racing away.",
        0.0,
    ),
    _Plan(
        "Reward of either candidate",
        (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")),
        "Above 0 the model finds it likelier than its reference does. Healthy: chosen above rejected, not far below 0.",
        0.0,
        unless="error/chosen_change",
    ),
    _Plan(
        "Displacement of held-out pairs",
        (("eval_displacement/chosen", "chosen"), ("eval_displacement/rejected", "rejected")),
        "Change of the log-probability since before training. Healthy: chosen not below 0. Where both fall while the "
        "margin grows, probability goes to answers in neither.",
        0.0,
        unless="error/chosen_change",
    ),
    _Plan(
        "Ranking of held-out pairs",
        (("eval_accuracy/ranking", "this model"), ("eval_accuracy/ranking_ideal", "the best for these labels")),
        "Share of pairs whose chosen candidate is the likelier one.",
        0.5,
        (0.0, 1.0),
    ),
    _Plan(
        "Error change against the reference",
        (("error/chosen_change", "chosen"), ("error/rejected_change", "rejected")),
        "Below 0 the model predicts better than its reference. Healthy: chosen below rejected, and not far above 0.",
        0.0,
    ),
)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``; a missing file has none, and a line that a kill cut short is skipped."""
    if not Path(path).is_file():
        return []
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Charts of loss, accuracy, margin, errors, and accuracy by noise level: those for which there are numbers."""
    found = [chart for plan in _PLANS if (chart := _curves(rows, plan)) is not None]
    levels = _levels(rows)
    return found + ([levels] if levels is not None else [])


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([value if isinstance(value := row.get(name), (int, float)) else math.nan for row in rows], float)


def _curves(rows: Sequence[Mapping[str, Any]], plan: _Plan) -> Chart | None:
    steps = _column(rows, "step")
    steps = np.where(np.isfinite(steps), steps, np.arange(len(rows)))
    drawn = [(label, _column(rows, column)) for column, label in plan.series]
    drawn = [(label, values) for label, values in drawn if np.isfinite(values).any()]
    if not drawn or (plan.unless and np.isfinite(_column(rows, plan.unless)).any()):
        return None
    figure, axes = blank()
    ends = []
    for (label, values), colour in zip(drawn, (FIRST, SECOND)):  # noqa: B905
        finite = np.isfinite(values)
        x, y = steps[finite], values[finite]
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
        smooth = _smooth(y)
        axes.plot(x[keep], y[keep], color=colour, alpha=0.28, linewidth=0.8)
        axes.plot(x[keep], smooth[keep], color=colour, linewidth=1.8, label=label, marker="o" if len(x) == 1 else None)
        tail = y[-max(1, len(y) // 10) :].mean()
        ends.append(f"{label} {tail:.3g}" if len(drawn) > 1 else f"{tail:.3g}")
    lost = sum(_is_broken(row.get(column)) for row in rows for column, _ in plan.series)
    if plan.level is not None:
        axes.axhline(plan.level, color=INK, linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.6)
    if plan.limits is not None:
        axes.set_ylim(*plan.limits)
    if len(drawn) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8.5, loc="best", handlelength=1.2)
    axes.set_xlabel("step", color=INK, fontsize=8.5)
    caption = f"{plan.caption} Last tenth: {', '.join(ends)}."
    if lost:
        caption += f" {lost} logged values were not finite."
    return Chart(plan.title, as_svg(figure, plan.title), caption)


def _is_broken(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential moving average without the start's bias, over about a twentieth of the run."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    total, weight, out = 0.0, 0.0, np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = keep * total + value, keep * weight + 1
        out[i] = total / weight
    return out


def _levels(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Accuracy by noise level over the last fifth of the run, which holds enough pairs for every bin."""
    names = sorted({key for row in rows for key in row if str(key).startswith("accuracy/level_")})
    last = rows[-max(1, len(rows) // 5) :]
    bars = []
    for name in names:
        values = _column(last, name)
        if np.isfinite(values).any():
            bars.append((name.removeprefix("accuracy/level_").replace("-", "–"), float(np.nanmean(values))))
    if not bars:
        return None
    figure, axes = blank()
    axes.bar(range(len(bars)), [value - 0.5 for _, value in bars], bottom=0.5, width=0.62, color=FIRST)
    axes.axhline(0.5, color=INK, linewidth=0.8, alpha=0.6)
    for i, (_, value) in enumerate(bars):
        above = value >= 0.5
        axes.annotate(
            f"{value:.2f}", (i, value), (0, 3 if above else -3), textcoords="offset points", ha="center",
            va="bottom" if above else "top", color=INK, fontsize=8.5,
        )  # fmt: skip
    axes.set_xticks(range(len(bars)), [label for label, _ in bars])
    axes.set_ylim(0, 1.08)
    axes.set_xlabel("noise level, as a share of the schedule", color=INK, fontsize=8.5)
    title = "Accuracy by noise level"
    caption = "Over the last fifth of the run. Low levels judge detail, high ones composition."
    return Chart(title, as_svg(figure, title), caption)


def blank() -> tuple[Any, Any]:
    """A figure and its axes in the style of the page, see :func:`as_svg`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 2.9), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, colors=INK, labelsize=8.5)
    return figure, axes


def as_svg(figure: Any, title: str) -> str:
    """The figure as an element: no prologue, no metadata, no link, sized by the page, coloured by the page."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)  # its style is for every *
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    text = re.sub(
        r"<svg[^>]*>", f'<svg {box[0]} role="img" aria-label="{title}" stroke-linejoin="round">', text, count=1
    )
    slug = re.sub(r"\W+", "-", title.lower())
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{slug}-", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font: ?([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    text = re.sub(r"font-family: ?[^;\"]*", "font-family: inherit", text)
    for stand_in, colour in _PAGE.items():
        text = text.replace(stand_in, colour)
    return text.strip()
