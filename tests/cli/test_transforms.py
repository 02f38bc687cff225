"""Commands that transform data sets: their files, their output, and the errors they raise."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml

from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.score_table import write_scores
from diffalign.data.writing.jsonl import write_pairs
from diffalign.errors import DataError, UserError
from tests.cli.test_commands import call
from tests.data import fixtures
from tests.data.transforms.sets import texts


@pytest.fixture
def source(tmp_path):
    """Twenty pairs of texts, and one row that is dropped while reading."""
    path = tmp_path / "in" / "pairs.jsonl"
    write_pairs(path, texts(20))
    with path.open("a") as file:
        file.write('{"id": "tied", "prompt": "p", "chosen": "a", "rejected": "b", "tie": true}\n')
    return path


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_flip_flips_a_share_and_reports_it(tmp_path, source):
    out = tmp_path / "flipped.jsonl"
    output = call("data", "flip", source, "--output", out, "--share", 0.1, "--seed", 3)
    assert f"flip: 21 rows in, 20 out to {out}; dropped 1: 1 tie" in output and "2 of 20 labels flipped" in output
    before, after = rows(source), rows(out)
    turned = [new for new in after if new["flipped"] == 1.0]
    assert len(turned) == 2 and all(new["language"] == "en" for new in after)
    old = next(row for row in before if row["id"] == turned[0]["id"])
    assert (turned[0]["chosen"], turned[0]["rejected_judge0"]) == (old["rejected"], old["chosen_judge0"])


def test_flip_takes_ids_or_scores(tmp_path, source):
    (tmp_path / "ids.txt").write_text("id3\n\nid5\n")
    call("data", "flip", source, "--output", tmp_path / "a.jsonl", "--ids", tmp_path / "ids.txt")
    assert [row["id"] for row in rows(tmp_path / "a.jsonl") if row["flipped"]] == ["id3", "id5"]
    call("data", "flip", source, "--output", tmp_path / "b.jsonl", "--scorer", "judge0")
    assert all(row["chosen_judge0"] >= row["rejected_judge0"] for row in rows(tmp_path / "b.jsonl"))
    scores = {pair.id: (0.0, 1.0) for pair in read_pairs(source).pairs}
    write_scores(tmp_path / "rm.jsonl", "rm", scores)
    output = call("data", "flip", source, "--output", tmp_path / "c.jsonl", "--scores", tmp_path / "rm.jsonl")
    assert "20 of 20 labels flipped, which the scores contradict" in output
    for wrong in ([], ["--share", 0.1, "--scorer", "judge0"]):
        with pytest.raises(UserError, match="choose which labels"):
            call("data", "flip", source, "--output", tmp_path / "d.jsonl", *wrong)


def test_strength_writes_columns_that_the_column_label_reads(tmp_path, source):
    ones = []
    for n in range(3):
        scores = {pair.id: (float((7 * i + n) % 11), 5.0) for i, pair in enumerate(read_pairs(source).pairs)}
        ones += ["--scores", tmp_path / f"rm{n}.jsonl"]
        write_scores(tmp_path / f"rm{n}.jsonl", "rm", scores)
    out = tmp_path / "strong.jsonl"
    output = call("data", "strength", source, "--output", out, *ones, "--treat", "wrong=drop", "--soft", 0.2)
    assert (
        "3 judges" in output and "dropped 5: 4 filtered by your options, 1 tie" in output and "4 wrong (drop)" in output
    )
    made = rows(out)
    assert len(made) == 16 and {row["bucket"] for row in made} == {"ambiguous", "normal", "top"}
    pairs = read_pairs(out).pairs
    assert all(
        pair.scores["pair"]["margin"] == (pair.scores["pair"]["strength_mean"] if pair.probability == 0.8 else 0.0)
        for pair in pairs
    )
    with pytest.raises(UserError, match="--treat takes NAME=VALUE"):
        call("data", "strength", source, "--output", out, "--scorer", "judge0", "--treat", "wrong")


def test_a_label_reads_the_margins_that_strength_wrote(tmp_path, source):
    labels = pytest.importorskip("diffalign.labels")
    call("data", "strength", source, "--output", tmp_path / "s.jsonl", "--scorer", "judge0", "--scorer", "judge1")
    pairs = list(read_pairs(tmp_path / "s.jsonl").pairs)
    label = labels.column(pairs, margin="margin")
    assert label.offset.tolist() == [pair.scores["pair"]["margin"] for pair in pairs]
    assert label.probability.tolist() == [pair.probability for pair in pairs]


def test_curriculum_writes_stages_and_prints_the_training_command(tmp_path, source):
    output = call("data", "curriculum", source, "--output", tmp_path / "stages", "--key", "judge2", "--stages", 2)
    assert "curriculum: 21 rows in, 20 pairs, 20 out to" in output and "stage 1: 10 pairs, gaps" in output
    assert f"python -m pipelines.curriculum RECIPE --stages {tmp_path / 'stages'}" in output
    index = yaml.safe_load((tmp_path / "stages" / "curriculum.yaml").read_text())
    assert index["reference"] == "previous_stage" and [s["pairs"] for s in index["stages"]] == [10, 10]
    first, second = (rows(tmp_path / "stages" / f"stage-{n}.jsonl") for n in (1, 2))
    assert {row["prompt"] for row in first} == {row["prompt"] for row in second}


def test_curriculum_sorts_by_a_file_of_scores(tmp_path, source):
    scores = {pair.id: (float(i), 0.0) for i, pair in enumerate(read_pairs(source).pairs, 1)}
    write_scores(tmp_path / "rm.jsonl", "rm", scores)
    named = ["--key", "rm", "--scores", tmp_path / "rm.jsonl", "--by", "global", "--stages", 4]
    call("data", "curriculum", source, "--output", tmp_path / "stages", *named)
    assert [row["gap"] for row in rows(tmp_path / "stages" / "stage-1.jsonl")] == [20.0, 19.0, 18.0, 17.0, 16.0]


def test_curriculum_pairs_the_best_of_a_list_with_each_other_answer(tmp_path):
    path = fixtures.jsonl(
        tmp_path / "l.jsonl", [{"prompt": "p", "completions": ["a", "b", "c", "d"], "scores": [9, 3, 7, 5]}]
    )
    call("data", "curriculum", path, "--output", tmp_path / "stages", "--key", "score")
    found = [row for n in (1, 2, 3) for row in rows(tmp_path / "stages" / f"stage-{n}.jsonl")]
    assert [(row["chosen"], row["rejected"], row["gap"]) for row in found] == [
        ("a", "b", 6),
        ("a", "d", 4),
        ("a", "c", 2),
    ]
    with pytest.raises(UserError, match="ranked lists take their order from their scores"):
        call("data", "flip", path, "--output", tmp_path / "f.jsonl", "--share", 1)


def test_prompt_pairs_writes_both_kinds(tmp_path, source):
    output = call("data", "prompt-pairs", source, "--output", tmp_path / "prompts", "--most", 3)
    within, between = (rows(tmp_path / "prompts" / f"{name}.jsonl") for name in ("within", "between"))
    assert (
        f"within: 21 rows in, {len(within)} out to" in output and f"between: 21 rows in, {len(between)} out" in output
    )
    assert all(row["chosen"] == row["rejected"] and 2 <= len(row["rules"]) <= 3 for row in within)
    assert all(row["augmented_prompt"].endswith(row["prompt"]) for row in between)
    call(
        "data",
        "prompt-pairs",
        source,
        "--output",
        tmp_path / "few",
        "--rule",
        "words",
        "--rule",
        "keyword",
        "--least",
        1,
    )
    asked = {each["rule"] for row in rows(tmp_path / "few" / "within.jsonl") for each in row["rules"]}
    assert asked == {"words", "keyword"}


def test_prompt_pairs_of_images_take_columns(tmp_path):
    folder = fixtures.pair_folder(tmp_path / "set", count=4)
    made = rows(folder / "metadata.jsonl")
    for n, row in enumerate(made):
        row |= {"colour": ["red", "blue"][n % 2], "count": n + 1, "rejected_colour": "green"}
    fixtures.jsonl(folder / "metadata.jsonl", made)
    call(
        "data",
        "prompt-pairs",
        folder,
        "--output",
        tmp_path / "p",
        "--attribute",
        "colour=on {}",
        "--attribute",
        "count",
    )
    found = read_pairs(tmp_path / "p" / "within.jsonl")
    assert found.pairs[0].prompt.startswith("thing 0, ") and found.pairs[0].chosen.name == "chosen-0.png"
    assert {"thing 0, on red", "thing 0, on red, 1", "thing 0, 1, on red"} & {pair.prompt for pair in found.pairs}


def test_fewshot_separates_users(tmp_path, source):
    output = call("data", "fewshot", source, "--output", tmp_path / "shots", "--shots", 2, "--test-users", 0.25)
    assert (
        "fewshot train" in output and "3 users, 2 shots, 6 passes" in output and "1 users, 2 shots, 1 passes" in output
    )
    train, test = (rows(tmp_path / "shots" / f"{name}.jsonl") for name in ("train", "test"))
    assert not {row["user_id"] for row in train} & {row["user_id"] for row in test} and len(test) == 1
    assert len(read_pairs(tmp_path / "shots")) == len(train)  # the folder's split to train on
    call("data", "fewshot", source, "--output", tmp_path / "shots", "--shots", 1, "--persona", "teacher")
    assert all("likes user" in row["prompt"] for row in rows(tmp_path / "shots" / "train.jsonl"))


def test_no_command_overwrites_its_source_or_writes_into_its_folder(tmp_path, source):
    with pytest.raises(UserError, match="is the source itself"):
        call("data", "flip", source, "--output", source, "--share", 0.1)
    with pytest.raises(UserError, match="whose tables are read together"):
        call("data", "flip", source.parent, "--output", source.parent / "new.jsonl", "--share", 0.1)
    folder = fixtures.pair_folder(tmp_path / "set")
    call("data", "flip", folder, "--output", folder / "flipped.jsonl", "--share", 0.5)  # only metadata.* is read
    assert len(read_pairs(folder)) == 3
    with pytest.raises(DataError, match="there is no data"):
        call("data", "flip", tmp_path / "nothing", "--output", tmp_path / "x.jsonl", "--share", 0.1)


def test_options_of_the_format_apply_to_unread_columns(tmp_path):
    rows_ = [{"ask": "p", "chosen": "a", "rejected": "b", "note": "x"}]
    path = fixtures.jsonl(tmp_path / "t.jsonl", rows_)
    call("data", "flip", path, "--output", tmp_path / "o.jsonl", "--share", 1, "--option", "columns={prompt: ask}")
    assert rows(tmp_path / "o.jsonl")[0] | {"id": ""} == {
        "id": "", "prompt": "p", "chosen": "b", "rejected": "a", "flipped": 1.0, "note": "x"
    }  # fmt: skip


def recipe(tmp_path, data, **values):
    from tests.tiny_text import tiny_llm

    return {
        "model": {"path": str(tiny_llm(tmp_path / "llm")), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}},
        "data": {"train": str(data), "limit": 4},
        "train": {"steps": 1, "batch_size": 4, "learning_rate": 1e-3, "mixed_precision": "no"},
        "log": {"every": 1},
        "output": str(tmp_path / f"run-{data.stem}"),
        **values,
    }


@pytest.mark.parametrize("kind", ["within", "between", "strength"])
def test_written_data_sets_can_be_trained_on(kind, tmp_path):
    from tests.tiny_text import text_pairs

    write_pairs(tmp_path / "pairs.jsonl", short := [PairRow(p) for p in text_pairs(8)])
    source, logistic = tmp_path / "pairs.jsonl", {"name": "logistic", "beta": 0.5}
    if kind == "strength":
        write_scores(tmp_path / "rm.jsonl", "rm", {line.pair.id: (float(n), 3.0) for n, line in enumerate(short)})
        call("data", "strength", source, "--output", tmp_path / "strength.jsonl", "--scores", tmp_path / "rm.jsonl")
        values = recipe(
            tmp_path, tmp_path / "strength.jsonl", loss=logistic, labels={"name": "column", "margin": "margin"}
        )
    else:
        call("data", "prompt-pairs", source, "--output", tmp_path, "--rule", "keyword", "--rule", "words", "--most", 2)
        loss = [logistic, {"name": "margin_contrast", "beta": 0.5}] if kind == "between" else logistic
        values = recipe(tmp_path, tmp_path / f"{kind}.jsonl", loss=loss)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    call("train", tmp_path / "recipe.yaml")
    (record,) = rows(tmp_path / f"run-{kind}" / "metrics.jsonl")
    if kind != "strength":  # log 2 for each loss: policy and reference are equal
        assert record["loss"] == pytest.approx((2 if kind == "between" else 1) * math.log(2.0), abs=1e-5)
    else:
        assert record["loss"] != pytest.approx(math.log(2.0), abs=1e-3)


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    root = Path(__file__).parents[2]
    if not (root / "assets" / "emoji" / "pairs").exists():
        pytest.skip("the embedded pairs are not here")
    (tmp_path / "assets").symlink_to(root / "assets")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (root / "docs" / "preparing-data.md").read_text(), re.DOTALL)
    exec(block, {})  # noqa: S102
    noisy = rows(tmp_path / "noisy" / "pairs.jsonl")
    assert sum(row["flipped"] for row in noisy) == round(0.2 * len(noisy)) > 100


def test_segments_writes_a_pair_for_each_labelled_part_of_the_clips(tmp_path):
    for name, fill in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.png").write_bytes(fixtures.image(fill))
    names = {"chosen_file_name": "a.png", "rejected_file_name": "b.png", "prompt": "a fox"}
    labels = {"x": [1, -1, 0, 0], "y": [0, 0], "z": None}
    source = fixtures.jsonl(tmp_path / "metadata.jsonl", [{**names, "id": i, "segments": v} for i, v in labels.items()])
    out = tmp_path / "out" / "pairs.jsonl"
    output = call("data", "segments", source, "--output", out, "--frames", 4)
    assert "segments: 3 rows in, 2 out" in output and "dropped 2: 1 tie, 1 no label" in output
    first, second = read_pairs(out).pairs
    assert (first.id, first.frame_weights, first.scores["pair"]["weight"]) == ("x-s0", (1.0, 0.0, 0.0, 0.0), 0.5)
    assert (second.id, second.chosen.name, second.rejected.name) == ("x-s1", "b.png", "a.png")


def test_segments_of_which_none_can_be_read_say_why(tmp_path):
    for name, fill in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.png").write_bytes(fixtures.image(fill))
    row = {"chosen_file_name": "a.png", "rejected_file_name": "b.png", "prompt": "a fox", "segments": [1, 2]}
    source, out = fixtures.jsonl(tmp_path / "metadata.jsonl", [row]), tmp_path / "out" / "pairs.jsonl"
    with pytest.raises(DataError, match=r"no row is left to write: 1 bad label.*metadata.jsonl:1.*got \[1, 2\]"):
        call("data", "segments", source, "--output", out)
    assert not out.exists()
