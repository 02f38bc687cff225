"""Answers of a judge or of a function of the user's, one per sample, kept as they come: a killed program resumes."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

from diffalign.cli.progress_line import show_progress
from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Pair
from diffalign.data.records.progress_file import ProgressFile
from diffalign.errors import UserError
from diffalign.evaluation.samples.gallery import Gallery
from diffalign.files.write_errors import explain_write_errors


@dataclass(frozen=True)
class Item:
    """Something to answer: a sample with its prompt, and a name that is its own within the file of answers."""

    id: str
    prompt: str
    content: Any
    about: Any = None


def items_of(gallery: Gallery, about: Mapping[str, Any] | None = None) -> list[Item]:
    """Returns the samples of a gallery as items; ``about`` adds something to each by its prompt."""
    pairs = zip(gallery.samples, gallery.contents(), strict=True)
    return [Item(s.path.name, s.prompt, content, (about or {}).get(s.prompt)) for s, content in pairs]


def answer_all(
    items: Sequence[Item],
    answer: Callable[[list[Item]], Sequence[Mapping[str, Any]]],
    target: Path,
    made_by: Mapping[str, Any],
    *,
    what: str,
    batch: int,
) -> list[dict[str, Any]]:
    """Returns one answer per item; those that an earlier call wrote are read from ``target``.

    An item whose prompt, row or file has changed since then is answered again.

    Args:
        items: What to answer.
        answer: Returns the answers of a batch, each a mapping of plain values.
        target: The file that keeps them is named after it.
        made_by: What determines an answer: answers that something else made are not used.
        what: Plural of the items, for the progress.
        batch: Items at a time.
    """
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    items = list(map(with_own_id, items))

    def by_id(part: list[Item]) -> dict[str, Mapping[str, Any]]:
        return {item.id: row for item, row in zip(part, answer(part), strict=True)}

    rows = ProgressFile(target, made_by).fill(items, by_id, what=what, batch=batch, progress=show_progress)
    return [rows[item.id] for item in items]


def with_own_id(item: Item) -> Item:
    """Returns an item whose id also changes with its prompt, with what is known of it, and with its sample."""
    content = item.content
    samples = [content.prompt, content.chosen, content.rejected] if isinstance(content, Pair) else [content]
    about = _stamp(item.about) if isinstance(item.about, Path) else ""
    text = repr((item.prompt, item.about, about, *map(_stamp, samples))).encode("utf-8", "surrogatepass")
    return replace(item, id=f"{item.id} {hashlib.blake2b(text, digest_size=8).hexdigest()}")


def _stamp(sample: Any) -> str | None:
    """Returns what changes with a sample: of a file its size and time, of others their content."""
    if isinstance(sample, Path):
        facts = sample.stat() if sample.exists() else None
        return f"{facts.st_size} {facts.st_mtime_ns}" if facts else ""
    return sample if sample is None or isinstance(sample, str) else media_digest(sample)


def load_function(name: str, option: str, what: str) -> Callable[..., Any]:
    """Returns the function that ``MODULE:FUNCTION`` names; modules are also sought in the working directory.

    Args:
        name: Module and function.
        option: The option that gave it.
        what: What the function does, for messages.

    Raises:
        UserError: There is no such module or function, or the module cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise UserError(f"{option} takes MODULE:FUNCTION, {what}; got '{name}'.")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # a module of the user's may raise anything
        raise UserError(f"{option}: '{module}' cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UserError(f"{option}: '{module}' has no function '{attribute}', {what}.")

    @wraps(found)  # also its attributes, such as ``weights``
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return found(*arguments, **named)
        except UserError:
            raise
        except Exception as error:  # any, it is the user's code
            raise UserError(f"{option}: {name} raised {type(error).__name__}: {error}") from error

    return call
