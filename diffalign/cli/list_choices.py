"""Texts of `diffalign methods`: a list of the methods and of the names on the four axes, and a page for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from diffalign.labels import LABEL_ALIASES, LABELS
from diffalign.latents import LATENTS
from diffalign.losses import LOSSES, Loss
from diffalign.methods import METHODS
from diffalign.pairs import PAIRS
from diffalign.training.recipe.model_kinds import MODELS

WIDTH = 20


def listing() -> str:
    """Returns every name with one line, grouped by the recipe key that takes it."""
    sections: dict[str, Mapping[str, str]] = {
        "methods (method: NAME)": {row.name: row.summary for row in METHODS.values()},
        "pairs (pairs: NAME)": {name: _first_line(function) for name, function in PAIRS.items()},
        "latents (latents: NAME)": {row.name: row.summary for row in LATENTS.values()},
        "labels (labels: NAME)": {name: _first_line(function) for name, function in LABELS.items()},
    }
    lines = []
    for title, rows in sections.items():
        lines += [title, *(f"  {name:<{WIDTH}} {line}" for name, line in rows.items())]
    return "\n".join([*lines, *_losses()])


def _losses() -> list[str]:
    """Returns one line per loss: kind of examples, needed inputs, media, source and summary."""
    rows = [(row.name, row.kind, _needs(row), _media(row), _arxiv(row), row.summary) for row in LOSSES.values()]
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    title = "losses (loss: NAME, or a list of them that are summed): examples, needs, media, source"
    return [title, *("  " + "  ".join(f"{x:<{w}}" for x, w in zip(row, [*widths, 0], strict=True)) for row in rows)]


def _needs(row: Loss) -> str:
    roles = row.roles if len(row.roles) < 2 else (f"{len(row.roles)} further answers",)
    return ", ".join([*row.needs, *roles]) or "policy only"


def _media(row: Loss) -> str:
    return "all" if set(row.media) == {"image", "video", "text"} else ", ".join(row.media)


def _arxiv(row: Loss) -> str:
    return f"arXiv {row.papers[0].arxiv}" if row.papers else row.source


def explanations() -> dict[str, str]:
    """Returns the page of each name; a method's page hides that of a part with the same name."""
    pages = {name: _page(name, function) for name, function in {**PAIRS, **LABELS}.items()}
    pages |= {alias: pages[name] for alias, name in LABEL_ALIASES.items()}
    pages |= {name: row.explain() for name, row in LATENTS.items()}
    pages |= {name: row.explain() for row in LOSSES.values() for name in (*row.aliases, row.name)}
    return pages | {name: method.explain() for name, method in METHODS.items()}


def _page(name: str, function: Callable[..., Any]) -> str:
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    takes = ", ".join(p.name if p.default is p.empty else f"{p.name} = {p.default}" for p in keywords)
    page = f"{name}: {inspect.getdoc(function)}\n\ntakes: {takes or 'no settings'}"
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
        for kind, row in MODELS.items():
            fields = row.candidates().model_fields
            page += f"\nfor models of kind '{kind}': " + ", ".join(f"{k} = {f.default}" for k, f in fields.items())
    return page


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0].replace("``", "")
