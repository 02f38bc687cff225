"""Seeds of candidates: where they are read, and that they are no scores."""

import json

from PIL import Image

from diffalign.data.check.run import check_pairs
from diffalign.data.readers import read_pairs
from diffalign.data.records.label_agreement import find_disagreement
from diffalign.data.records.pair import Pair
from diffalign.data.records.seeds import seed_of


def folder_of(place, rows):
    for i, row in enumerate(rows):
        for name, value in row.items():
            if name.endswith("file_name"):
                Image.new("RGB", (16, 16), (20 * i, 90, 7 * len(name))).save(place / value)
    (place / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def test_the_seeds_of_a_pair_are_read_under_both_of_their_names(tmp_path):
    rows = [
        {"prompt": "a", "chosen_file_name": f"{i}a.png", "rejected_file_name": f"{i}b.png", **seeds}
        for i, seeds in enumerate(
            [{"seed_chosen": 1000004, "seed_rejected": 3}, {"chosen_seed": 1, "rejected_seed": 2}]
        )
    ]
    pairs = read_pairs(folder_of(tmp_path, rows)).pairs
    assert [[seed_of(pair, role) for role in ("chosen", "rejected")] for pair in pairs] == [[1000004, 3], [1, 2]]


def test_a_single_image_has_the_seed_that_generate_writes_beside_it(tmp_path):
    folder_of(tmp_path, [{"file_name": "0.png", "prompt": "a", "seed": 5}])
    (pair,) = read_pairs(tmp_path).pairs
    assert seed_of(pair, "chosen") == 5


def test_a_number_that_is_no_seed_is_none():
    pair = Pair("1", "p", "a", "b", scores={"chosen": {"seed": 0.5}, "rejected": {"seed": -1.0}, "pair": {"seed": 3.0}})
    assert seed_of(pair, "chosen") is None and seed_of(pair, "rejected") is None


def test_a_larger_seed_is_no_better(tmp_path):
    row = {"prompt": "a", "chosen_file_name": "a.png", "rejected_file_name": "b.png"}
    row |= {"seed_chosen": 1, "seed_rejected": 9, "chosen_score": 2.0, "rejected_score": 1.0}
    pairs = read_pairs(folder_of(tmp_path, [row]))
    assert find_disagreement(pairs.pairs) == {}
    shown = check_pairs(pairs).render()
    assert "stored score" in shown and "stored seed" not in shown and "scores 'seed'" not in shown
