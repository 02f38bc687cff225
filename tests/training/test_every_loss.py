"""Every loss trains: on images and on texts, wherever its row says that it has a meaning there."""

import json
import math
from pathlib import Path

import pytest

from diffalign.losses import LOSSES
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.everything import examples_for, rows_for, sections_for

ASSETS = Path(__file__).parents[2] / "assets" / "emoji"
IMAGES = [pytest.param(row, id=row.name) for row in rows_for("image")]
TEXTS = [pytest.param(row, id=row.name) for row in rows_for("text")]
DISTANCES = ("online_kl", "group_kl")
"""Terms of a sum that are a distance from the reference."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return tiny_sd(folder / "model"), tiny_pairs(folder / "pairs", count=4), folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    return tiny_llm(folder / "model", "llama"), text_pairs(4), folder


def losses(row, medium, model, pairs, folder, steps, batch, rate, **settings):
    """The loss of each step of a run on a few examples that are seen at the same draws each time."""
    sections = sections_for(row, medium)
    recipe = make_recipe(
        {
            "model": {
                "kind": medium,
                "path": str(model),
                "cache": str(folder / "cache"),
                **sections["model"],
                **settings,
            },
            "data": {"train": "in memory"},
            "pairs": sections["pairs"],
            "loss": sections["loss"],
            "train": {
                "steps": steps,
                "batch_size": batch,
                "learning_rate": rate,
                "mixed_precision": "no",
                **sections["train"],
            },
            "log": {"every": 1},
            "checkpoint": {"every": 0},
            "guard": {"action": "off"},
            "output": str(folder / row.name),
        }
    )
    train(recipe, pairs=examples_for(row, pairs))
    return [json.loads(line)["loss"] for line in (folder / row.name / "metrics.jsonl").read_text().splitlines()]


def test_no_loss_is_left_out():
    assert {row.name for row in rows_for("image")} | {row.name for row in rows_for("text")} == set(LOSSES)
    assert len(IMAGES) > 20 and len(TEXTS) > 30


@pytest.mark.parametrize("row", IMAGES)
def test_every_loss_for_images_takes_finite_steps(images, row):
    model, pairs, folder = images
    found = losses(row, "image", model, pairs, folder, 3, 4, 1e-3, adapter={"rank": 2}, draws=1)
    assert len(found) == 3 and all(map(math.isfinite, found)) and found[0] != found[-1]


@pytest.mark.parametrize("row", TEXTS)
def test_every_loss_for_texts_falls_on_a_few_texts(texts, row):
    model, pairs, folder = texts
    found = losses(
        row, "text", model, pairs, folder, 6, 8 if sections_for(row, "text")["pairs"] == "singles" else 4, 3e-3
    )
    if row.name in DISTANCES:
        assert found == [0.0] * 6, "a run begins at its reference, where a distance from it is least"
        return
    assert all(map(math.isfinite, found)) and found[-1] < found[0], found


@pytest.mark.long
@pytest.mark.skipif(not (ASSETS / "model").exists(), reason="the embedded model is not here")
@pytest.mark.parametrize("row", IMAGES)
def test_every_loss_for_images_falls_within_twenty_steps_on_the_embedded_model(tmp_path, row):
    from diffalign.pairs.dataset import read_dataset

    pairs = list(read_dataset(str(ASSETS / "pairs"), limit=8).pairs)
    settings = {"adapter": {"rank": 8}, "draws": 1, "caption_dropout": 0.0}
    batch = 16 if sections_for(row, "image")["pairs"] == "singles" else 8  # every step sees every example
    found = losses(row, "image", ASSETS / "model", pairs, tmp_path, 20, batch, 3e-4, **settings)
    assert len(found) == 20 and all(map(math.isfinite, found)), found
    assert sum(found[-3:]) / 3 < found[0], found
