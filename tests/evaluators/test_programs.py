"""Every evaluator runs whole on files of this repository, resumes after a kill, and says what it needs."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.cli.commands_evaluate import protocols
from diffalign.errors import UserError
from tests.pipelines.test_embedded import ASSETS

ROOT = Path(__file__).parents[2] / "evaluators"
PROGRAMS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "__init__")
FAST = ["--setting", "steps=1", "--setting", "guidance=1.0", "--limit", "2", "--device", "cpu"]
needs_assets = pytest.mark.skipif(not (ASSETS / "model").exists(), reason="the embedded model is not here")


def program(name):
    return importlib.import_module(f"evaluators.{name}")


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_help_names_the_published_files_and_weights(name, capsys):
    with pytest.raises(SystemExit) as end:
        program(name).main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and "needed for the published numbers:" in text
    for need in program(name).NEEDS:
        assert need in text
    for option in ("--output", "--limit", "--batch", "--embedded", "--model", "--adapter"):
        assert option in text


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_its_files_a_program_says_what_to_type(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--\w+"):
        program(name).main(["--output", str(tmp_path / "out"), "--device", "cpu"])
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_short_cite_their_source_and_share_their_pieces(name):
    text = (ROOT / f"{name}.py").read_text()
    doc = ast.get_docstring(ast.parse(text))
    assert "Source:" in doc and f"diffalign evaluate {name}" in doc and "--embedded" in doc
    assert len(text.splitlines()) <= 190
    assert "from evaluators.shared.options import" in text and "from evaluators.shared.finish import" in text


def test_the_command_lists_every_program_with_its_first_line():
    shown = CliRunner().invoke(app, ["evaluate"])
    assert shown.exit_code == 0 and list(protocols()) == PROGRAMS
    for name, summary in protocols().items():
        assert re.search(rf"^{name} +{re.escape(summary)}$", shown.output, re.MULTILINE) and summary.endswith(".")


def test_the_command_hands_all_options_to_the_program_and_refuses_unknown_names(tmp_path):
    run = CliRunner().invoke(app, ["evaluate", "reward_bench", "--embedded", "--output", str(tmp_path), "--limit", "4"])
    assert run.exit_code == 0 and results(tmp_path)["protocol"] == "RewardBench"
    unknown = CliRunner().invoke(app, ["evaluate", "rewardbench"])
    assert isinstance(unknown.exception, UserError) and "Did you mean 'reward_bench'" in str(unknown.exception)


def test_the_page_has_every_program():
    page = (ROOT.parent / "docs" / "evaluators.md").read_text()
    for name in PROGRAMS:
        assert f"\n| `{name}` |" in page and f"`diffalign evaluate {name} " in page


def test_a_category_with_a_bar_or_a_line_break_stays_one_cell():
    from evaluators.shared.table import Table

    lines = Table("t", ["category", "n"], [["left | right\nabove", 3]]).text().splitlines()
    assert lines[-1].startswith("| left \\| right above | 3") and len(lines) == 5


def test_results_show_no_path_of_this_machine(tmp_path):
    from argparse import Namespace

    from evaluators.shared.finish import finish
    from evaluators.shared.table import Table

    values = {"prompts": f"@suite:emoji:{ASSETS}/prompts/facts.jsonl", "model_setting": [f"motion={ASSETS}/motion"]}
    args = Namespace(output=tmp_path, needs=("a file",), scorer=["clip:openai/clip"], **values)
    finish(args, "A protocol", [Table("T", ["a"], [[1]])], about={"list": f"@{ASSETS}/prompts/dev.txt"})
    settings = results(tmp_path)["settings"]
    assert settings == {
        "prompts": "@suite:emoji:facts.jsonl",
        "model_setting": "motion=motion",
        "scorer": "clip:openai/clip",
        "list": "@dev.txt",
    }
