"""Answers that an evaluation keeps belong to the samples that they were given for."""

import importlib
import json
import linecache
import math
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from diffalign.errors import UserError
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.plugins import _FILES, function_digest
from diffalign.plugins import load_function as plugin_function
from evaluators import geneval, image_reward_rankings, parti_prompts, reward_bench
from evaluators.geneval import confident
from evaluators.shared.answers import Item, answer_all, load_function
from evaluators.shared.scores import open_judges, score_sides
from tests.evaluation.scoring.counting import count_decoded


def test_an_answer_is_given_again_where_the_sample_its_prompt_or_its_row_changed(tmp_path):
    path, seen = tmp_path / "a.png", []

    def ask(prompt, about):
        def answer(part):
            seen.extend(part)
            return [{"pixel": Image.open(item.content).getpixel((0, 0))} for item in part]

        item = Item("a.png", prompt, path, about)
        (row,) = answer_all([item], answer, tmp_path / "scores" / "x.jsonl", {"judge": "1"}, what="images", batch=2)
        return row["pixel"], len(seen)

    Image.new("L", (4, 4), 10).save(path)
    assert ask("a", {"n": 1}) == (10, 1) and ask("a", {"n": 1}) == (10, 1)
    assert ask("b", {"n": 1})[1] == 2 and ask("b", {"n": 2})[1] == 3
    Image.new("L", (4, 4), 90).save(path)
    os.utime(path, ns=(1, 1))
    assert ask("b", {"n": 2}) == (90, 4)


def test_what_a_detector_raises_or_returns_by_mistake_is_a_sentence():
    detect = load_function("json:loads", "--detector", "which finds objects")
    with pytest.raises(UserError, match="--detector: json:loads raised JSONDecodeError"):
        detect("{")
    for objects in (3, {"fox": [0.95]}, {"fox": [(1,)]}):
        with pytest.raises(UserError, match="--detector returns"):
            confident(objects, 0.3)


def test_a_function_is_another_one_after_its_file_or_its_stated_weights_changed(tmp_path):
    def digest(text):
        path = tmp_path / "mine.py"
        path.write_text(text)
        _FILES.pop(path.resolve(), None)  # as in another process
        return function_digest(plugin_function(f"{path}:detect"))

    first = "def detect(path):\n    return {}\n"
    assert digest(first) == digest(first) != digest(first.replace("{}", "{'fox': []}"))
    stated = [digest(f"{first}detect.weights = {name!r}\n") for name in ("a", "b")]
    assert stated[0] != stated[1]
    called = "class Net:\n    def __call__(self, path):\n        return {}\ndetect = Net()\n"
    assert digest(called) and function_digest(len) != function_digest(sum)


def test_answers_of_a_detector_that_changed_are_given_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples = tmp_path / "samples"
    samples.mkdir()
    Image.new("RGB", (16, 16)).save(samples / "a.png")
    (samples / "metadata.jsonl").write_text('{"file_name": "a.png", "prompt": "a cup", "seed": 0}\n')
    row = {"tag": "single_object", "include": [{"class": "cup", "count": 1}], "prompt": "a cup"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")

    def right(found):
        (tmp_path / "my_detector.py").write_text(f"def detect(path):\n    return {found}\n")
        sys.modules.pop("my_detector", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        options = ["--samples", str(samples), "--prompts", "rows.jsonl", "--detector", "my_detector:detect"]
        (table,) = geneval.main([*options, "--seeds", "1", "--device", "cpu", "--output", "out"])
        return table.rows[0][3].rate

    assert right("{}") == 0 and right("{'cup': [((0, 0, 9, 9), 0.9)]}") == 1


def test_a_pair_whose_answer_was_edited_is_judged_again(tmp_path):
    path, row = tmp_path / "pairs.jsonl", {"prompt": "a", "chosen": "good", "rejected": "bad and awful", "subset": "x"}

    def score():
        path.write_text(json.dumps(row) + "\n")
        options = ["--pairs", str(path), "--scorer", "length", "--device", "cpu", "--output", str(tmp_path / "out")]
        (table,) = reward_bench.main(options)
        return table.rows[0][3].rate

    assert score() == 0
    row["chosen"] = "good and much longer"
    assert score() == 1


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    rows = [{"file_name": f"{n}.png", "prompt": f"p{n}", "seed": 0} for n in range(4)]
    for row in rows:
        Image.new("RGB", (16, 16), "red").save(folder / row["file_name"])
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts.txt").write_text("p0\np1\np2\np3\n")
    judges = ["--scorer", "background:red", "--scorer", "background:blue", "--device", "cpu"]
    return [
        "--samples",
        str(folder),
        "--prompts",
        f"@{tmp_path}/prompts.txt",
        *judges,
        "--output",
        str(tmp_path / "out"),
    ]


def test_each_image_is_decoded_once_for_all_judges_and_not_again_on_resume(samples, monkeypatch):
    opened = count_decoded(monkeypatch)
    first = parti_prompts.main(samples)
    scored = dict(opened)
    assert len(scored) == 4 and {row[3] for row in first[0].rows} == {0.0, 1.0}
    opened.clear()
    again = parti_prompts.main(samples)
    assert [table.to_json() for table in again] == [table.to_json() for table in first]
    assert sum(scored.values()) - sum(opened.values()) == 4  # the page shows images both times, judges see none again


def test_an_image_that_cannot_be_read_is_named_and_left_out(samples, tmp_path, capsys):
    (tmp_path / "samples" / "2.png").write_bytes(b"no image")
    scores = score_sides(*_opened(samples))
    assert [math.isnan(value) for value in scores["background:red"]["model"]] == [False, False, True, False]
    printed = capsys.readouterr().out
    assert "1 sample could not be scored" in printed and "2.png" in printed


def test_images_without_a_score_decide_no_ranking():
    assert image_reward_rankings.right_order([1.0, 2.0, 3.0], [0.5, math.nan, 0.1]) == [True]


def _opened(options):
    from argparse import Namespace

    gallery = read_gallery(Path(options[1]))
    args = Namespace(scorer=["background:red"], device="cpu", batch=2, output=Path(options[-1]))
    judges = open_judges(args, ["p0"], "image")
    return args, {"model": gallery}, judges
