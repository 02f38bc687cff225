"""Galleries that no one meant to write are read, compared and scored, or refused in a sentence."""

import json
from functools import partial
from pathlib import Path

import pytest

from diffalign.evaluation.compare.run import compare_galleries
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.gallery import METADATA
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.scoring.score_samples import score_folder
from diffalign.evaluation.scoring.sources import is_sample_folder
from diffalign.scorers import load_scorer
from tests.evaluation.fakes import PlainPolicy, TalkingPolicy
from tests.mutations import mutated_bytes, mutated_folders, mutated_values, try_all

PROMPTS, SEEDS = ["a fox", "a hen"], [1, 2]
JUDGES = {"image": "background:red", "text": "length"}


@pytest.fixture(params=["image", "text"])
def good(request, tmp_path):
    policy = PlainPolicy() if request.param == "image" else TalkingPolicy()
    return generate(policy, PROMPTS, SEEDS, tmp_path / "good")


def _use(good, folder):
    """Everything that commands do with a gallery: compare it with another one, show it on a page, and score it."""
    spec = JUDGES[good.medium]
    comparison = compare_galleries(good, Path(folder), {spec: (load_scorer(spec, "cpu"), "held-out")})
    write_report(good.folder.parent / "page", comparison=comparison)
    if is_sample_folder(folder):
        score_folder(Path(folder), [spec])


def test_folders(good, tmp_path):
    (tmp_path / "copies").mkdir()
    try_all("galleries", partial(_use, good), mutated_folders(good.folder, tmp_path / "copies", 80, seed=1)).check()


def test_rows_of_metadata(good, tmp_path):
    rows = [json.loads(line) for line in (good.folder / METADATA).read_text().splitlines()]
    whole = (good.folder / METADATA).read_bytes()
    changed = ((name, _lines(value)) for name, value in mutated_values(rows, 80, seed=2) if isinstance(value, list))

    def use(content):
        (good.folder / METADATA).write_bytes(content)
        _use(good, good.folder)

    try_all("rows of galleries", use, changed).check()
    try_all("files of metadata", use, mutated_bytes(whole, 42, seed=3)).check()


def test_facts_of_a_gallery(good):
    made_by = good.folder / "made_by.json"
    whole = made_by.read_bytes()

    def use(content):
        made_by.write_bytes(content)
        _use(good, good.folder)
        generate(PlainPolicy() if good.medium == "image" else TalkingPolicy(), PROMPTS, SEEDS, good.folder)

    try_all("facts of galleries", use, mutated_bytes(whole, 42, seed=4)).check()


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")
