"""Evaluators of images on the embedded model and on a tiny aligned model: whole, resumed, by category."""

import json

import numpy as np
import pytest

from diffalign.errors import DataError, UserError
from evaluators import geneval, hpsv2
from evaluators.shared import embedded
from evaluators.shared.options import FACTS
from tests.evaluators.aligned import tiny_aligned_images
from tests.evaluators.test_programs import FAST, needs_assets, results

SMALL = ["--setting", "steps=1", "--setting", "guidance=1.0", "--device", "cpu"]


def two_styles(folder):
    folder.mkdir()
    for style in ("anime", "concept-art", "paintings", "photo"):
        (folder / f"{style}.json").write_text(json.dumps([f"a red fox as {style}", f"a blue owl as {style}"]))
    return folder


@needs_assets
def test_hpsv2_runs_whole_on_the_embedded_model(tmp_path):
    tables = hpsv2.main(["--embedded", *FAST, "--output", str(tmp_path)])
    assert tables[0].title == "Mean scores by style" and tables[0].rows[-1][:2] == ["all", 2]
    page = (tmp_path / "report.html").read_text()
    assert "data:image/png" in page and "HPS_v2.1_compressed.pt" in page and str(tmp_path) not in page


def test_an_aligned_model_is_compared_with_its_base_style_by_style_on_shared_noises(tmp_path):
    model, adapter = tiny_aligned_images(tmp_path)
    options = ["--model", model, "--adapter", adapter, "--prompts", str(two_styles(tmp_path / "benchmark")), *SMALL]
    scorer = ["--scorer", "background:red", "--output", str(tmp_path / "out")]
    (table, deviations) = hpsv2.main([*options, *scorer])
    head = ["category", "samples", "background:red, base", "background:red, aligned", "background:red, aligned wins"]
    assert list(table.head) == head and [row[0] for row in table.rows][-1] == "all"
    whole = table.rows[-1]
    assert whole[1] == 8 and whole[4].comparisons == 8 and deviations.rows[0][3] != deviations.rows[0][3]
    rows = [json.loads(line) for line in (tmp_path / "out" / "aligned" / "metadata.jsonl").read_text().splitlines()]
    assert rows[0]["categories"] == {"style": ["anime"]} and [row["seed"] for row in rows] == list(range(8))


def test_a_killed_program_keeps_its_samples_and_scores(tmp_path, monkeypatch):
    from diffalign.scorers.images.background_colour import Background

    model, _ = tiny_aligned_images(tmp_path)
    options = ["--model", model, "--prompts", str(two_styles(tmp_path / "benchmark")), *SMALL, "--batch", "2"]
    options += ["--scorer", "background:red", "--output", str(tmp_path / "out")]
    score, calls = Background.score, []

    def killed(self, prompts, images):
        calls.append(len(prompts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, prompts, images)

    monkeypatch.setattr(Background, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        hpsv2.main(options)
    calls.extend([0])  # past the third call
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "model").glob("*.png")}
    resumed = hpsv2.main(options)
    assert sum(calls) == 2 + 2 + 2 + 4 and len(made) == 8
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    monkeypatch.setattr(Background, "score", score)
    fresh = hpsv2.main([*options[:-1], str(tmp_path / "fresh")])
    assert [table.to_json() for table in fresh] == [table.to_json() for table in resumed]


def test_the_published_deviation_is_that_of_ten_parts():
    values = [float(number % 7) for number in range(40)]
    means = [np.mean(values[start : start + 4]) for start in range(0, 40, 4)]
    assert hpsv2.deviation(values) == pytest.approx(np.std(means)) and np.isnan(hpsv2.deviation(values[:19]))


def test_samples_of_another_program_are_judged_by_their_prompts(tmp_path):
    from PIL import Image

    folder = tmp_path / "samples"
    folder.mkdir()
    rows = []
    for style in ("anime", "concept-art", "paintings", "photo"):
        for colour in ("red fox", "blue owl"):
            prompt = f"a {colour} as {style}"
            Image.new("RGB", (8, 8), (196, 30, 48)).save(folder / f"{prompt}.png")
            rows.append({"file_name": f"{prompt}.png", "prompt": prompt})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--samples", str(folder), "--prompts", str(two_styles(tmp_path / "b")), "--scorer", "background:red"]
    table = hpsv2.main([*options, "--output", str(tmp_path / "out")])[0]
    assert table.rows[-1][2].value == 100.0
    with pytest.raises(DataError, match="fewer than 2 samples of 8 of 8 prompts"):
        hpsv2.main([*options, "--output", str(tmp_path / "more"), "--seeds", "2"])
    with pytest.raises(UserError, match="either --model"):
        hpsv2.main([*options, "--model", "x", "--output", str(tmp_path / "both")])


@needs_assets
def test_geneval_runs_whole_on_the_embedded_model_and_its_recogniser(tmp_path):
    (table,) = geneval.main(["--embedded", *FAST, "--output", str(tmp_path)])
    tasks = {row[1]: row[2] for row in table.rows}
    assert tasks["all images"] == 4 and tasks["prompts with a right image"] == 2
    lines = (tmp_path / "scores" / "model-geneval.jsonl.part").read_text().splitlines()
    assert len(lines) == 5 and all("right" in line for line in lines[1:])


@needs_assets
def test_the_embedded_answers_agree_with_the_facts_of_a_clear_image(tmp_path):
    from pathlib import Path

    from diffalign.data.readers import read_pairs
    from pipelines.embedded import facts, scenes

    (pair, *_) = read_pairs(FACTS.parents[1] / "pairs", limit=1).pairs
    path = Path(pair.chosen)
    found, scene = embedded.detect(path), scenes.parse(str(pair.prompt))
    assert [len(boxes) for boxes in found.values()] == [scene.count]
    answers = {question: embedded.answer(path, question) for _, _, question in facts.questions(str(pair.prompt))[1:]}
    expected = {q: "yes" for q in answers if "exactly" not in q or scene.subject in found}
    assert {q: answers[q] for q in expected} == expected
    with pytest.raises(ValueError, match="no question"):
        embedded.answer(path, "What is this?")


def colours_of(*names):
    return lambda objects, name: list(names)


CLOCKS = {"include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}]}
BOX = ((0.0, 0.0, 10.0, 10.0), 0.9)


@pytest.mark.parametrize(
    ("row", "objects", "named", "right"),
    [
        (CLOCKS, {"clock": [BOX, BOX]}, (), True),
        (CLOCKS, {"clock": [BOX]}, (), False),
        (CLOCKS, {"clock": [BOX, BOX, BOX]}, (), False),
        ({"include": [{"class": "cup", "count": 1, "color": "red"}]}, {"cup": [BOX]}, ("red",), True),
        ({"include": [{"class": "cup", "count": 1, "color": "red"}]}, {"cup": [BOX]}, ("blue",), False),
        ({"include": [{"class": "cup", "count": 1}, {"class": "cat", "count": 1}]}, {"cup": [BOX]}, (), False),
    ],
)
def test_an_image_is_right_if_it_shows_what_the_metadata_wants(row, objects, named, right):
    assert (geneval.judge(row, objects, colours_of(*named)) == []) is right


@pytest.mark.parametrize(
    ("box", "relation"),
    [
        ((30, 0, 40, 10), {"right of"}),
        ((-30, 0, -20, 10), {"left of"}),
        ((0, 30, 10, 40), {"below"}),
        ((0, -40, 10, -30), {"above"}),
        ((30, 30, 40, 40), {"right of", "below"}),
        ((1, 1, 11, 11), set()),
    ],
)
def test_positions_are_told_by_the_centres_beyond_a_tenth_of_the_sizes(box, relation):
    assert geneval.relations(box, (0, 0, 10, 10)) == relation
    wanted = {"include": [{"class": "cup", "count": 1}, {"class": "cat", "count": 1, "position": ["right of", 0]}]}
    problems = geneval.judge(wanted, {"cup": [BOX], "cat": [(box, 0.9)]}, colours_of())
    assert (problems == []) is ("right of" in relation)


def test_a_position_from_an_object_that_is_missing_is_wrong():
    wanted = {"include": [{"class": "cup", "count": 1}, {"class": "cat", "count": 1, "position": ["above", 0]}]}
    assert len(geneval.judge(wanted, {"cat": [BOX]}, colours_of())) == 2


def test_doubtful_objects_do_not_count_and_at_most_sixteen_of_a_class_do():
    objects = {"clock": [(BOX[0], 0.3), (BOX[0], 0.31), (BOX[0], 0.9)], "cup": [(BOX[0], 0.95)] * 20, "cat": []}
    kept = geneval.confident(objects, 0.3)
    assert [o[1] for o in kept["clock"]] == [0.9, 0.31] and len(kept["cup"]) == 16 and "cat" not in kept


def test_numbers_need_confident_objects_and_a_broken_detector_or_file_is_named(tmp_path):
    model, _ = tiny_aligned_images(tmp_path)
    rows = [
        {"tag": "counting", "include": [{"class": "clock", "count": 2}], "prompt": "two red apples"},
        {"tag": "single_object", "include": [{"class": "clock", "count": 1}], "prompt": "a fox"},
    ]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--model", model, "--prompts", str(tmp_path / "metadata.jsonl"), *SMALL, "--seeds", "1"]
    detector = ["--detector", "tests.evaluators.aligned:two_clocks"]
    (table,) = geneval.main([*options, *detector, "--output", str(tmp_path / "out")])
    assert [row[3].rate for row in table.rows] == [0.0, 1.0, 0.5, 0.5, 0.5]
    assert results(tmp_path / "out")["settings"]["detector"] == "tests.evaluators.aligned:two_clocks"
    for name, message in [
        ("nowhere:detect", "cannot be imported: ModuleNotFoundError"),
        ("tests.evaluators.aligned:nothing", "has no function 'nothing'"),
        ("detect", "takes MODULE:FUNCTION"),
    ]:
        with pytest.raises(UserError, match=message):
            geneval.main([*options, "--detector", name, "--output", str(tmp_path / "bad")])
    (tmp_path / "plain.jsonl").write_text('{"tag": "x", "prompt": "a fox"}\n')
    with pytest.raises(DataError, match="no list of objects"):
        geneval.main([*options, *detector, "--prompts", str(tmp_path / "plain.jsonl"), "--output", str(tmp_path / "b")])


@needs_assets
def test_colours_are_those_of_the_crop_by_the_mean_of_three_sentences():
    from evaluators.shared.clip_colours import COLOURS, ClipColours
    from tests.pipelines.test_embedded import ASSETS

    colours = ClipColours(str(ASSETS / "scorers" / "heldout"), "cpu")
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:10], pixels[10:] = (196, 30, 48), (36, 84, 204)
    mask = np.zeros((20, 20), bool)
    found = colours(pixels, [((0, 0, 20, 10), 0.9), ((0, 10, 20, 20), 0.9, mask)], "fox")
    assert len(found) == 2 and set(found) <= set(COLOURS)
    features = colours._texts("fox")
    assert features.shape[0] == len(COLOURS) and np.allclose(features.norm(dim=-1).numpy(), 1, atol=1e-5)
