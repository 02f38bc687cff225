"""Sources of single samples: folders with and without a table, tables of files, bytes and texts, and a model."""

import json

import pytest
from PIL import Image

from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.records.conversation import Conversation
from diffalign.errors import DataError, UserError
from diffalign.evaluation.scoring.score_samples import score_samples
from diffalign.evaluation.scoring.sources import open_samples
from tests.data.fixtures import encoded, jsonl, parquet, vote
from tests.evaluation.fakes import MovingPolicy
from tests.evaluation.scoring.test_score_pairs import call
from tests.evaluation.scoring.test_score_samples import rows_of
from tests.tiny import tiny_sd

RED, BLUE = (196, 30, 48), (36, 84, 204)


@pytest.fixture
def bare(tmp_path):
    """A folder of three images without a table; one has a caption."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name, colour in (("a.png", RED), ("b.jpg", BLUE), ("c.webp", RED)):
        Image.new("RGB", (16, 16), colour).save(folder / name)
    (folder / "b.txt").write_text("a blue owl\n")
    (folder / ".hidden.png").write_bytes(b"nothing")
    return folder


def sides(samples):
    return [(e.name, e.sides[0][0] if e.has_prompt else None) for e in samples]


def test_a_bare_folder_takes_one_prompt_for_all_one_for_each_or_captions_of_the_same_name(bare):
    names = ["a.png", "b.jpg", "c.webp"]
    assert sides(open_samples(bare)) == list(zip(names, [None, "a blue owl", None], strict=True))
    assert sides(open_samples(bare, ["a fox"])) == [(name, "a fox") for name in names]
    assert sides(open_samples(bare, ["x", "y", "z"])) == list(zip(names, "xyz", strict=True))
    with pytest.raises(UserError, match="holds 3 files, and there are 2 prompts"):
        open_samples(bare, ["x", "y"])


def test_scorers_that_read_no_prompt_need_none_and_others_say_how_to_give_one(bare):
    output = call("score", bare, "--scorer", "background:red")
    assert "background:red: 0.6667" in output and rows_of(bare / "scores" / "samples.jsonl")[0]["prompt"] is None
    with pytest.raises(DataError, match="a.png has no prompt, which background:prompt reads. .*--prompt"):
        call("score", bare, "--scorer", "background:red", "--scorer", "background:prompt")
    lines = bare.parent / "prompts.txt"
    lines.write_text("a red fox\na blue owl\na red cat\n")
    assert "background:prompt: 1.0000" in call("score", bare, "--scorer", "background:prompt", "--prompts", f"@{lines}")
    assert "0.6667" in call("score", bare, "--scorer", "background:prompt", "--prompt", "on red")


def test_a_folder_of_text_files_is_scored_without_prompts(tmp_path):
    (tmp_path / "a.txt").write_text("one two")
    (tmp_path / "b.txt").write_text("one two three four")
    assert "length: 3.0000" in call("score", tmp_path, "--scorer", "length")


def test_a_bare_folder_of_clips_is_scored_and_a_picture_among_them_is_named(tmp_path):
    for n in (1, 2):
        write_clip(tmp_path / f"{n}.webp", MovingPolicy().clip(3, n))
    samples = open_samples(tmp_path)
    assert samples.medium == "video" and not score_samples(samples, ["flow_motion"], batch=1).bad
    Image.new("RGB", (32, 32), RED).save(tmp_path / "3.png")
    (bad,) = score_samples(open_samples(tmp_path), ["flow_motion"]).bad
    assert "3.png' is no clip: it holds 1 image" in bad
    with pytest.raises(UserError, match=r"'background:red' judges images, but .* holds clips"):
        call("score", tmp_path, "--scorer", "background:red")


@pytest.mark.parametrize("prompt", ["prompt", "caption", "text"])
def test_a_table_of_bytes_or_of_files_is_scored_row_by_row(tmp_path, prompt):
    images = [encoded(Image.new("RGB", (16, 16), colour)) for colour in (RED, BLUE)]
    path = parquet(tmp_path / "a.parquet", [{"image": {"bytes": b, "path": None}, prompt: "on red"} for b in images])
    call("score", path, "--scorer", "background:prompt")
    rows = rows_of(tmp_path / "a.scores.samples.jsonl")
    assert [(row["sample"], row["score"]) for row in rows] == [("a.parquet:0", 1.0), ("a.parquet:1", 0.0)]
    for n, content in enumerate(images):
        (tmp_path / f"{n}.png").write_bytes(content)
    table = tmp_path / "b.csv"
    table.write_text(f"file_name,{prompt}\n0.png,on red\n1.png,on blue\n2.png,on red\n../3.png,on red\n")
    with pytest.raises(DataError, match="2 samples could not be scored.*b.csv:4: missing file.*b.csv:5: file outside"):
        call("score", table, "--scorer", "background:prompt")
    assert [row["score"] for row in rows_of(tmp_path / "b.scores.samples.jsonl")] == [1.0, 1.0, None, None]


def test_a_table_of_texts_plain_in_turns_or_without_prompts_is_scored(tmp_path):
    turns = [{"role": "assistant", "content": "It was wonderful!"}]
    rows = [
        {"prompt": "How?", "completion": "It was terrible.", "label": False},
        {"prompt": "How?", "completion": turns},
    ]
    call("score", jsonl(tmp_path / "a.jsonl", rows), "--scorer", "sentiment", "--scorer", "length")
    found = rows_of(tmp_path / "a.scores.samples.jsonl")
    assert found[0]["score"] < 0 < found[1]["score"] and [row["score"] for row in found[2:]] == [3, 3]
    call("score", jsonl(tmp_path / "b.jsonl", [{"text": "one two"}]), "--scorer", "length")
    assert rows_of(tmp_path / "b.scores.samples.jsonl")[0]["score"] == 2
    call(
        "score",
        jsonl(tmp_path / "c.jsonl", [{"said": "one two"}]),
        "--scorer",
        "length",
        "--option",
        "columns={text: said}",
    )
    assert rows_of(tmp_path / "c.scores.samples.jsonl")[0]["score"] == 2


def test_tables_of_pairs_are_left_to_the_readers_of_pairs(tmp_path):
    assert open_samples(parquet(tmp_path / "votes.parquet", [vote(0)])) is None
    assert open_samples(jsonl(tmp_path / "a.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])) is None
    assert open_samples(jsonl(tmp_path / "b.jsonl", [{"prompt": "p", "completions": ["a"], "scores": [1]}])) is None
    assert open_samples("owner/name") is None
    with pytest.raises(UserError, match="has the prompts of its samples itself"):
        call("score", tmp_path / "a.jsonl", "--scorer", "length", "--prompt", "x")


def test_the_prompts_of_metadata_are_those_of_the_row_under_any_name(tmp_path):
    Image.new("RGB", (16, 16), RED).save(tmp_path / "a.png")
    for row in ({"prompt": "p"}, {"text": "p"}, {"caption": "p"}):
        (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", **row}) + "\n")
        assert sides(open_samples(tmp_path)) == [("a.png", "p")]
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    assert "1.0000" in call("score", tmp_path, "--scorer", "background:red")


def test_a_prompt_list_with_a_model_is_generated_and_scored_and_resumes(tmp_path):
    model, out = tiny_sd(tmp_path / "model"), tmp_path / "out"
    arguments = [
        "score",
        out,
        "--model",
        model,
        "--prompt",
        "on red",
        "--prompt",
        "on blue",
        "--seeds",
        2,
        "--steps",
        1,
    ]
    arguments += ["--scorer", "background:prompt", "--scorer", "background:red"]
    output = call(*arguments)
    assert "background:prompt: " in output and len(list(out.glob("*.png"))) == 4
    rows = rows_of(out / "scores" / "samples.jsonl")
    assert [row["prompt"] for row in rows] == ["on red", "on red", "on blue", "on blue"] * 2
    files = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    call(*arguments)
    assert files == {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    with pytest.raises(UserError, match="--model generates samples of --prompt into a folder"):
        call("score", out, "--model", model, "--scorer", "background:red")
    with pytest.raises(UserError, match="belong to a model. Add: --model"):
        call("score", out, "--adapter", "x", "--scorer", "background:red")
    with pytest.raises(UserError, match="nothing to score. Type: score SOURCE"):
        call("score", "--scorer", "background:red")


def test_turns_in_metadata_stay_turns(tmp_path):
    turns = [{"role": "assistant", "content": "x"}]
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"prompt": "p", "completion": turns}) + "\n")
    (example,) = open_samples(tmp_path)
    assert isinstance(example.sides[0][1], Conversation) and example.name == "metadata.jsonl:1"
