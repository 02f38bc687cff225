"""The tree matches docs/architecture.md: floors, sub-rooms, small folders, no cycles, every module documented."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import diffalign

ROOT = Path(diffalign.__file__).parent
FLOORS = {
    **dict.fromkeys(["losses", "latents", "data", "devices", "files", "sharing"], 1),
    **dict.fromkeys(["policies", "scorers", "labels"], 2),
    **dict.fromkeys(["pairs", "evaluation"], 3),
    "methods": 4,
    "training": 5,
    "cli": 6,
}
SUB_ROOMS = {  # inside a room, from the lowest to the highest; rooms in one group do not import each other
    "data": [
        ["storage"],
        ["records"],
        ["media"],
        ["readers"],
        ["writing", "check", "suites"],
        ["separability", "transforms"],
    ],
    "data/readers": [["rows"], ["formats"]],
    "evaluation": [["stats"], ["samples"], ["scoring"], ["compare", "diagnosis"], ["analysis"], ["report"]],
    "evaluation/stats": [["significance", "objectives"], ["rates"], ["agreement"]],
    "policies/diffusion": [["families"], ["encoding"], ["scoring"], ["sampling"]],
    "policies/language": [["tokens"], ["network"], ["scoring"], ["generation"]],
    "scorers": [["vision_language"], ["images"], ["clips", "texts"], ["aligned", "composed"]],
    "training": [["recipe"], ["step"], ["held_out"], ["optim", "storage"], ["report"]],
}
TABLES = {"losses/pairs", "methods", "scorers/images", "scorers/texts", "scorers/clips"}
"""Folders whose files are rows of one table may be long."""
MOST = 16
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


@pytest.mark.parametrize("room", SUB_ROOMS)
def test_sub_rooms_import_one_way(room):
    order = SUB_ROOMS[room]
    folders = {path.name for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()}
    ranks = {name: rank for rank, group in enumerate(order) for name in group}
    assert folders - {"diffusion", "language", "setup"} == set(ranks)
    prefix = ".".join(["diffalign", *room.split("/")])
    wrong = []
    for module in MODULES:
        here = module.removeprefix(prefix + ".").split(".")[0]
        for target in _imports(module) if module.startswith(prefix + ".") and here in ranks else ():
            there = target.removeprefix(prefix + ".").split(".")[0]
            if target.startswith(prefix + ".") and there in ranks and there != here and ranks[there] >= ranks[here]:
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_folder_has_more_modules_than_a_reader_can_survey():
    sizes = {}
    for path in ROOT.rglob("*.py"):
        if path.name != "__init__.py":
            sizes.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path.name)
    assert set(sizes) >= TABLES
    assert not {folder: len(files) for folder, files in sizes.items() if len(files) > MOST and folder not in TABLES}


def _hidden_imports(module: str) -> list[str]:
    functions = [n for n in ast.walk(ast.parse(_source(module).read_text())) if isinstance(n, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    return [node.module or "" for node in nodes if (node.module or "").startswith("diffalign.")]


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("diffalign.cli")])
def test_no_import_hides_in_a_function_to_dodge_a_cycle(module):
    # The command line imports the library when a command runs. Inside a room only a module that loads torch may wait.
    room = module.split(".")[1]
    targets = [target for target in _hidden_imports(module) if target.split(".")[1] == room]
    assert not [target for target in targets if "\nimport torch" not in _source(target).read_text()]


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
