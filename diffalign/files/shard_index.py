"""The index of a model in several files: which file holds which tensor. Libraries follow whatever paths it names."""

from __future__ import annotations

from pathlib import Path

from diffalign.errors import UserError
from diffalign.files.model_files import read_object
from diffalign.printable import shown


def check_index(folder: Path, error: type[UserError], advice: str) -> None:
    """Raises ``error`` where an index in a folder is none, or names a file that is not beside it.

    Args:
        folder: The folder of the weights. Any other path is passed over.
        error: The type of errors.
        advice: What to do about it.
    """
    for index in sorted(folder.glob("*.index.json")) if folder.is_dir() else ():
        files = read_object(index).get("weight_map")
        if not isinstance(files, dict) or not files:
            raise error(f"{index} names no files of tensors in its weight_map. {advice}")
        outside = [name for name in files.values() if not isinstance(name, str) or set(name) & set("/\\:\0")]
        if outside:
            raise error(
                f"{index} names {shown(outside[0])} as a file of its model; only names of files beside it are followed."
                f" {advice}"
            )
