"""The report: what a run did to its model, on one page that needs no network, no scripts and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.evaluation.compare.best_of import frontier
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.report.plot_preview_curve import course_chart
from diffalign.evaluation.report.plots import charts, read_metrics
from diffalign.evaluation.report.sheet import Example, examples
from diffalign.evaluation.report.verdict import direction, verdict_of
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.stats.heldout_agreement import agreements
from diffalign.evaluation.stats.ranking_accuracy import held_out_numbers
from diffalign.evaluation.stats.statistics import percent
from diffalign.sharing.atomic import write_atomically

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    folder: Path,
    *,
    comparison: Comparison | None = None,
    metrics: Path | Sequence[Mapping[str, Any]] | None = None,
    header: Mapping[str, Any] | None = None,
    words: Sequence[str] = (),
    images: Sequence[Example] | None = None,
    course: PreviewCurve | None = None,
    title: str = "Alignment report",
) -> Path:
    """Writes ``folder/report.html``.

    Args:
        folder: The run's folder; made when missing.
        comparison: Base against aligned; without one the page says so.
        metrics: ``metrics.jsonl`` or its rows; a missing file counts as no rows.
        header: What the run was: model, data, method, settings; nested mappings are shown as ``a.b``.
        words: What the run's health says, a sentence each.
        course: What judges said of the run's previews; shown against drift.
        images: Examples of images to show; without, some of the comparison's samples, evenly spaced.
        title: The page's title.

    Returns:
        Path of the page. Everything that came from outside (prompts, names, settings) is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    medium = find_medium(comparison.medium if comparison is not None else "image")
    rows = read_metrics(Path(metrics)) if isinstance(metrics, (str, Path)) else list(metrics or ())
    numbers = held_out_numbers(rows)
    best = frontier(comparison) if comparison is not None else None
    drawn = ([course_chart(course)] if course is not None else []) + charts(rows)
    shown = examples(comparison) if images is None and comparison is not None else list(images or ())
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, show=medium.show, number=_number)
    page = environment.get_template("report.html.j2").render(
        title=title,
        medium=medium,
        held_out=agreements(rows),
        numbers=numbers,
        best=best,
        best_words=best.summary({j.name: j.role for j in comparison.judgements}) if best and comparison else [],
        verdict=verdict_of(comparison, course),
        comparison=comparison,
        judgements=[(j, direction(j)) for j in comparison.judgements] if comparison is not None else [],
        examples=shown,
        charts=[(chart.title, Markup(chart.svg), chart.caption) for chart in drawn],
        words=list(words),
        header=_flat(header or {}),
    )
    return write_atomically(Path(folder) / "report.html", lambda beside: beside.write_text(page, encoding="utf-8"))


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3g}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            found.append((f"{prefix}{key}", shown))
    return found
