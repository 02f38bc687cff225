"""Answers that an evaluation keeps belong to the samples that they were given for."""

import os

import pytest
from PIL import Image

from diffalign.errors import UserError
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
