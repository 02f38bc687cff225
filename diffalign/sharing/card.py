"""Model cards: the README.md of a trained model, with front matter for the hub and a description of its training.

Everything that differs between kinds of models is in a :class:`CardStyle`, made in `card_templates`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign import __version__
from diffalign.files.atomic import write_atomically
from diffalign.sharing.markdown import cell, code, escape
from diffalign.sharing.public_name import is_hub_name, public_name

ALIGNED = ("preference-optimization", "diffalign")

Example = tuple[str, Path | str]
"""A prompt, and a sample of the aligned model for it: the file of an image or clip, or a text."""


@dataclass(frozen=True)
class Card:
    """The content of a model card that the policy does not provide.

    Args:
        method: Short name of the preference method.
        datasets: Names of the preference data; of a local path only the last part is published.
        training: Settings of the run to show, in order: ``{"beta": 2000, "steps": 500}``.
        evaluation: Rows of one table; equal keys, in the first row's order.
        examples: Prompts with samples of the aligned model.
    """

    method: str
    datasets: Sequence[str] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Example] = ()


@dataclass(frozen=True)
class CardExamples:
    """The parts of a card that show examples.

    Args:
        widget: Entries of the hub's widget next to the card.
        above, below: Markdown before the snippet and at the end; may be empty.
    """

    widget: Sequence[Mapping[str, Any]] = ()
    above: str = ""
    below: str = ""


@dataclass(frozen=True)
class CardStyle:
    """The parts of a card that depend on the kind of model.

    Args:
        base_model: Hub name of the base, which the card links to, or the name of a local one.
        adapter: Whether the folder holds an adapter of the base, not a whole model.
        library: The hub's name of the library that loads it.
        task: The hub's pipeline tag.
        tags: Further tags.
        snippet: Returns Python lines that use it, from the name of its folder or repository.
        show: Converts examples to parts of a card; may copy files into the given folder.
        license: The base's licence, which the trained model inherits.
    """

    base_model: str
    adapter: bool
    library: str
    task: str
    tags: tuple[str, ...]
    snippet: Callable[[str], str]
    show: Callable[[Path, Sequence[Example]], CardExamples]
    license: str = "other"


def write_card(folder: Path, style: CardStyle, card: Card) -> Path:
    """Writes ``folder/README.md`` and the files of its examples; returns its path."""
    folder = Path(folder)
    examples = style.show(folder, card.examples) if card.examples else CardExamples()
    text = _render(folder.resolve().name, style, card, examples)
    return write_atomically(folder / "README.md", lambda path: path.write_text(text, encoding="utf-8"))


def _render(name: str, style: CardStyle, card: Card, examples: CardExamples) -> str:
    import yaml

    names = [public_name(dataset) for dataset in card.datasets]
    relation = "adapter" if style.adapter else "finetune"
    front: dict[str, Any] = {
        "license": style.license,
        "library_name": style.library,
        **({"base_model": style.base_model, "base_model_relation": relation} if is_hub_name(style.base_model) else {}),
        "pipeline_tag": style.task,
        "datasets": [name for name in names if is_hub_name(name)],
        "tags": [*style.tags, *ALIGNED, card.method],
        "widget": list(examples.widget),
    }
    head = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False, allow_unicode=True)
    model = f"{'A LoRA for' if style.adapter else 'A fine-tuned'} {code(style.base_model)}"
    parts = [f"---\n{head}---", f"# {escape(name)}"]
    parts += [f"{model}, aligned with preferences by {escape(card.method)} (diffalign {__version__}).", examples.above]
    parts += ["## Use", f"```python\n{style.snippet(name)}\n```"]
    training = {**({"data": ", ".join(names)} if names else {}), **card.training}
    if training:
        rows = [{"setting": key, "value": value} for key, value in training.items()]
        parts += ["## How it was trained", _table(rows)]
    if card.evaluation:
        parts += ["## Evaluation", _table(card.evaluation)]
    return "\n\n".join(filter(None, [*parts, examples.below])) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    headers = list(rows[0])
    lines = ["| " + " | ".join(map(cell, headers)) + " |", "|" + " --- |" * len(headers)]
    lines += ["| " + " | ".join(cell(row.get(header)) for header in headers) + " |" for row in rows]
    return "\n".join(lines)
