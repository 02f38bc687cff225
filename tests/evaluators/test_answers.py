"""Answers that an evaluation keeps belong to the samples that they were given for."""

import importlib
import json
import linecache
import os
import sys

import pytest
from PIL import Image

from diffalign.errors import UserError
from diffalign.plugins import _FILES, function_digest
from diffalign.plugins import load_function as plugin_function
from evaluators import geneval
from evaluators.geneval import confident
from evaluators.shared.answers import Item, answer_all, load_function


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
