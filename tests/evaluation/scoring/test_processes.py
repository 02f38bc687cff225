"""Several processes score one set: the same table as one process, each image scored by one of them."""

import json
import re

import pytest
from PIL import Image

from tests.data.fixtures import encoded, pair_folder
from tests.evaluation.scoring.test_score_pairs import call
from tests.two_processes import in_two_processes

SPECS = ["--scorer", "background:red", "--scorer", "background:blue"]


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    for n in range(11):
        Image.effect_noise((16, 16), 20 * n).convert("RGB").save(folder / f"{n}.png")
    (folder / "5.png").write_bytes(b"nothing")
    return folder


def test_two_processes_write_the_tables_of_one_and_name_the_bad_samples(samples, tmp_path):
    pairs = pair_folder(tmp_path / "pairs", 5)
    for n in range(5):
        (pairs / f"chosen-{n}.png").write_bytes(encoded(Image.new("RGB", (4, 4), (51 * (n + 1), 0, 0))))
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    with pytest.raises(Exception, match="1 sample could not be scored"):
        call("score", samples, *SPECS, "--batch", 2, "--output", one)
    call("score", pairs, "--scorer", "background:red", "--output", tmp_path / "pairs-one.jsonl")
    score = ["score", samples, *SPECS, "--batch", 2, "--output", two]
    score_pairs = ["score", pairs, "--scorer", "background:red", "--batch", 1, "--output", tmp_path / "pairs-two.jsonl"]
    (bad, printed), (fine, other) = in_two_processes(score, score_pairs)
    assert bad == [2, 2] and fine == [0, 0]
    assert two.read_bytes() == one.read_bytes()
    assert (tmp_path / "pairs-two.jsonl").read_bytes() == (tmp_path / "pairs-one.jsonl").read_bytes()
    assert "5.png' cannot be decoded" in printed[0] and "background:red: " in printed[0]
    assert "background:red: " not in printed[1] and other[1] == ""
    # eleven images in six batches: each process has its own, and no image is in both files
    parts = [
        [json.loads(line) for line in (tmp_path / f"two.jsonl.background_red.part{end}").open()] for end in ("", "-1")
    ]
    ids = [{row["id"] for row in part[1:]} for part in parts]
    assert len(ids[0]) == 6 and len(ids[1]) == 5 and not ids[0] & ids[1]
    assert re.search(r"images scored: 6/6", printed[0])


def test_two_processes_take_over_what_one_scored_before(samples, tmp_path):
    whole, half = tmp_path / "whole.jsonl", tmp_path / "half.jsonl"
    Image.new("RGB", (16, 16), "red").save(samples / "5.png")
    call("score", samples, *SPECS, "--output", whole)
    (samples / "9.png").rename(tmp_path / "9.png")
    (samples / "5.png").write_bytes(b"nothing")
    with pytest.raises(Exception, match="1 sample could not be scored"):
        call("score", samples, *SPECS, "--output", half)
    Image.new("RGB", (16, 16), "red").save(samples / "5.png")
    (tmp_path / "9.png").rename(samples / "9.png")
    ((statuses, _),) = in_two_processes(["score", samples, *SPECS, "--output", half, "--batch", 1])
    assert statuses == [0, 0] and half.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part*"))
