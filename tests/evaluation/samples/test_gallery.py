"""Claims about galleries: any prompt comes back, nothing outside the folder is read, bad rows are named."""

import json

import pytest
from PIL import Image

from diffalign.errors import DataError, RunError, UserError
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.evaluation.scoring.score_samples import score_folder
from tests.evaluation.fakes import PlainPolicy, TalkingPolicy

ODD = "a fox\u2028on a\x85hill\x0b\u2029"


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (8, 8), (196, 30, 48)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path.parent / "secret.png")
    (tmp_path.parent / "secret.txt").write_text("the secret")
    return tmp_path


def _write(folder, *rows):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.mark.parametrize("policy", [PlainPolicy(), TalkingPolicy()])
def test_prompts_with_any_line_separator_survive_generation_and_scoring(policy, tmp_path):
    gallery = generate(policy, [ODD, "b"], [1, 2], tmp_path)
    assert read_gallery(tmp_path) == gallery and [s.prompt for s in gallery.samples] == [ODD, ODD, "b", "b"]
    score_folder(tmp_path, ["background:red" if policy.medium == "image" else "length"])
    assert read_gallery(tmp_path) == gallery
    _write(tmp_path, *({"file_name": s.path.name, "prompt": s.prompt, "seed": s.seed} for s in gallery.samples))
    assert read_gallery(tmp_path) == gallery  # as other programs write it: not escaped


@pytest.mark.parametrize(
    "name", ["../secret.txt", "../secret.png", "/etc/passwd", "sub/../../secret.png", "a\0.png", "..", "."]
)
def test_a_gallery_reads_nothing_outside_its_folder(name, folder):
    _write(folder, {"file_name": "a.png", "prompt": "p"}, {"file_name": name, "prompt": "p"})
    with pytest.raises(DataError, match=r"line 2: the file .* lies outside the folder and is not read"):
        read_gallery(folder)
    with pytest.raises(DataError, match="outside"):
        score_folder(folder, ["background:red"])


def test_a_link_within_the_folder_was_made_by_its_owner(folder):
    (folder / "b.png").symlink_to(folder.parent / "secret.png")
    _write(folder, {"file_name": "b.png", "prompt": "p"})
    assert read_gallery(folder).samples[0].path == folder / "b.png"


@pytest.mark.parametrize(
    "row",
    [
        {"file_name": "a.png", "prompt": ["p"]},
        {"file_name": "a.png", "prompt": None},
        {"file_name": {"bytes": "x"}, "prompt": "p"},
        {"file_name": "a.png", "prompt": "p", "seed": float("inf")},
        {"file_name": "a.png", "prompt": "p", "seed": "x"},
        {"file_name": "x" * 5000, "prompt": "p"},
        {"file_name": "gone.png", "prompt": "p"},
        {"file_name": "a.png"},
        "text",
    ],
)
def test_a_row_of_another_kind_is_named(row, folder):
    _write(folder, {"file_name": "a.png", "prompt": "p"}, row)
    with pytest.raises(DataError, match="line 2"):
        read_gallery(folder)


def test_half_a_surrogate_pair_is_refused_before_anything_is_made(folder):
    (folder / "metadata.jsonl").write_text(r'{"file_name": "a.png", "prompt": "\ud83d"}')
    with pytest.raises(DataError, match=r"line 1: .*\\ud83d alone is half a surrogate pair"):
        read_gallery(folder)
    with pytest.raises(UserError, match=r"\\ud83d alone is half"):
        read_prompts(["a fox", "x\ud83d"])
    (folder / "prompts.txt").write_text(f"{ODD}b\n\nc\n")
    assert read_prompts([f"@{folder / 'prompts.txt'}"]) == [f"{ODD}b", "c"]


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '"\\ud800"'])
def test_facts_of_a_gallery_that_are_damaged_are_named(content, folder):
    _write(folder, {"file_name": "a.png", "prompt": "p"})
    (folder / "made_by.json").write_text(content)
    with pytest.raises(DataError, match=r"made_by\.json .*Delete it"):
        read_gallery(folder)
    with pytest.raises((DataError, RunError), match=r"made_by\.json"):
        generate(PlainPolicy(), ["p"], [1], folder)


def test_metadata_that_is_cut_short_is_named_as_such(folder):
    _write(folder, {"file_name": "a.png", "prompt": "p"})
    path = folder / "metadata.jsonl"
    path.write_text(path.read_text() + '{"file_name": "b.png", "pro')
    with pytest.raises(DataError, match=r"line 2: not JSON .*if the file was cut short, copy or write it again"):
        score_folder(folder, ["background:red"])


def test_scores_that_are_no_table_are_named_and_the_file_stays(folder):
    _write(folder, {"file_name": "a.png", "prompt": "p", "scores": [1]})
    before = (folder / "metadata.jsonl").read_text()
    with pytest.raises(DataError, match="line 1: expected an object with scores by scorer"):
        score_folder(folder, ["background:red"])
    assert (folder / "metadata.jsonl").read_text() == before
