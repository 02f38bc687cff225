"""Prompt suites, each read from a small file in its published layout."""

import json
import os
from pathlib import Path

import pytest

from diffalign.data.suites import SUITES, merge_categories, read_suite
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.prompts import read_categories, read_prompts
from tests.mutations import mutated_bytes, try_all

PROMPTS = Path(__file__).parents[3] / "assets" / "emoji" / "prompts"
REAL = Path(os.environ.get("DIFFALIGN_PROMPTS", "prompt-suites"))
"""Folder with the published files, for whoever has them."""


def write_all(folder: Path) -> dict[str, Path]:
    """Writes a file or folder of each suite in its published layout."""
    (folder / "hpdv2").mkdir()
    (folder / "compbench").mkdir()
    for style in ("anime", "concept-art", "paintings", "photo"):
        (folder / "hpdv2" / f"{style}.json").write_text(json.dumps([f"a fox as {style}", f"an owl as {style}"]))
    (folder / "hpdv2" / "drawbench.json").write_text(json.dumps(["a red car and a white sheep"]))
    for category, line in (("color", "a red cup and a blue book"), ("3d_spatial", "a cup behind a book")):
        (folder / "compbench" / f"{category}_val.txt").write_text(f"{line}\n\n")
        (folder / "compbench" / f"{category}_train.txt").write_text("a training prompt\n")
    texts = {
        "parti.tsv": "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tmany meanings\n"
        '"G I G G L E" painted on a wall\tIllustrations\tWriting & Symbols\t\n',
        "drawbench.csv": 'Prompts,Category\nA red coloured car.,Colors\n"One cat, two dogs.",Counting\n',
        "pickapic.jsonl": '{"caption": "a fox", "label_0": 1.0}\n{"caption": "an owl", "label_0": 0.5}\n',
        "geneval.jsonl": '{"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": '
        '[{"class": "clock", "count": 3}], "prompt": "a photo of two clocks"}\n',
        "vbench.json": json.dumps(
            [
                {"prompt_en": "a bird", "dimension": ["color", "scene"], "auxiliary_info": {"color": "red"}},
                {"prompt_en": "a bird", "dimension": ["scene", "motion_smoothness"]},
            ]
        ),
        "question.jsonl": '{"question_id": 81, "category": "writing", "turns": ["Write a post.", "Rewrite it."]}\n',
        "facts.jsonl": '{"tag": "counting", "include": [{"class": "owl", "count": 2}], "prompt": "two owls", '
        '"background": "red"}\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {
        "parti_prompts": folder / "parti.tsv",
        "hpdv2": folder / "hpdv2",
        "pickapic": folder / "pickapic.jsonl",
        "drawbench": folder / "drawbench.csv",
        "t2i_compbench": folder / "compbench",
        "geneval": folder / "geneval.jsonl",
        "vbench": folder / "vbench.json",
        "mt_bench": folder / "question.jsonl",
        "emoji": folder / "facts.jsonl",
    }


EXPECTED = {
    "parti_prompts": (
        '"G I G G L E" painted on a wall',
        {"category": ("Illustrations",), "challenge": ("Writing & Symbols",)},
    ),
    "hpdv2": ("an owl as photo", {"style": ("photo",)}),
    "pickapic": ("an owl", {}),
    "drawbench": ("One cat, two dogs.", {"category": ("Counting",)}),
    "t2i_compbench": ("a red cup and a blue book", {"category": ("color",), "split": ("val",)}),
    "geneval": ("a photo of two clocks", {"tag": ("counting",)}),
    "vbench": ("a bird", {"dimension": ("scene", "motion_smoothness")}),
    "mt_bench": ("Write a post.", {"category": ("writing",)}),
    "emoji": ("two owls", {"tag": ("counting",), "background": ("red",)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SUITES)
def test_the_last_row_of_each_suite_is_read_with_its_categories(name, tmp_path):
    last = read_suite(name, write_all(tmp_path)[name])[-1]
    assert (last.prompt, dict(last.categories)) == EXPECTED[name]


def test_all_four_styles_of_hpdv2_are_read_and_drawbench_beside_them_is_not(tmp_path):
    prompts = read_suite("hpdv2", write_all(tmp_path)["hpdv2"])
    assert len(prompts) == 8 and {p.categories["style"][0] for p in prompts} == {
        "anime", "concept-art", "paintings", "photo",
    }  # fmt: skip


def test_the_row_of_a_prompt_is_kept_as_published(tmp_path):
    (prompt,) = read_suite("geneval", write_all(tmp_path)["geneval"])
    assert prompt.row["include"] == [{"class": "clock", "count": 2}]


def test_a_prompt_that_occurs_twice_has_the_categories_of_both_rows(tmp_path):
    prompts = read_suite("vbench", write_all(tmp_path)["vbench"])
    assert merge_categories(prompts) == {"a bird": {"dimension": ("color", "scene", "motion_smoothness")}}


def test_a_suite_stands_wherever_prompts_are_given(tmp_path):
    given = ["a cat", f"@suite:drawbench:{write_all(tmp_path)['drawbench']}"]
    assert read_prompts(given) == ["a cat", "A red coloured car.", "One cat, two dogs."]
    assert read_categories(given)["One cat, two dogs."] == {"category": ("Counting",)}
    assert read_categories(given)["a cat"] == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("@suite:partiprompts:x.tsv", "no suite of prompts 'partiprompts'. Did you mean 'parti_prompts'"),
        ("@suite:drawbench", "needs its file: @suite:drawbench:FILE"),
        ("@suite:drawbench:nowhere.csv", "there is no file 'nowhere.csv'"),
        ("@suite:hpdv2:nowhere", "there is no file 'nowhere'"),
        ("@suite:t2i_compbench:nowhere", "there is no file of prompts at 'nowhere'"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(given, message):
    with pytest.raises(UserError, match=message):
        read_prompts([given])


def test_a_file_of_another_suite_is_refused_with_its_columns(tmp_path):
    files = write_all(tmp_path)
    with pytest.raises(DataError, match="no column 'prompt_en' of prompts. Columns: tag, include"):
        read_suite("vbench", files["geneval"])
    with pytest.raises(DataError, match="not with the columns Prompt, Category and Challenge"):
        read_suite("parti_prompts", files["drawbench"])


def test_a_row_without_a_prompt_and_a_line_that_is_no_json_are_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"tag": "counting", "prompt": "a fox"}\n{"tag": "counting", "prompt": ""}\n')
    with pytest.raises(DataError, match=r"row p.jsonl:2: 'prompt' holds no prompt"):
        read_suite("geneval", path)
    path.write_text('{"tag": "counting", "prompt": "a fox"}\n{broken\n')
    with pytest.raises(DataError, match="row p.jsonl:2: not JSON"):
        read_suite("geneval", path)


def test_an_empty_suite_is_refused(tmp_path):
    (tmp_path / "anime.json").write_text("[]")
    with pytest.raises(DataError, match="holds no prompt"):
        read_suite("hpdv2", tmp_path / "anime.json")


@pytest.mark.parametrize("name", ["parti_prompts", "geneval", "vbench", "drawbench"])
def test_faulty_files_are_read_or_refused(name, tmp_path):
    file = write_all(tmp_path)[name]
    content = file.read_bytes()

    def read(data: bytes) -> None:
        file.write_bytes(data)
        read_suite(name, file)

    try_all(name, read, mutated_bytes(content, 60, seed=0)).check()


def test_the_embedded_facts_are_those_of_the_test_prompts():
    from pipelines.embedded import facts

    prompts = (PROMPTS / "test.txt").read_text().splitlines()
    rows = [json.loads(line) for line in (PROMPTS / "facts.jsonl").read_text().splitlines()]
    assert rows == [facts.fact_row(prompt) for prompt in prompts]
    assert (PROMPTS / "questions.csv").read_text() == facts.question_table(prompts[: facts.QUESTION_PROMPTS])
    assert len(read_suite("emoji", PROMPTS / "facts.jsonl")) == SUITES["emoji"].count


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("parti_prompts", "PartiPrompts.tsv"),
        ("geneval", "geneval_metadata.jsonl"),
        ("vbench", "vbench_full_info.json"),
        ("mt_bench", "mt_bench_question.jsonl"),
    ],
)
def test_the_published_files_hold_as_many_prompts_as_their_papers_say(name, file):
    if not (REAL / file).exists():
        pytest.skip("the published file is not here; DIFFALIGN_PROMPTS names its folder")
    assert len(read_suite(name, REAL / file)) == SUITES[name].count
