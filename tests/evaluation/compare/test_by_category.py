"""Categories of a suite go from the prompts into the metadata, the comparison, the report and the terminal."""

import json

from diffalign.evaluation.compare.by_category import category_lines, win_rates_by_category
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare_galleries
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.files.json_lines import write_json_lines
from diffalign.scorers import load_scorer

RED, BLUE = (196, 30, 48), (36, 84, 204)
CATEGORIES = {"a": {"style": ["anime"]}, "b": {"style": ["photo", "anime"]}, "c": {"style": ["photo"], "size": ["big"]}}


def gallery(folder, colours):
    from PIL import Image

    folder.mkdir()
    for prompt, colour in colours.items():
        Image.new("RGB", (16, 16), colour).save(folder / f"{prompt}.png")
    rows = [{"file_name": f"{p}.png", "prompt": p, "seed": 0, "categories": CATEGORIES[p]} for p in colours]
    write_json_lines(folder / "metadata.jsonl", rows)
    return folder


def compared(tmp_path):
    base = gallery(tmp_path / "base", {"a": BLUE, "b": BLUE, "c": RED})
    aligned = gallery(tmp_path / "aligned", {"a": RED, "b": RED, "c": BLUE})
    return compare_galleries(base, aligned, {"red": (load_scorer("background:red"), "held-out")}, folder=tmp_path)


def test_win_rates_are_those_of_the_prompts_of_each_category(tmp_path):
    rows = win_rates_by_category(compared(tmp_path))
    assert [(row.column, row.value, row.prompts, row.wins["red"].rate) for row in rows] == [
        ("style", "anime", 2, 1.0),
        ("style", "photo", 2, 0.5),
        ("size", "big", 1, 0.0),
    ]


def test_categories_survive_saving_and_loading(tmp_path):
    comparison = compared(tmp_path)
    loaded = Comparison.load(tmp_path / "comparison.json")
    assert category_lines(loaded) == category_lines(comparison)
    assert "style photo (2 prompts): red 50 %" in category_lines(comparison)[1]


def test_the_report_has_a_table_by_category_only_where_there_are_any(tmp_path):
    comparison = compared(tmp_path)
    assert "Win rates by category" in write_report(tmp_path, comparison=comparison).read_text()
    plain = [{key: value for key, value in row.items() if key != "categories"} for row in comparison.rows]
    without = Comparison(**{**comparison.__dict__, "rows": tuple(plain)})
    assert "Win rates by category" not in write_report(tmp_path, comparison=without).read_text()


def test_a_judgement_that_is_not_finite_leaves_its_category_out(tmp_path):
    comparison = compared(tmp_path)
    comparison.rows[2]["scores"]["red"][0] = None
    assert [row.value for row in win_rates_by_category(comparison)] == ["anime", "photo"]


def test_generated_samples_keep_the_categories_of_their_prompts(tmp_path):
    from diffalign.evaluation.samples.generate import generate
    from tests.evaluation.fakes import PlainPolicy

    generate(PlainPolicy(), ["a", "b"], [0], tmp_path / "g", categories={"a": {"style": ("anime",)}})
    rows = [json.loads(line) for line in (tmp_path / "g" / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["categories"] == {"style": ["anime"]} and "categories" not in rows[1]
    assert [s.categories for s in read_gallery(tmp_path / "g").samples] == [{"style": ("anime",)}, {}]
