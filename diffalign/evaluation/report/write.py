"""Writes the report of a run: one page without scripts that needs no network and no other file, clips included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.evaluation.analysis.judge_details import judge_details
from diffalign.evaluation.analysis.judges_together import judges_together
from diffalign.evaluation.analysis.preview_objectives import over_optimisation_fits, preview_objectives
from diffalign.evaluation.compare.best_of import best_of_curve
from diffalign.evaluation.compare.by_category import win_rates_by_category
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.report.clip_examples import MOST_CLIPS, clip_examples
from diffalign.evaluation.report.noise_chart import noise_chart
from diffalign.evaluation.report.plot_preview_curve import preview_curve_chart
from diffalign.evaluation.report.sheet import Example, examples
from diffalign.evaluation.report.training_curves import charts, read_metrics
from diffalign.evaluation.report.verdict import direction, verdict_of
from diffalign.evaluation.samples.medium import Medium, find_medium, medium_of_shown
from diffalign.evaluation.stats.heldout_agreement import agreements
from diffalign.evaluation.stats.ranking_accuracy import held_out_numbers
from diffalign.evaluation.stats.rates.share import percent
from diffalign.files.atomic import write_atomically
from diffalign.printable import printable

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    folder: Path,
    *,
    comparison: Comparison | None = None,
    metrics: Path | Sequence[Mapping[str, Any]] | None = None,
    header: Mapping[str, Any] | None = None,
    health: Sequence[str] = (),
    images: Sequence[Example] | None = None,
    preview_curve: PreviewCurve | None = None,
    title: str = "Alignment report",
) -> Path:
    """Writes ``folder/report.html``.

    Args:
        folder: The run's folder; created if missing.
        comparison: The base compared with the aligned model; None for a run that was not compared.
        metrics: ``metrics.jsonl`` or its rows; a missing file counts as no rows.
        header: Model, data, method and settings of the run; nested mappings are shown as ``a.b``.
        health: Sentences on the health of the training.
        images: Examples to show, of images or clips; by default samples of the comparison, evenly spaced.
        preview_curve: Scores of the run's previews; shown against drift.
        title: The page's title.

    Returns:
        Path of the page. All text from outside (prompts, names, settings) is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    medium = _medium(comparison, images)
    rows = read_metrics(Path(metrics)) if isinstance(metrics, (str, Path)) else list(metrics or ())
    numbers = held_out_numbers(rows)
    best = best_of_curve(comparison) if comparison is not None else None
    drawn = ([preview_curve_chart(preview_curve)] if preview_curve is not None else []) + charts(rows)
    drawn += [chart for chart in [noise_chart(rows)] if chart is not None]
    shown = _examples(comparison, medium) if images is None and comparison is not None else list(images or ())
    clips, clip_notes = clip_examples(shown) if medium.plays else ([], [])
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, show=medium.show, number=_number, signed=_signed)
    page = environment.get_template("report.html.j2").render(
        title=title,
        medium=medium,
        held_out=agreements(rows),
        numbers=numbers,
        best=best,
        best_sentences=best.summary({j.name: j.role for j in comparison.judgements}) if best and comparison else [],
        verdict=verdict_of(comparison, preview_curve),
        comparison=comparison,
        categories=win_rates_by_category(comparison) if comparison is not None else [],
        details=judge_details(comparison) if comparison is not None else [],
        together=judges_together(comparison) if comparison is not None else None,
        objectives=preview_objectives(preview_curve) if preview_curve is not None else None,
        fits=over_optimisation_fits(preview_curve) if preview_curve is not None else {},
        judgements=[(j, direction(j)) for j in comparison.judgements] if comparison is not None else [],
        examples=[] if medium.plays else shown,
        clips=clips,
        clip_notes=clip_notes,
        charts=[(chart.title, Markup(chart.svg), chart.caption) for chart in drawn],
        health=list(health),
        header=_flatten(header or {}),
    )
    return write_atomically(
        Path(folder) / "report.html", lambda temporary: temporary.write_text(page, encoding="utf-8")
    )


def _medium(comparison: Comparison | None, images: Sequence[Example] | None) -> Medium:
    if comparison is not None:
        return find_medium(comparison.medium)
    contents = [content for example in images or () for content in (*example.base, *example.aligned)]
    return medium_of_shown(contents[0]) if contents else find_medium("image")


def _examples(comparison: Comparison, medium: Medium) -> list[Example]:
    """Returns examples with two seeds each, of clips as many as a page has."""
    if not medium.plays:
        return examples(comparison)
    return examples(comparison, prompts=MOST_CLIPS // (2 * min(2, comparison.seeds)))


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3g}"


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.3g}".replace("inf", "\u221e").replace("-", "\u2212")


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            rows.append((printable(f"{prefix}{key}"), printable(text)))
    return rows
