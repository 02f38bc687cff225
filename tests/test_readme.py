"""The README keeps its word: its Python runs, its commands and files exist."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


@pytest.mark.timeout(900)
def test_the_python_of_the_readme_and_of_the_training_page_runs(tmp_path, monkeypatch):
    if not (ROOT / "assets" / "emoji" / "model").exists():
        pytest.skip("the embedded model is not here")
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    for name in ("configs", "assets"):
        os.symlink(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    pages = TEXT + (ROOT / "docs" / "training.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)  # noqa: S102
    assert (tmp_path / "runs" / "readme" / "fox.png").exists()
    assert (tmp_path / "runs" / "mixed" / "result").exists()


def test_commands_of_the_readme_exist():
    from typer.main import get_command

    from diffalign.cli import app

    known = set(get_command(app).commands)
    assert {"train", "demo", "doctor"} <= known
    assert set(re.findall(r"^diffalign (\w+)", TEXT, re.MULTILINE)) <= known


def test_links_of_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_that_the_architecture_page_names_exist():
    page = (ROOT / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert len(names) >= 5
    assert not [name for name in names if not (ROOT / name).exists() and not (ROOT / "diffalign" / name).exists()]


def test_every_method_and_every_choice_of_a_part_is_in_the_readme():
    from diffalign.labels import LABELS
    from diffalign.latents import LATENTS
    from diffalign.losses import LOSSES
    from diffalign.methods import METHODS
    from diffalign.pairs import PAIRS

    for name in (*METHODS, *LABELS, *LATENTS, *PAIRS):
        assert f"`{name}`" in TEXT
    by_question = (ROOT / "docs" / "losses.md").read_text()
    assert not [name for name in LOSSES if f"`{name}`" not in by_question]


def test_settings_that_the_page_of_losses_names_exist():
    import yaml

    from diffalign.losses import LOSSES, SETTINGS
    from diffalign.named_choice import Choice
    from diffalign.training.recipe.bind import as_choice, bind_loss

    page = (ROOT / "docs" / "losses.md").read_text()
    known = {*LOSSES, *SETTINGS}
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        bind_loss(Choice.model_validate(as_choice(yaml.safe_load(block)["loss"])))
    for text in re.findall(r"`loss: (\{.*?\}+)`", page):
        bind_loss(Choice.model_validate(as_choice(yaml.safe_load(text))))
    assert {"ld_alpha", "f_divergence", "logp_scale", "per_token"} <= known
    assert all(f"`{name}" in page for name in known - {"f_alpha", "rewards"})


def test_every_recipe_is_valid():
    from diffalign.training.recipe.load import load_recipe

    recipes = sorted((ROOT / "configs").rglob("*.yaml"))
    assert len(recipes) >= 5
    for path in recipes:
        load_recipe(path)
