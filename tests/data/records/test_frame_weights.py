"""Weights of frames: what a cell may hold, what is scaled, and what is refused in a sentence."""

import json
from dataclasses import replace

import pytest

from diffalign.data.media.fingerprint import DataFingerprint
from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.frame_weights import check_frame_weights, parse_frame_weights, scaled_to_mean_one
from diffalign.data.records.memmap import MappedPairs
from diffalign.data.records.pair import Pair
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import ConfigError, DataError
from tests.data.fixtures import image, jsonl

WEIGHTS = (2.0, 0.0, 1.0)


def weighted(*weights):
    return Pair("a", "a fox", b"one", b"two", frame_weights=weights, source="set:1")


def test_a_cell_holds_a_list_or_its_text_and_an_empty_one_means_none():
    assert parse_frame_weights([2, 0, 1]) == parse_frame_weights("[2, 0, 1.0]") == WEIGHTS
    assert parse_frame_weights(None) == parse_frame_weights("") == parse_frame_weights([]) == ()


@pytest.mark.parametrize("cell", [[-1, 2], [0, 0], [1, "x"], [1, float("nan")], [True, 1], "[1", 3, {"1": 1}])
def test_what_weighs_no_frames_is_refused_in_one_sentence(cell):
    with pytest.raises(DataError, match=r"frame_weights must hold one number of 0 or more per frame.*got"):
        parse_frame_weights(cell)


def test_weights_are_scaled_to_mean_one_and_equal_ones_are_exactly_one():
    assert scaled_to_mean_one([2, 0, 1]) == [2.0, 0.0, 1.0]
    assert scaled_to_mean_one([4, 0, 0, 0]) == [4.0, 0.0, 0.0, 0.0] == scaled_to_mean_one([0.1, 0, 0, 0])
    assert scaled_to_mean_one([0.1] * 7) == [1.0] * 7
    assert sum(scaled_to_mean_one([1e308, 1e308, 0.0])) == pytest.approx(3.0)


def test_a_wrong_number_of_weights_and_a_model_without_clips_are_named():
    check_frame_weights([weighted(1, 0, 0), weighted()], 3)
    check_frame_weights([weighted()], None)
    with pytest.raises(DataError, match=r"set:1 has 3 frame_weights, but the model's clips have 4 frames"):
        check_frame_weights([weighted(1, 0, 0)], 4)
    with pytest.raises(DataError, match="set:1: frame_weights must hold"):
        check_frame_weights([weighted(1, -1, 1)], 3)
    with pytest.raises(ConfigError, match="this model makes no clips"):
        check_frame_weights([weighted(1, 1)], None)


@pytest.mark.parametrize("names", [("chosen_file_name", "rejected_file_name"), ("chosen", "rejected")])
def test_readers_read_the_column_and_writers_write_it(tmp_path, names):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    files = dict(zip(names, ("a.png", "b.png"), strict=True))
    rows = [{**files, "prompt": f"p{i}", "frame_weights": cell} for i, cell in enumerate(([2, 0, 1], None, [0, 0]))]
    found = read_pairs(jsonl(tmp_path / "metadata.jsonl", rows))
    assert [pair.frame_weights for pair in found.pairs] == [WEIGHTS, ()]
    assert "not all 0" in found.dropped[0].detail and "frame_weights" not in found.unread
    write_pairs(tmp_path / "out" / "pairs.jsonl", [PairRow(pair) for pair in found.pairs])
    again = read_pairs(tmp_path / "out" / "pairs.jsonl")
    assert [pair.frame_weights for pair in again.pairs] == [WEIGHTS, ()]
    assert "frame_weights" not in json.loads((tmp_path / "out" / "pairs.jsonl").read_text().splitlines()[1])


def test_weights_survive_the_file_of_many_pairs_and_change_the_fingerprint():
    pair = weighted(*WEIGHTS)
    assert list(MappedPairs([pair])) == [pair]
    prints = [DataFingerprint.of([replace(pair, frame_weights=w)]) for w in ((), WEIGHTS, (1.0, 0.0, 2.0))]
    assert len({found.ordered for found in prints}) == 3 and len({found.candidates for found in prints}) == 1
