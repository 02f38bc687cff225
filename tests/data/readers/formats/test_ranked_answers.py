"""Several answers per prompt with their scores: read as one ranked row."""

import json
from pathlib import Path

import pytest

from diffalign.data.readers import detect_format, read_pairs
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, BAD_TURNS, EMPTY_CANDIDATE, IDENTICAL, MISSING_FILE, TIE
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl, parquet, turns

ROW = {"prompt": "Sky?", "completions": [" Green.", " Blue.", " Red.", " Grey."], "scores": [1, 9.5, 0, 4]}


def read(tmp_path, *rows, **options):
    return read_pairs(jsonl(tmp_path / "a.jsonl", list(rows)), **options)


def order(pair):
    between = [pair.further[str(rank)].candidate for rank in range(2, 2 + len(pair.further))]
    return [pair.chosen, *between, pair.rejected]


def test_candidates_are_ranked_by_their_scores(tmp_path):
    tensors = read(tmp_path, ROW)
    (pair,) = tensors.pairs
    assert tensors.format == "ranked" and pair.prompt == "Sky?" and pair.source == "a.jsonl:1"
    assert order(pair) == [" Blue.", " Grey.", " Green.", " Red."]
    assert {role: said["score"] for role, said in pair.scores.items()} == {"chosen": 9.5, "2": 4, "3": 1, "rejected": 0}


def test_other_names_and_other_files_read_alike(tmp_path):
    other = {"prompt": "Sky?", "responses": ROW["completions"], "rewards": ROW["scores"]}
    one = read(tmp_path, ROW).pairs[0]
    dataset = read_pairs(parquet(tmp_path / "b.parquet", [other]))
    assert dataset.format == "ranked" and order(dataset.pairs[0]) == order(one) and dataset.pairs[0].id == one.id
    assert dataset.pairs[0].scores["chosen"] == {"reward": 9.5} and dataset.ranges["reward"] == (0.0, 9.5)


@pytest.mark.parametrize("column", ["rank", "ranks", "ranking", "rankings"])
def test_ranks_are_best_where_they_are_lowest(tmp_path, column):
    row = {"prompt": "Sky?", "generations": [" Green.", " Blue.", " Red."], column: [2, 1, 3]}
    pair = read(tmp_path, row).pairs[0]
    assert order(pair) == [" Blue.", " Green.", " Red."]
    assert {role: stored["score"] for role, stored in pair.scores.items()} == {"chosen": -1, "2": -2, "rejected": -3}
    renamed = {"completions": "generations", "scores": column}
    assert order(read(tmp_path, row, columns=renamed).pairs[0]) == order(pair)


def test_the_direction_of_the_scores_can_be_given(tmp_path):
    assert order(read(tmp_path, ROW, best="lowest").pairs[0])[0] == " Red."
    ranked = {"prompt": "p", "completions": ["a", "b"], "rank": [1, 2]}
    assert read(tmp_path, ranked, best="highest").pairs[0].chosen == "b"
    with pytest.raises(DataError, match="Did you mean 'lowest'"):
        read(tmp_path, ROW, best="lowes")


def test_images_of_a_list_are_ranked_by_their_ranks(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    row = {"prompt": "a fox", "image_path": ["a.png", "b.png", "c.png"], "rank": [1, 3, 2]}
    pair = read(tmp_path, row).pairs[0]
    assert (pair.chosen.name, pair.rejected.name) == ("a.png", "b.png")


RANKINGS = next(
    (p for p in Path(__file__).parents if (p / "shared/data/image_prefs").is_dir()), Path("absent")
) / "shared/data/image_prefs/imagereward_test_rankings.json"  # fmt: skip


@pytest.mark.skipif(not RANKINGS.is_file(), reason="the rankings of ImageReward are not there")
def test_imagerewards_rankings_read_with_the_first_rank_as_the_best():
    dataset = read_pairs(RANKINGS, candidates="text")  # the images are not there, their names are
    rows = {row["id"]: row for row in json.loads(RANKINGS.read_text())}
    assert dataset.format == "ranked" and len(dataset) + len(dataset.dropped) == len(rows)
    for pair in dataset.pairs:
        row = rows[pair.id]
        assert row["ranking"][row["generations"].index(pair.chosen)] == min(row["ranking"])
        assert row["ranking"][row["generations"].index(pair.rejected)] == max(row["ranking"])


def test_equal_scores_keep_the_order_of_the_row_and_further_columns_are_kept(tmp_path):
    row = {**ROW, "scores": [2, 2, 1, 2], "id": "r", "difficulty": 3, "user_id": 7, "correct_chosen": 1}
    (pair,) = read(tmp_path, row).pairs
    assert order(pair) == [" Green.", " Blue.", " Grey.", " Red."] and (pair.id, pair.group) == ("r", "7")
    assert pair.scores["pair"] == {"difficulty": 3} and pair.scores["chosen"] == {"correct": 1, "score": 2}


def test_conversations_lose_the_prompt_that_they_repeat(tmp_path):
    talks = [turns("Sky?", answer) for answer in ("Blue", "Green", "Red")]
    (pair,) = read(tmp_path, {"prompt": "Sky?", "completions": talks, "scores": [3, 2, 1]}).pairs
    assert [one.rows()[-1]["content"] for one in order(pair)] == ["Blue", "Green", "Red"]
    assert [len(one) for one in (pair.prompt, *order(pair))] == [1, 1, 1, 1]


def test_steps_become_lines(tmp_path):
    row = {"prompt": "2 + 3 + 4?", "completions": [[" 2 + 3 = 5\n", "5 + 4 = 9"], [" 9"]], "scores": [1, 0]}
    (pair,) = read(tmp_path, row).pairs
    assert order(pair) == [" 2 + 3 = 5\n5 + 4 = 9", " 9"]


def test_images_are_files_next_to_the_table_or_bytes(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(image(k))
    rows = {"prompt": "a fox", "completions": ["0.png", "1.png", "2.png"], "scores": [1, 3, 2]}
    (pair,) = read(tmp_path, rows).pairs
    assert [one.name for one in order(pair)] == ["1.png", "2.png", "0.png"]
    stored = {**rows, "completions": [{"path": None, "bytes": image(k)} for k in range(3)]}
    (pair,) = read_pairs(parquet(tmp_path / "b.parquet", [stored])).pairs
    assert order(pair) == [image(1), image(2), image(0)]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"scores": [1, 1, 1, 1]}, TIE),
        ({"scores": [1, 2]}, BAD_LABEL),
        ({"scores": [1, 2, None, 3]}, BAD_LABEL),
        ({"completions": [" Blue."], "scores": [1]}, EMPTY_CANDIDATE),
        ({"completions": ["a", "", "c", "d"]}, EMPTY_CANDIDATE),
        ({"completions": ["a", "b", "b", "c"]}, IDENTICAL),
        ({"completions": "a", "scores": 1}, BAD_ROW),
        ({"completions": turns("Sky?", "Blue", "Yes?", "No")}, BAD_ROW),
        ({"completions": [turns("Sky?", "Blue"), "b", "c", "d"]}, BAD_TURNS),
        ({"completions": ["a", {"path": "away.png"}, "c", "d"]}, MISSING_FILE),
    ],
)
def test_rows_that_rank_nothing_are_dropped_with_a_reason(tmp_path, change, reason):
    tensors = read(tmp_path, ROW, {**ROW, **change})
    assert len(tensors.pairs) == 1 and [row.reason for row in tensors.dropped] == [reason]


def test_a_ranking_is_recognised_and_a_misspelt_column_named(tmp_path):
    assert detect_format(jsonl(tmp_path / "a.jsonl", [ROW])) == "ranked"
    with pytest.raises(DataError, match="'scores'"):
        read(tmp_path, {"prompt": "p", "completions": ["a", "b"], "score": [1, 2]}, format="ranked")


def test_lists_written_as_text_are_refused_with_the_files_that_hold_lists(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('prompt,completions,rank\np,"[""a"", ""b""]","[2, 1]"\n')
    with pytest.raises(DataError, match=r"must be lists; a CSV file cannot hold lists.*\.jsonl"):
        read_pairs(path)


@pytest.mark.parametrize(("name", "chosen"), [("human_rank", "a"), ("Overall Ranking", "a"), ("rank_score", "b")])
def test_ranks_are_known_by_the_last_word_of_their_column(tmp_path, name, chosen):
    row = {"prompt": "p", "completions": ["a", "b"], name: [1, 2]}
    assert read(tmp_path, row, columns={"scores": name}).pairs[0].chosen == chosen
