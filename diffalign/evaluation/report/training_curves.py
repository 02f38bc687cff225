"""Draws the curves of a run as SVG elements whose colours come from the page, so that light and dark themes work.

Rows are flat dictionaries with TRL's names, one per logged step; a missing value or nan is a gap in the curve.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.evaluation.stats.last_records import ENOUGH_PAIRS, WINDOW, accuracy_by_level
from diffalign.files.json_lines import intact_values

# Placeholder colours for matplotlib, and the page's CSS colours that replace them (with a fallback outside a page).
INK, LINE, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404"
_PAGE_COLOURS = {
    INK: "currentColor",
    LINE: "var(--line, #d9dde2)",
    FIRST: "var(--first, #2f5fd0)",
    SECOND: "var(--second, #c0603a)",
}
_MAX_POINTS = 400


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        title: Title of the chart.
        svg: An ``<svg>`` element, without links, scripts or ids that another chart on the page shares.
        caption: How to read it, with the final values.
    """

    title: str
    svg: str
    caption: str


@dataclass(frozen=True)
class _ChartSpec:
    title: str
    series: tuple[tuple[str, str], ...]  # (metric, label)
    caption: str
    level: float | None = None  # a horizontal line to compare with
    limits: tuple[float, float] | None = None
    unless: str = ""  # a metric whose chart replaces this one


_CHART_SPECS = (
    _ChartSpec(
        "Loss",
        (("loss", "loss"),),
        "Should decrease slowly and stay finite. A logistic loss starts at log 2 = 0.693.",
    ),
    _ChartSpec(
        "Accuracy of the implicit reward",
        (("rewards/accuracies", "training"), ("eval_rewards/accuracies", "held out")),
        "Share of pairs for which the model favours the chosen candidate more than its reference does. Chance is 1/2.",
        0.5,
        (0.0, 1.0),
    ),
    _ChartSpec(
        "Reward margin",
        (("rewards/margins", "margin"),),
        "Implicit reward of the chosen minus the rejected candidate. Should rise above 0, but not without bound.",
        0.0,
    ),
    _ChartSpec(
        "Reward of each candidate",
        (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected")),
        "Above 0 a candidate is more likely than under the reference. Healthy: chosen above rejected, not far below 0.",
        0.0,
        unless="error/chosen_change",
    ),
    _ChartSpec(
        "Displacement of held-out pairs",
        (("eval_displacement/chosen", "chosen"), ("eval_displacement/rejected", "rejected")),
        "Change of the log-probability since before training. Healthy: chosen not below 0. If both fall while the "
        "margin grows, probability goes to other answers.",
        0.0,
        unless="error/chosen_change",
    ),
    _ChartSpec(
        "Ranking of held-out pairs",
        (("eval_accuracy/ranking", "this model"), ("eval_accuracy/ranking_ideal", "the best for these labels")),
        "Share of pairs whose chosen candidate is more likely than the rejected one.",
        0.5,
        (0.0, 1.0),
    ),
    _ChartSpec(
        "Error change against the reference",
        (("error/chosen_change", "chosen"), ("error/rejected_change", "rejected")),
        "Below 0 the model predicts better than its reference. Healthy: chosen below rejected and not far above 0.",
        0.0,
    ),
    _ChartSpec(
        "Error change under forward noising",
        (("forward/error_change", "error"),),
        "Mean error of the same pairs under the same plain noise, minus that before training. Healthy: not above 0. "
        "If it rises while both errors at the inverted latents fall, the model learns to predict less noise.",
        0.0,
    ),
)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the rows of ``metrics.jsonl``. A missing file has no rows; a line that is no record of a step, as one that
    a kill truncated, is skipped, and so are values that are no numbers.
    """
    rows = (row for row in intact_values(path) if isinstance(row, dict) and _is_number(row.get("step")))
    return [{name: value for name, value in row.items() if _is_number(value)} for row in rows]


def _is_number(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return whole or isinstance(value, float)


def charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Returns charts of loss, accuracy, margin, errors, and accuracy by noise level, if their metrics were logged."""
    drawn = [chart for spec in _CHART_SPECS if (chart := _curves(rows, spec)) is not None]
    levels = _accuracy_by_level(rows)
    return drawn + ([levels] if levels is not None else [])


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([value if isinstance(value := row.get(name), (int, float)) else math.nan for row in rows], float)


def _curves(rows: Sequence[Mapping[str, Any]], spec: _ChartSpec) -> Chart | None:
    steps = _column(rows, "step")
    steps = np.where(np.isfinite(steps), steps, np.arange(len(rows)))
    drawn = [(label, column, _column(rows, column)) for column, label in spec.series]
    drawn = [(label, column, values) for label, column, values in drawn if np.isfinite(values).any()]
    if not drawn or (spec.unless and np.isfinite(_column(rows, spec.unless)).any()):
        return None
    figure, axes = blank()
    means, evaluated = [], []
    for (label, column, values), colour in zip(drawn, (FIRST, SECOND)):  # noqa: B905
        finite = np.isfinite(values)
        x, y = steps[finite], values[finite]
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).round().astype(int))
        smooth = _smooth(y)
        axes.plot(x[keep], y[keep], color=colour, alpha=0.28, linewidth=0.8)
        axes.plot(x[keep], smooth[keep], color=colour, linewidth=1.8, label=label, marker="o" if len(x) == 1 else None)
        of = f"{label} " if len(drawn) > 1 else ""
        if column.startswith("eval_"):
            evaluated.append(f"{of}{y[-1]:.3g}")
        else:
            means.append(f"{of}{y[-WINDOW:].mean():.3g}")
    not_finite = sum(_is_not_finite(row.get(column)) for row in rows for column, _ in spec.series)
    if spec.level is not None:
        axes.axhline(spec.level, color=INK, linewidth=0.8, linestyle=(0, (3, 3)), alpha=0.6)
    if spec.limits is not None:
        axes.set_ylim(*spec.limits)
    if len(drawn) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=8.5, loc="best", handlelength=1.2)
    axes.set_xlabel("step", color=INK, fontsize=8.5)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    caption = spec.caption
    if means:
        caption += f" Mean of the last {min(WINDOW, len(rows))} records: {', '.join(means)}."
    if evaluated:
        caption += f" Last evaluation: {', '.join(evaluated)}."
    if not_finite:
        caption += f" {not_finite} logged values were not finite."
    return Chart(spec.title, as_svg(figure, spec.title), caption)


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Returns the exponential moving average over about a twentieth of the run, with bias correction at the start."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    total, weight, out = 0.0, 0.0, np.empty(len(values))
    for i, value in enumerate(values):
        total, weight = keep * total + value, keep * weight + 1
        out[i] = total / weight
    return out


def _accuracy_by_level(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Draws the accuracy by noise level over the last records, with its interval; pale where the pairs are few."""
    levels = accuracy_by_level(rows)
    if not levels:
        return None
    figure, axes = blank()
    for i, level in enumerate(levels):
        few = level.share is not None and level.share.n < ENOUGH_PAIRS
        axes.bar(i, level.rate - 0.5, bottom=0.5, width=0.62, color=FIRST, alpha=0.35 if few else 1.0)
        end = level.rate
        if level.share is not None:
            end = level.share.high if level.rate >= 0.5 else level.share.low
            axes.plot([i, i], [level.share.low, level.share.high], color=INK, linewidth=0.9)
        axes.annotate(
            f"{level.rate:.2f}", (i, end), (0, 3 if level.rate >= 0.5 else -3), textcoords="offset points",
            ha="center", va="bottom" if level.rate >= 0.5 else "top", color=INK, fontsize=8.5,
        )  # fmt: skip
    axes.axhline(0.5, color=INK, linewidth=0.8, alpha=0.6)
    labels = [level.name.replace("-", "–") for level in levels]
    counts = [f"\n{level.share.n:,}" if level.share is not None else "" for level in levels]
    axes.set_xticks(range(len(levels)), [label + count for label, count in zip(labels, counts, strict=True)])
    axes.set_ylim(-0.08, 1.08)
    axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
    below = ", and number of pairs" if any(counts) else ""
    axes.set_xlabel(f"noise level, as a share of the schedule{below}", color=INK, fontsize=8.5)
    title = "Accuracy by noise level"
    caption = (
        f"Over the last {min(WINDOW, len(rows))} records, with 95 % intervals; pale bars are of fewer than "
        f"{ENOUGH_PAIRS} pairs. Low levels measure detail, high levels composition."
    )
    return Chart(title, as_svg(figure, title), caption)


def blank() -> tuple[Any, Any]:
    """Returns a figure and its axes in the style of the page, see :func:`as_svg`."""
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
    """Returns the figure as an SVG element without prologue, metadata and links; the page sets its size and colours."""
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # matplotlib's style rule would apply to every element of the page.
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
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
    for placeholder, colour in _PAGE_COLOURS.items():
        text = text.replace(placeholder, colour)
    return text.strip()
