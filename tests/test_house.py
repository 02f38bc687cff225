"""The house stands as docs/architecture.md draws it: floors, no cycles, everything importable and documented."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import diffalign

ROOT = Path(diffalign.__file__).parent
FLOORS = {
    **dict.fromkeys(["losses", "latents", "data", "devices", "sharing"], 1),
    **dict.fromkeys(["policies", "scorers", "labels"], 2),
    **dict.fromkeys(["pairs", "evaluation"], 3),
    "methods": 4,
    "training": 5,
    "cli": 6,
}
MODULES = sorted(
    m.name for m in pkgutil.walk_packages([str(ROOT)], prefix="diffalign.") if m.name != "diffalign.__main__"
)


def _source(module: str) -> Path:
    path = ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(_source(module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the floor that a line reaches for"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found & set(MODULES)


def _floor(module: str) -> int:
    parts = module.split(".")
    return FLOORS.get(parts[1], 0) if len(parts) > 1 else 0


def test_every_room_has_a_floor():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_imports_and_says_what_it_is(module):
    assert importlib.import_module(module).__doc__, f"{module} has no opening paragraph"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downwards(module):
    upwards = {target for target in _imports(module) if _floor(target) > _floor(module) and _floor(module)}
    assert not upwards


def test_losses_import_nothing_of_ours():
    for module in MODULES:
        if module.startswith("diffalign.losses"):
            assert all(target.startswith("diffalign.losses") for target in _imports(module)), module


def test_there_are_no_import_cycles():
    graph = {module: _imports(module) - {module} for module in MODULES if _source(module).name != "__init__.py"}
    while leaves := [module for module, targets in graph.items() if not targets & set(graph)]:
        for leaf in leaves:
            del graph[leaf]
    assert not graph, f"these import each other: {sorted(graph)}"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module):
    tree = ast.parse(_source(module).read_text())
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare
