"""The formats of other programs that an adapter can be written in: one row each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.files.text_files import is_file
from diffalign.sharing.animatediff_evolved import write_animatediff_evolved
from diffalign.sharing.read_adapter import read_adapter
from diffalign.sharing.shared_adapter import SharedAdapter

EXPORT_FORMATS: dict[str, Callable[[SharedAdapter, Path], Path]] = {"animatediff-evolved": write_animatediff_evolved}
"""Name to the function that writes an adapter to a file and returns its path."""


def write_export(adapter: Path, to: str, output: Path) -> Path:
    """Writes an adapter in a format, and returns the file's path.

    Raises:
        ConfigError: There is no such format, or it cannot hold the adapter.
        UserError: The file exists, or has another ending.
    """
    if to not in EXPORT_FORMATS:
        known = ", ".join(EXPORT_FORMATS)
        raise ConfigError(f"there is no format '{to}'.{near_miss(to, EXPORT_FORMATS)} Formats: {known}.")
    if output.suffix != ".safetensors":
        raise UserError(f"--output is a .safetensors file; got {output}. Type: --output {output.stem}.safetensors")
    if is_file(output):
        raise UserError(f"{output} exists. Give another file: --output FILE.safetensors")
    return EXPORT_FORMATS[to](read_adapter(adapter), output)
