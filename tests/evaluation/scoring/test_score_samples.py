"""Scoring single samples: one table with a row per sample and scorer, each decoded once, resumable, bad ones named."""

import csv
import json
import math
import os

import pytest
import torch
from PIL import Image
from pyarrow import parquet

from diffalign.data.readers.tables import Table
from diffalign.errors import DataError, UserError
from diffalign.evaluation.scoring import decode_once
from diffalign.evaluation.scoring.score_samples import score_samples
from diffalign.evaluation.scoring.sources import open_samples
from diffalign.files.spreadsheet_text import FORMULA, from_cell
from diffalign.scorers import SCORERS, ScorerEntry
from tests.evaluation.fakes import Counted
from tests.evaluation.scoring.counting import count_decoded
from tests.evaluation.scoring.test_score_pairs import call

SPECS = ["background:red", "background:blue"]


class Described(Counted):
    """States its weights and preprocessing."""

    preprocessing = "as it is"

    def __init__(self, **settings):
        super().__init__(**settings, weights="abc")


@pytest.fixture
def judges(monkeypatch):
    """Registers judges, ``redness`` and ``coldness``."""

    def use(redness, coldness=None):
        rows = {"redness": redness, "coldness": coldness or Described(sign=-1.0)}
        for name, judge in rows.items():
            monkeypatch.setitem(SCORERS, name, ScorerEntry(lambda *_, judge=judge: judge, "nothing", "a fake"))
        return redness

    return use


@pytest.fixture
def folder(tmp_path):
    """Ten images, the n-th with a red channel of 20 n, and ``metadata.jsonl``."""
    folder = tmp_path / "samples"
    folder.mkdir()
    rows = []
    for n in range(10):
        Image.new("RGB", (8, 8), (20 * n, 0, 30)).save(folder / f"{n}.png")
        rows.append({"file_name": f"{n}.png", "prompt": f"prompt {n // 2}", "seed": n % 2})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def rows_of(path):
    return [row.values for row in Table(path).rows()]


def test_each_row_of_the_table_says_scorer_unit_weights_and_preprocessing(folder, judges):
    judges(Described())
    scores = score_samples(open_samples(folder), ["redness", "coldness"], batch=4)
    assert scores.path == folder / "scores" / "samples.jsonl" and not scores.bad
    rows = rows_of(scores.path)
    assert len(rows) == 20 and rows[3] == {
        "sample": "3.png", "prompt": "prompt 1", "scorer": "redness", "score": pytest.approx(60 / 255),
        "unit": "share", "weights": "abc", "preprocessing": "as it is",
    }  # fmt: skip
    assert [row["score"] for row in rows[10:]] == [-row["score"] for row in rows[:10]]
    assert sorted(path.name for path in scores.path.parent.iterdir()) == ["samples.jsonl"]
    assert "redness: 0.3529 +- " in scores.lines[0] and "(share; 10 images)" in scores.lines[0]


def test_the_table_is_csv_or_parquet_by_its_name_and_keeps_the_rows_of_other_scorers(folder, tmp_path):
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        path = tmp_path / name
        score_samples(open_samples(folder), ["background:red"], path)
        score_samples(open_samples(folder), ["background:blue"], path)
        score_samples(open_samples(folder), ["background:blue"], path)
        rows = rows_of(path)
        assert [row["scorer"] for row in rows] == ["background:red"] * 10 + ["background:blue"] * 10, name
        assert {float(row["score"]) for row in rows[:3]} == {0.0}, name
    assert parquet.read_table(tmp_path / "a.parquet").schema.field("score").type == "double"
    with (tmp_path / "a.csv").open() as file:
        assert next(csv.DictReader(file))["sample"] == "0.png"
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no table of scores, and would be replaced"):
        score_samples(open_samples(folder), ["background:red"], tmp_path / "b.csv")
    with pytest.raises(UserError, match="ends in .jsonl, .csv, .parquet"):
        score_samples(open_samples(folder), ["background:red"], tmp_path / "b.txt")


def test_prompts_like_formulas_are_no_formulas_in_csv_and_read_back_exactly(folder, tmp_path):
    prompts = ["=HYPERLINK(1)", "+1 fox", "-2", "@SUM(A1)", "'=x", "''=y", "'tis a fox", "\ttab", "a | b\nc", "plain"]
    rows = [{"file_name": f"{n}.png", "prompt": prompt} for n, prompt in enumerate(prompts)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "a.csv"
    for scorer in ("jpeg_compressibility", "background:blue"):
        score_samples(open_samples(folder), [scorer], path)
        score_samples(open_samples(folder), [scorer], path.with_suffix(".jsonl"))
    cells, texts = rows_of(path), rows_of(path.with_suffix(".jsonl"))
    assert [from_cell(row["prompt"]) for row in cells] == [row["prompt"] for row in texts] == prompts * 2
    assert not [row["prompt"] for row in cells if row["prompt"].startswith(FORMULA)]
    assert [float(row["score"]) for row in cells] == [
        row["score"] for row in texts
    ]  # also negative ones, written twice


def test_each_image_is_decoded_once_for_all_scorers(folder, monkeypatch):
    opened = count_decoded(monkeypatch)
    score_samples(open_samples(folder), ["background:red", "background:blue", "background:green"], batch=3)
    assert len(opened) == 10 and set(opened.values()) == {1}


def test_a_killed_pass_resumes_and_scores_no_image_twice(folder, judges, tmp_path):
    judges(Described())
    whole = score_samples(open_samples(folder), ["redness", "coldness"], tmp_path / "whole.jsonl", batch=2)
    killed = judges(Described(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_samples(open_samples(folder), ["redness", "coldness"], tmp_path / "a.jsonl", batch=2)
    assert killed.scored == 8 and not (tmp_path / "a.jsonl").exists()
    part = tmp_path / "a.jsonl.redness.part"
    assert len(part.read_text().splitlines()) == 7
    with part.open("a") as file:
        file.write('{"id": "cut sho')
    other = Described(sign=-1.0)
    again = judges(Described(), other)
    scores = score_samples(open_samples(folder), ["redness", "coldness"], tmp_path / "a.jsonl", batch=2)
    assert again.scored == 4 and other.scored == 4
    assert scores.path.read_bytes() == whole.path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "samples", "whole.jsonl"]


def test_an_image_that_changed_since_the_kill_is_scored_again(folder, judges):
    judges(Described(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_samples(open_samples(folder), ["redness"], batch=2)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / "1.png")
    os.utime(folder / "1.png", (1, 1))
    again = judges(Described())
    scores = score_samples(open_samples(folder), ["redness"], batch=2)
    assert again.scored == 5 and rows_of(scores.path)[1]["score"] == 1.0


def test_a_bad_image_is_named_and_has_no_score_and_the_rest_is_scored(folder, judges):
    (folder / "4.png").write_bytes(b"nothing")
    (folder / "7.png").unlink()
    judges(Described())
    scores = score_samples(open_samples(folder), ["redness", "coldness"], batch=4)
    assert len(scores.bad) == 2 and "4.png' cannot be decoded" in scores.bad[0] and "no file" in scores.bad[1]
    rows = rows_of(scores.path)
    assert [row["score"] is None for row in rows[:10]] == [n in (4, 7) for n in range(10)]
    assert "cannot be decoded" in rows[4]["error"] and "error" not in rows[5]
    metadata = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert metadata[4]["scores"] == {"redness": None, "coldness": None} and metadata[5]["scores"]["redness"] > 0
    assert "8 images" in scores.lines[0]
    with pytest.raises(
        DataError, match="2 samples could not be scored; the scores of the others are in .*samples.json"
    ):
        scores.check()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / "4.png")
    mended = judges(Described())
    assert len(score_samples(open_samples(folder), ["redness", "coldness"], batch=4).bad) == 1 and mended.scored == 1


def test_a_scorer_that_refuses_a_sample_or_gives_no_number_spares_the_others(folder, judges):
    class Picky(Described):
        def score(self, prompts, images):
            values = super().score(prompts, images)
            if any(45 / 255 < value < 70 / 255 for value in values.tolist()):
                raise DataError("too plain for this scorer")
            return torch.where(values > 0.7, math.inf, values)

    judges(Picky())
    scores = score_samples(open_samples(folder), ["redness", "coldness"], batch=5)
    assert scores.bad == (
        "3.png: too plain for this scorer (redness).",
        "9.png: redness gave the score inf (redness).",
    )
    assert [row["score"] is None for row in rows_of(scores.path)].count(True) == 2


def test_the_command_lists_bad_samples_and_fails(folder):
    (folder / "4.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="1 sample could not be scored"):
        call("score", folder, "--scorer", "background:red")
    for n in range(10):
        (folder / f"{n}.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="10 samples could not be scored; .* no table"):
        call("score", folder, "--scorer", "background:red", "--output", folder / "all.jsonl")
    assert not (folder / "all.jsonl").exists()


def test_large_samples_are_handed_over_in_parts_of_a_batch(folder, judges, monkeypatch):
    judges(Described())
    whole = score_samples(open_samples(folder), ["redness"], batch=10)
    monkeypatch.setattr(decode_once, "MOST_BYTES", 8 * 8 * 3 * 3)
    sizes = []

    class Sized(Described):
        def score(self, prompts, images):
            sizes.append(len(images))
            return super().score(prompts, images)

    judges(Sized())
    before = whole.path.read_bytes()
    assert score_samples(open_samples(folder), ["redness"], batch=10).path.read_bytes() == before
    assert sizes == [3, 3, 3, 1]


def test_progress_counts_images_and_continues_after_a_kill(folder, judges):
    judges(Described(until=6))
    seen = []
    with pytest.raises(KeyboardInterrupt):
        score_samples(open_samples(folder), ["redness"], batch=3, progress=lambda *now: seen.append(now))
    judges(Described())
    score_samples(open_samples(folder), ["redness"], batch=3, progress=lambda *now: seen.append(now))
    assert seen == [("images scored", done, 10) for done in (3, 6, 9, 10)]
