"""Model cards: the README.md beside what was trained, with the front matter that the hub reads and how it was aligned.

What differs between kinds of models is a :class:`CardStyle`, made in `card_styles`; nothing here asks for the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign import __version__
from diffalign.sharing.atomic import write_atomically
from diffalign.sharing.public_name import public_name

ALIGNED = ("preference-optimization", "diffalign")

Example = tuple[str, Path | str]
"""A prompt, and what the aligned model made of it: the file of an image, or a text."""


@dataclass(frozen=True)
class Card:
    """What a model card tells besides what the policy knows of itself.

    Args:
        method: Short name of the preference method.
        datasets: Names of the preference data; of local ones the last part is told.
        training: What to show of the run, in order: ``{"beta": 2000, "steps": 500}``.
        evaluation: Rows of one table; equal keys, the first row's order.
        examples: Prompts with what the aligned model makes of them.
    """

    method: str
    datasets: Sequence[str] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class CardExamples:
    """Examples, as a card shows them.

    Args:
        widget: What the hub's page shows beside the card.
        above, below: Markdown before the snippet and at the end, perhaps empty.
    """

    widget: Sequence[Mapping[str, Any]] = ()
    above: str = ""
    below: str = ""


@dataclass(frozen=True)
class CardStyle:
    """What differs between the cards of kinds of models.

    Args:
        base_model: Hub name of the base, or what it is called.
        adapter: Whether the folder holds an adapter on the base, not a whole model.
        library: Which library loads it, as the hub names it.
        task: The hub's pipeline tag.
        tags: Further tags.
        snippet: Python lines that use it, from the name of its folder or repository.
        show: Makes examples fit for a card; may copy files into the folder given.
        license: The base's licence: what was made of it inherits it.
    """

    base_model: str
    adapter: bool
    library: str
    task: str
    tags: tuple[str, ...]
    snippet: Callable[[str], str]
    show: Callable[[Path, Sequence[Example]], CardExamples]
    license: str = "other"


def write_card(folder: Path, style: CardStyle, told: Card) -> Path:
    """Writes ``folder/README.md``, and what its examples need beside it; returns its path."""
    folder = Path(folder)
    text = _text(
        folder.resolve().name, style, told, style.show(folder, told.examples) if told.examples else CardExamples()
    )
    return write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))


def _text(name: str, style: CardStyle, told: Card, shown: CardExamples) -> str:
    import yaml

    front: dict[str, Any] = {
        "license": style.license,
        "library_name": style.library,
        "base_model": style.base_model,
        "base_model_relation": "adapter" if style.adapter else "finetune",
        "pipeline_tag": style.task,
        "datasets": [public_name(dataset) for dataset in told.datasets],
        "tags": [*style.tags, *ALIGNED, told.method],
        "widget": list(shown.widget),
    }
    head = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False, allow_unicode=True)
    what = f"A LoRA for `{style.base_model}`" if style.adapter else f"A fine-tuned `{style.base_model}`"
    parts = [f"---\n{head}---", f"# {name}"]
    parts += [f"{what}, aligned with preferences by {told.method} (diffalign {__version__}).", shown.above]
    parts += ["## Use", f"```python\n{style.snippet(name)}\n```"]
    if told.training:
        rows = [{"setting": key, "value": value} for key, value in told.training.items()]
        parts += ["## How it was trained", _table(rows)]
    if told.evaluation:
        parts += ["## Evaluation", _table(told.evaluation)]
    return "\n\n".join(filter(None, [*parts, shown.below])) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(row.get(head)) for head in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
