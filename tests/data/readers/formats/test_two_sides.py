"""Two sides and a winner, in the forms of published sets: names, letters, numbers, strengths and votes."""

import json
from pathlib import Path

import pytest

from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import BAD_LABEL, NO_LABEL, TIE
from diffalign.errors import DataError
from tests.data.clips import noise
from tests.data.fixtures import image, jsonl, parquet, turns

AB = {"prompt": "Sky?", "response_a": " Blue.", "response_b": " Green."}
ONE_TWO = {"prompt": "Sky?", "output_1": " Blue.", "output_2": " Green."}


def read(tmp_path, *rows, **options):
    return read_pairs(jsonl(tmp_path / "a.jsonl", list(rows)), **options)


PUBLISHED = {
    "chatbot arena": (
        {"question_id": "q", "model_a": "gpt", "model_b": "llama", "winner": "model_b", "judge": "ann",
         "conversation_a": turns("Sky?", "Green."), "conversation_b": turns("Sky?", "Blue."), "turn": 1},
        "user: Sky?", "assistant: Blue.", "assistant: Green."),
    "pandalm": (
        {"instruction": "Sum up.", "input": "A fox ran.", "response1": " Fox.", "response2": " Dog.", "preferred": 1},
        "Sum up.\n\nA fox ran.", " Fox.", " Dog."),
    "llmbar": (
        {"input": "Sky?", "output_1": " Green.", "output_2": " Blue.", "label": 2}, "Sky?", " Blue.", " Green."),
    "helpsteer2": (
        {"split": "train", "prompt": "Sky?", "response_1": " Blue.", "response_2": " Green.", "preference_strength": -2,
         "preference_statement": "1 is better"}, "Sky?", " Blue.", " Green."),
    "helpsteer3": (
        {"domain": "general", "language": "english", "context": turns("Sky?"), "response1": "Green.",
         "response2": "Blue.", "overall_preference": 3, "individual_preference": [{"score": 3, "reasoning": "so"}]},
        "user: Sky?", "assistant: Blue.", "assistant: Green."),
    "rewardbench": (
        {"prompt": "Sky?", "chosen": " Blue.", "chosen_model": "gpt", "rejected": " Green.", "rejected_model": "llama",
         "subset": "easy", "id": 30}, "Sky?", " Blue.", " Green."),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_forms_of_texts_are_recognised_by_their_columns(tmp_path, name):
    row, prompt, chosen, rejected = PUBLISHED[name]
    for path in (jsonl(tmp_path / "a.jsonl", [row]), parquet(tmp_path / "a.parquet", [row])):
        dataset = read_pairs(path)
        assert dataset.format == ("trl" if name == "rewardbench" else "two_sides")
        (pair,) = dataset.pairs
        assert (str(pair.prompt), str(pair.chosen), str(pair.rejected)) == (prompt, chosen, rejected)
        assert pair.probability == 1.0


GENAI = {"left_model": "x", "right_model": "y", "left_image": "a.png", "right_image": "b.png"}
ZERO_ONE = {"image_0": "a.png", "image_1": "b.png"}


@pytest.mark.parametrize(
    ("row", "chosen"),
    [
        (GENAI | {"prompt": "a fox", "vote_type": "leftvote"}, "a"),
        (GENAI | {"prompt": "a fox", "vote_type": "rightvote"}, "b"),
        (ZERO_ONE | {"caption": "a fox", "label_0": 1.0, "label_1": 0.0}, "a"),
        (ZERO_ONE | {"caption": "a fox", "label_0": 0.0, "label_1": 1.0}, "b"),
        (ZERO_ONE | {"prompt": "a fox", "preference": 1}, "b"),
        (ZERO_ONE | {"prompt": "a fox", "preference": "image_0"}, "a"),
        (ZERO_ONE | {"prompt": "a fox", "prefer_0": False, "prefer_1": True}, "b"),
    ],
)
def test_published_forms_of_images_are_recognised_by_their_columns(tmp_path, row, chosen):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    dataset = read(tmp_path, row)
    assert dataset.format == "two_sides" and dataset.pairs[0].prompt == "a fox"
    assert dataset.pairs[0].chosen.stem == chosen
    content = {name: {"path": name, "bytes": (tmp_path / name).read_bytes()} for name in ("a.png", "b.png")}
    stored = {name: content.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
    assert (
        read_pairs(parquet(tmp_path / "a.parquet", [stored])).pairs[0].chosen.read()
        == content[f"{chosen}.png"]["bytes"]
    )


@pytest.mark.parametrize("stem", ["video_{}", "left_video", "clip_{}"])
def test_videos_are_files_whatever_they_are_called(tmp_path, stem):
    sides = ("left_video", "right_video") if stem == "left_video" else (stem.format("a"), stem.format("b"))
    for name in ("one", "two"):
        write_clip(tmp_path / name, noise(3, seed=len(name)))
    pairs = read(tmp_path, {"prompt": "a fox", sides[0]: "one", sides[1]: "two", "winner": sides[1]}).pairs
    assert (pairs[0].chosen.name, pairs[0].rejected.name) == ("two", "one")


@pytest.mark.parametrize(
    ("cell", "chosen"),
    [
        ("a", " Blue."), ("B", " Green."), ("model_a", " Blue."), ("response_b", " Green."), ("[[A]]", " Blue."),
        ("Response A", " Blue."), ("A>B", " Blue."), ("[[B>>A]]", " Green."), ("A<B", " Green."),
        ("first", " Blue."), ("right", " Green."), ("gpt-4", " Green."), ("tie", None), ("tie (bothbad)", None),
        ("tievote", None), ("bothbad_vote", None), ("same", None), ("A=B", None), ("[[A=B]]", None), ("both", None),
    ],
)  # fmt: skip
def test_a_winner_is_a_name_a_letter_a_vote_or_a_tie(tmp_path, cell, chosen):
    row = AB | {"winner": cell, "model_a": "llama", "model_b": "gpt-4"}
    pair = read(tmp_path, row, ties="soft").pairs[0]
    assert (pair.chosen, pair.probability) == ((chosen, 1.0) if chosen else (" Blue.", 0.5))
    if not chosen:
        with pytest.raises(DataError, match="are ties"):
            read(tmp_path, row)


def test_numbers_are_those_of_the_sides(tmp_path):
    dataset = read(tmp_path, *(ONE_TWO | {"label": label} for label in (1, 2, 0, "2")))
    assert [pair.chosen for pair in dataset.pairs] == [" Blue.", " Green.", " Green."]
    assert [row.reason for row in dataset.dropped] == [TIE]  # 0 beside 1 and 2, as PandaLM's annotators
    zero = {"prompt": "Sky?", "response_0": " Blue.", "response_1": " Green."}
    dataset = read(tmp_path, *(zero | {"label": label} for label in (0, 1)))
    assert [pair.chosen for pair in dataset.pairs] == [" Blue.", " Green."]


@pytest.mark.parametrize(
    "rows",
    [
        [AB | {"label": 0}, AB | {"label": 1}],
        [ONE_TWO | {"label": 0}, ONE_TWO | {"label": 1}],
        [ONE_TWO | {"preference": -1}, ONE_TWO | {"preference": 1}],
        [ONE_TWO | {"label": True}],
        [AB | {"preference": 0.7}],
    ],
)
def test_numbers_that_may_mean_either_side_are_refused_until_they_are_stated(tmp_path, rows):
    with pytest.raises(DataError, match=r"do not say whether.*winners=.*data.options: {winners"):
        read(tmp_path, *rows)


def test_the_meaning_of_a_value_can_be_stated(tmp_path):
    rows = [AB | {"label": label} for label in (0, 1.0, "2")]
    dataset = read(tmp_path, *rows, winners={"1": "first", 0: "second"})
    assert [pair.chosen for pair in dataset.pairs] == [" Green.", " Blue."]
    assert [(row.reason, row.source) for row in dataset.dropped] == [(BAD_LABEL, "a.jsonl:3")]
    for wrong in ({"1": "left"}, ["first"]):
        with pytest.raises(DataError, match="winners gives each value"):
            read(tmp_path, *rows, winners=wrong)


def test_rows_without_a_winner_and_with_an_unknown_one_are_dropped_by_name(tmp_path):
    rows = [AB | {"winner": winner, "model_a": "x", "model_b": "x"} for winner in ("a", "", None, "someone", "x")]
    dataset = read(tmp_path, *rows)
    assert [row.reason for row in dataset.dropped] == [NO_LABEL, NO_LABEL, BAD_LABEL, BAD_LABEL]
    assert len(dataset) == 1


def test_the_first_slot_and_the_strength_of_a_preference_are_kept(tmp_path):
    pair = read(tmp_path, PUBLISHED["helpsteer3"][0]).pairs[0]
    assert pair.scores["pair"] == {"first_won": 0.0, "overall_preference": 3.0}


def test_more_than_two_sides_and_sides_without_a_prompt_are_refused(tmp_path):
    with pytest.raises(DataError, match="more than two sides.*'response_c'"):
        read(tmp_path, AB | {"response_c": " Red.", "winner": "a"})
    three = {"prompt": "Sky?", "image_0": "a.png", "image_1": "b.png", "image_2": "c.png", "winner": 1}
    with pytest.raises(DataError, match="more than two sides.*'image_2'"):
        read(tmp_path, three)
    with pytest.raises(DataError, match="no prompt.*columns="):
        read(tmp_path, {"response_a": "x", "response_b": "y", "winner": "a", "topic": "sky"})
    with pytest.raises(DataError, match="ties is drop or soft"):
        read(tmp_path, AB | {"winner": "a"}, ties="keep")


PANDALM = next((p for p in Path(__file__).parents if (p / "shared/data").is_dir()), Path("absent"))
PANDALM = PANDALM / "shared/data/text_prefs/pandalm_human.jsonl"


@pytest.mark.skipif(not PANDALM.is_file(), reason="PandaLM's votes are not there")
def test_pandalms_votes_read_with_their_majority_as_the_winner():
    dataset = read_pairs(PANDALM)
    rows = {row["id"]: row for row in map(json.loads, PANDALM.read_text().splitlines())}
    assert dataset.format == "two_sides" and len(dataset) + len(dataset.dropped) == len(rows)
    for pair in dataset.pairs:
        row = rows[pair.id]
        assert pair.chosen == row[f"response_{row['preferred']}"]


OUTCOMES = ("winner_model_a", "winner_model_b", "winner_tie")
LMSYS = {"id": 1, "model_a": "x", "model_b": "y", "prompt": '["Sky?"]', "response_a": '["Blue."]',
         "response_b": '["Green."]'}  # fmt: skip


def test_one_column_for_each_outcome_is_read_with_its_ties(tmp_path):
    rows = [LMSYS | {"id": i} | {name: int(k == i) for k, name in enumerate(OUTCOMES)} for i in range(3)]
    dataset = read(tmp_path, *rows, ties="soft")
    assert [(str(pair.chosen), pair.probability) for pair in dataset.pairs] == [
        ("assistant: Blue.", 1.0),
        ("assistant: Green.", 1.0),
        ("assistant: Blue.", 0.5),
    ]
    assert not set(OUTCOMES) & set(dataset.pairs[0].scores["pair"])
    assert [row.reason for row in read(tmp_path, *rows).dropped] == [TIE]


def test_turns_in_lists_become_a_conversation(tmp_path):
    row = LMSYS | {"prompt": ["Sky?", "Sea?"], "response_a": ["Blue.", "Blue."], "response_b": ["Green.", "Deep."]}
    bad = LMSYS | {"response_b": "[null]", "winner_model_a": 1}
    dataset = read(tmp_path, row | {"winner_model_a": 0, "winner_model_b": 1}, bad)
    (pair,) = dataset.pairs
    assert [str(pair.prompt), str(pair.chosen)] == ["user: Sky?", "assistant: Green.\nuser: Sea?\nassistant: Deep."]
    assert [row.reason for row in dataset.dropped] == ["empty candidate"]


def test_answers_that_are_lists_in_json_stay_texts_below_a_plain_prompt(tmp_path):
    row = LMSYS | {"prompt": "Give a list.", "winner_model_a": 1, "winner_model_b": 0}
    assert read(tmp_path, row).pairs[0].chosen == '["Blue."]'
