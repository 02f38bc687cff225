"""The report: what a run did to its model, on one page that needs no network, no scripts and no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from diffalign.evaluation.comparison import Comparison
from diffalign.evaluation.plots import charts, read_metrics
from diffalign.evaluation.sheet import Example, examples
from diffalign.evaluation.verdict import direction, judge, percent
from diffalign.scorers.pictures import as_rgb
from diffalign.sharing.atomic import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
_LARGEST = 384  # pixels of a picture's longer side on the page


def write_report(
    folder: Path,
    *,
    comparison: Comparison | None = None,
    metrics: Path | Sequence[Mapping[str, Any]] | None = None,
    header: Mapping[str, Any] | None = None,
    words: Sequence[str] = (),
    pictures: Sequence[Example] | None = None,
    title: str = "Alignment report",
) -> Path:
    """Writes ``folder/report.html``.

    Args:
        folder: The run's folder; made when missing.
        comparison: Base against aligned; without one the page says so.
        metrics: ``metrics.jsonl`` or its rows; a missing file counts as no rows.
        header: What the run was: model, data, method, settings; nested mappings are shown as ``a.b``.
        words: What the run's health says, a sentence each.
        pictures: Examples to show; without, some of the comparison's, evenly spaced.
        title: The page's title.

    Returns:
        Path of the page. Everything that came from outside (prompts, names, settings) is escaped.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    rows = read_metrics(Path(metrics)) if isinstance(metrics, (str, Path)) else list(metrics or ())
    shown = examples(comparison) if pictures is None and comparison is not None else list(pictures or ())
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, data_uri=data_uri, number=_number)
    page = environment.get_template("report.html.j2").render(
        title=title,
        verdict=judge(comparison),
        comparison=comparison,
        judgements=[(j, direction(j)) for j in comparison.judgements] if comparison is not None else [],
        examples=shown,
        charts=[(chart.title, Markup(chart.svg), chart.caption) for chart in charts(rows)],
        words=list(words),
        header=_flat(header or {}),
    )
    return write_atomically(Path(folder) / "report.html", lambda beside: beside.write_text(page, encoding="utf-8"))


def data_uri(image: Any) -> str:
    """A picture as a ``data:`` address: PNG when small, JPEG after shrinking to 384 pixels otherwise."""
    picture = as_rgb(image)
    out = io.BytesIO()
    if max(picture.size) <= 128:
        picture.save(out, format="PNG", optimize=True)
        kind = "png"
    else:
        picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        picture.save(out, format="JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


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
