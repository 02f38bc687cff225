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


@pytest.mark.parametrize(
    "found",
    [((1, 2, 3), 0.9), ((1, 2, 3, float("nan")), 0.9), ((1, 2, 3, 4), float("nan")), ("box", 0.9), ((1, 2, 3, 4),)],
)
def test_an_object_without_four_numbers_and_a_confidence_is_the_detectors_fault(found):
    with pytest.raises(UserError, match=r"--detector returns \{class: \[\(box, confidence\), ...\]\}; got"):
        geneval.confident({"cup": [found]}, 0.3)


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
    (tmp_path / "plain.jsonl").write_text('{"include": [], "prompt": "a fox"}\n')
    with pytest.raises(DataError, match="no task"):
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


@needs_assets
@pytest.mark.parametrize("name", ["parti_prompts", "dpg_dsg", "pickapic", "image_reward_rankings"])
def test_the_other_image_programs_run_whole_on_the_embedded_model(name, tmp_path):
    import importlib

    makes_samples = name in ("parti_prompts", "dpg_dsg")
    options = FAST if makes_samples else ["--limit", "4", "--device", "cpu"]
    tables = importlib.import_module(f"evaluators.{name}").main(["--embedded", *options, "--output", str(tmp_path)])
    assert results(tmp_path)["tables"][0]["title"] == tables[0].title and (tmp_path / "report.html").exists()


def test_parti_prompts_have_tables_by_category_and_by_challenge(tmp_path):
    from evaluators import parti_prompts

    model, adapter = tiny_aligned_images(tmp_path)
    rows = ["a fox\tAnimals\tBasic\t", "an owl\tAnimals\tStyle & Format\t", "a red car\tVehicles\tBasic\tnote"]
    (tmp_path / "p.tsv").write_text("\n".join(["Prompt\tCategory\tChallenge\tNote", *rows]) + "\n")
    options = ["--model", model, "--adapter", adapter, "--prompts", str(tmp_path / "p.tsv"), *SMALL]
    options += ["--scorer", "background:red", "--output", str(tmp_path / "out")]
    medians, categories, challenges = parti_prompts.main(options)
    assert [row[1] for row in medians.rows] == ["base", "aligned"]
    assert [row[:2] for row in categories.rows] == [["Animals", 2], ["Vehicles", 1], ["all", 3]]
    assert [row[:2] for row in challenges.rows] == [["Basic", 2], ["Style & Format", 1], ["all", 3]]


PARENTS = {1: (), 2: (1,), 3: (2,), 4: ()}


@pytest.mark.parametrize(
    ("answers", "dpg", "dsg"),
    [
        ({1: True, 2: True, 3: True, 4: True}, [True, True, True, True], [True, True, True, True]),
        ({1: False, 2: True, 3: True, 4: True}, [False, False, False, True], [False, False, True, True]),
        ({1: True, 2: False, 3: True, 4: False}, [True, False, False, False], [True, False, False, False]),
    ],
)
def test_a_child_counts_only_if_its_parents_are_right_in_all_steps_or_in_one(answers, dpg, dsg):
    from evaluators import dpg_dsg

    assert list(dpg_dsg.counts(answers, PARENTS, "dpg").values()) == dpg
    assert list(dpg_dsg.counts(answers, PARENTS, "dsg").values()) == dsg


def test_a_parent_that_comes_after_its_child_counts_and_a_circle_is_refused():
    from evaluators import dpg_dsg

    late = dpg_dsg.counts({1: True, 2: False}, {1: (2,), 2: ()}, "dpg")
    assert late == {1: False, 2: False}
    with pytest.raises(DataError, match="in a circle"):
        dpg_dsg.counts({1: True, 2: True}, {1: (2,), 2: (1,)}, "dpg")


COLUMNS = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
QUESTIONS = f"""{COLUMNS}question_natural_language
a,"a red dog, running",,1,0,entity,whole,entity - whole (dog),Is there a dog?
a,"a red dog, running",,2,1,attribute,color,"attribute - color (dog, red)",Is the dog red?
a,"a red dog, running",,3,"1, 2",relation,spatial,"relation - spatial (dog)",Is it near?
b,two red apples,,1,0,entity,whole,entity - whole (apple),Are there apples?
"""


def vqa_that_sees_no_dog(path, question):
    return "No" if "dog?" in question else "Yes "


def test_questions_are_read_as_published_and_answered_on_every_image(tmp_path, monkeypatch):
    from evaluators import dpg_dsg

    model, _ = tiny_aligned_images(tmp_path)
    (tmp_path / "q.csv").write_text(QUESTIONS)
    first, second = dpg_dsg.read_questions(tmp_path / "q.csv")
    assert first.parents == {1: (), 2: (1,), 3: (1, 2)} and second.categories == {1: "entity - whole"}
    options = ["--model", model, "--questions", str(tmp_path / "q.csv"), *SMALL, "--seeds", "2"]
    options += ["--vqa", "tests.evaluators.test_image_programs:vqa_that_sees_no_dog", "--output", str(tmp_path / "out")]
    scores, categories = dpg_dsg.main(options)
    with_dependencies, without = (row[4].value for row in scores.rows)
    assert with_dependencies == pytest.approx(100 * (0 + 1) / 2) and without == pytest.approx(100 * (2 / 3 + 1) / 2)
    assert {row[1]: row[3].value for row in categories.rows}["entity"] == 50.0
    monkeypatch.setattr("tests.evaluators.test_image_programs.vqa_that_sees_no_dog", None)
    with pytest.raises(UserError, match="has no function"):
        dpg_dsg.main(options)


def test_questions_of_another_layout_are_refused(tmp_path):
    from evaluators import dpg_dsg

    (tmp_path / "q.csv").write_text(QUESTIONS.replace("proposition_id", "number"))
    with pytest.raises(DataError, match="no column proposition_id"):
        dpg_dsg.read_questions(tmp_path / "q.csv")
    (tmp_path / "q.csv").write_text(QUESTIONS.replace(",,1,0,entity,whole,entity - whole (dog)", ",,one,0,e,w,t"))
    with pytest.raises(DataError, match="expected numbers in proposition_id"):
        dpg_dsg.read_questions(tmp_path / "q.csv")


def published_points(label, p0, p1, threshold):
    """PickScore's rule, written independently: 1 for the same word, a half if one of the words is tie."""
    word = "tie" if abs(p1 - p0) <= threshold else "0" if p0 > p1 else "1"
    return 1.0 if word == label else 0.5 if "tie" in (word, label) else 0.0


def test_points_of_votes_with_ties_are_those_of_the_published_rule():
    from evaluators import pickapic

    for threshold in (0.0, 0.3, 1.0):
        for p in (0.0, 0.2, 0.5, 0.6, 0.9):
            for vote, label in ((1.0, "0"), (0.5, "tie")):
                expected = published_points(label, p, 1 - p, threshold)
                assert pickapic.points([p], [vote], threshold) == [expected]


def votes(folder, labels):
    """Writes a table of Pick-a-Pic: red against blue images; the label is that of the red one."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as parquet
    from PIL import Image

    def image(colour):
        out = io.BytesIO()
        Image.new("RGB", (16, 16), colour).save(out, format="JPEG")
        return out.getvalue()

    sides = [[image((196, 30, 48)), image((36, 84, 204))] for _ in labels]
    columns = {
        "caption": [f"a red fox {number}" for number in range(len(labels))],
        "jpg_0": [red for red, _ in sides],
        "jpg_1": [blue for _, blue in sides],
        "label_0": labels,
        "label_1": [1 - label for label in labels],
        "image_0_uid": [f"r{number}" for number in range(len(labels))],
        "image_1_uid": [f"b{number}" for number in range(len(labels))],
    }
    folder.mkdir()
    parquet.write_table(pa.table(columns), folder / "test.parquet")
    return folder / "test.parquet"


def test_pick_a_pic_keeps_ties_chooses_the_threshold_on_validation_and_judges_by_an_implicit_reward(tmp_path):
    from evaluators import pickapic

    test, validation = votes(tmp_path / "t", [1.0, 0.0, 0.5, 1.0]), votes(tmp_path / "v", [0.5, 0.5, 1.0])
    model, adapter = tiny_aligned_images(tmp_path)
    options = ["--pairs", str(test), "--validation", str(validation), "--scorer", "background:red", "--device", "cpu"]
    options += ["--model", model, "--adapter", adapter, "--draws", "2", "--output", str(tmp_path / "out")]
    (table,) = pickapic.main(options)
    rows = {row[0]: row for row in table.rows}
    judge = rows["background:red"]
    # s(1) - s(-1) = 0.46: with a threshold of 0.5 every pair is a tie, right for two of three of the validation
    assert judge[3] == 0.5 and judge[2].rate == (0.5 + 0.5 + 1 + 0.5) / 4 and judge[4].rate == 2 / 3
    assert "implicit reward" in rows and rows["implicit reward"][1] == 4 and "1 of 4 votes are ties" in table.note


def test_rankings_count_pairs_of_different_ranks_and_equal_scores_are_wrong():
    from evaluators import image_reward_rankings as program

    assert program.right_order([1, 2, 2], [3.0, 1.0, 2.0]) == [True, True]
    assert program.right_order([1, 2, 3], [1.0, 1.0, 2.0]) == [False, False, False]
    assert program.right_order([2, 1], [0.1, 0.5]) == [True] and program.right_order([1, 1], [0, 1]) == []


def test_rankings_are_read_as_published_and_a_missing_image_is_named(tmp_path):
    from PIL import Image

    from evaluators import image_reward_rankings as program

    (tmp_path / "part").mkdir()
    for name, colour in (("r", (196, 30, 48)), ("b", (36, 84, 204)), ("g", (36, 150, 72))):
        Image.new("RGB", (16, 16), colour).save(tmp_path / "part" / f"{name}.webp")
    row = {"id": "1", "prompt": "a red fox", "generations": ["part/b.webp", "part/r.webp", "part/g.webp"]}
    (tmp_path / "test.json").write_text(json.dumps([{**row, "ranking": [2, 1, 2]}]))
    options = ["--rankings", str(tmp_path / "test.json"), "--images", str(tmp_path), "--scorer", "background:red"]
    (table,) = program.main([*options, "--output", str(tmp_path / "out")])
    assert table.rows[0][1:3] == [1, 2] and table.rows[0][3].rate == 1.0
    model, adapter = tiny_aligned_images(tmp_path)
    policy = ["--model", model, "--adapter", adapter, "--draws", "1", "--device", "cpu"]
    (both,) = program.main([*options, *policy, "--output", str(tmp_path / "both")])
    assert [row[0] for row in both.rows] == ["background:red", "implicit reward"] and both.rows[1][2] == 2
    for names in (["part/x.webp", "part/r.webp", "part/g.webp"], ["../r.webp", "part/r.webp", "part/g.webp"]):
        (tmp_path / "test.json").write_text(json.dumps([{**row, "generations": names, "ranking": [2, 1, 2]}]))
        with pytest.raises(DataError, match=f"there is no image '{names[0]}'"):
            program.main([*options, "--output", str(tmp_path / "out")])


@pytest.mark.parametrize("ranking", [[1], [1, "2"], "12", [1, None], [True, 2]])
def test_ranks_that_are_no_numbers_or_too_few_are_named(ranking, tmp_path):
    from evaluators.image_reward_rankings import read_rankings

    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "test.json").write_text(
        json.dumps([{"prompt": "p", "generations": ["a.png", "b.png"], "ranking": ranking}])
    )
    with pytest.raises(DataError, match="expected prompt, generations and as many ranks in ranking"):
        read_rankings(tmp_path / "test.json", tmp_path)
