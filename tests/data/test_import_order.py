"""Folders of data import one way: storage < records < media, readers < writing, check < separability, transforms."""

import ast
from pathlib import Path

import pytest

import diffalign.data

ROOT = Path(diffalign.data.__file__).parent
FLOORS = [
    {"storage"},
    {"records"},
    {"media", "readers"},
    {"writing", "check"},
    {"separability", "transforms"},
]
FLOOR_OF = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}


def imported_folders(folder: str) -> set[str]:
    """Other folders of data that the modules of a folder import."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffalign.data."):
                names.add(node.module.split(".")[2])
    return names - {folder}


def test_every_folder_has_its_floor():
    assert set(FLOOR_OF) == {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}


@pytest.mark.parametrize("folder", FLOOR_OF)
def test_a_folder_imports_only_lower_floors(folder):
    assert {name for name in imported_folders(folder) if FLOOR_OF[name] >= FLOOR_OF[folder]} == set()
