"""Answers that an evaluation keeps belong to the samples that they were given for."""

import os

from PIL import Image

from evaluators.shared.answers import Item, answer_all


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
