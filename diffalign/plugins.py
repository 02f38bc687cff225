"""Plugins: modules outside the package, whose losses, scorers, readers, labels and methods a recipe may name.

    plugins: [my_losses, tools/my_scorer.py]

A plugin calls `register_loss` and its like when it is imported. Recipes name their plugins, so that a recipe stays the
whole description of a run: what happens to be installed changes nothing, and a run folder's recipe loads what it needs
on resume. An entry is a file, or a module that Python finds; both are also sought in the working directory, as
``python -m`` does. It runs with all rights of the command, as any import does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from diffalign.errors import ConfigError, near_miss

_FILES: dict[Path, ModuleType] = {}
"""Files that have been loaded, by their full path: a second recipe of the same process runs none of them again."""


def load_plugins(names: Any) -> tuple[str, ...]:
    """Imports plugins in their order; those that are loaded already stay as they are.

    Args:
        names: Modules and files, or one of them.

    Returns:
        The names.

    Raises:
        ConfigError: There is no such module or file, or it raises an error.
    """
    entries = (names,) if isinstance(names, str) else names
    if not isinstance(entries, Sequence) or not all(isinstance(name, str) and name.strip() for name in entries):
        raise ConfigError(
            f"plugins are modules or files of Python, such as plugins: [my_losses, tools/my_scorer.py]; got {names!r}."
        )
    for name in entries:
        _load_file(name) if name.endswith(".py") else _load_module(name)
    return tuple(entries)


def load_function(spec: str) -> Any:
    """Returns the function ``MODULE:NAME`` or ``FILE.py:NAME``.

    Raises:
        ConfigError: There is no such module, file or function, or importing it raises an error.
    """
    place, _, name = spec.rpartition(":")
    load_plugins(place)
    module = _FILES[Path(place).expanduser().resolve()] if place.endswith(".py") else sys.modules[place]
    function = getattr(module, name, None)
    if not callable(function):
        names = [known for known, value in vars(module).items() if callable(value) and not known.startswith("_")]
        raise ConfigError(f"'{place}' has no function '{name}'.{near_miss(name, names)} It has: {', '.join(names)}.")
    return function


def function_digest(function: Any) -> str:
    """Returns 16 hex digits that change with a function's file, and with its attribute ``weights`` where it has one.

    What the file itself imports or reads is not seen: a function around a network states the network's hash or version
    as ``function.weights``.
    """
    inner = inspect.unwrap(function)
    named = inner if hasattr(inner, "__qualname__") else type(inner)  # an object with ``__call__``
    try:
        source = Path(inspect.getsourcefile(named) or "").read_bytes()
    except (TypeError, OSError):  # compiled, or typed into an interpreter
        source = b""
    about = f"{named.__module__}.{named.__qualname__} {getattr(function, 'weights', '')}"
    return hashlib.sha256(about.encode() + source).hexdigest()[:16]


def _load_module(name: str) -> None:
    try:
        with _working_directory_importable():
            importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _raised(name, error) from error
        raise ConfigError(
            f"Python finds no module '{name}' for plugins. Install it, add its folder to PYTHONPATH, or name its file: "
            f"plugins: [{name.replace('.', '/')}.py]"
        ) from None
    except ConfigError:
        raise
    except Exception as error:
        raise _raised(name, error) from error


def _load_file(name: str) -> None:
    path = Path(name).expanduser().resolve()
    if path in _FILES:
        return
    if not path.is_file():
        raise ConfigError(f"there is no file '{name}' for plugins. Paths begin in the working directory, {Path.cwd()}.")
    module_name = f"diffalign_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses of the file look their module up
    try:
        with _working_directory_importable():
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise (error if isinstance(error, ConfigError) else _raised(name, error)) from error
    _FILES[path] = module


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Adds the working directory to the end of Python's path: what is installed keeps its meaning."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.reverse()  # an import may have added entries of its own; the last of this name is ours
        sys.path.remove(folder)
        sys.path.reverse()


def _raised(name: str, error: Exception) -> ConfigError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
    return ConfigError(
        f"the plugin '{name}' raised {type(error).__name__}: {error} ({file}, line {line}). "
        "For the traceback set DIFFALIGN_DEBUG=1."
    )
