"""Display names: as papers write them, without paths, and different for different scorers."""

import pytest

from diffalign.scorers import SCORERS
from diffalign.scorers.display_name import FAMILIES, PUBLISHED, display_name, display_names


@pytest.mark.parametrize(
    "name, shown",
    [
        ("pickscore", "PickScore"),
        ("hpsv2.1", "HPSv2.1"),
        ("hpsv2.1:/data/HPS_v2.1_compressed.pt", "HPSv2.1"),
        ("image_reward", "ImageReward"),
        ("aesthetic:/data/head.pth", "LAION aesthetic"),
        ("aesthetic:v1:/data/head.pth", "LAION aesthetic v1"),
        ("clip", "CLIP L/14"),
        ("clip:laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "CLIP H/14"),
        ("clip:open_clip:ViT-H-14/laion2b_s32b_b79k", "CLIP H/14"),
        ("clip:google/siglip-base-patch16-224", "CLIP google/siglip-base-patch16-224"),
        ("clip:open_clip:ViT-B-32//data/secret/file.pt", "CLIP ViT-B-32/file.pt"),
        ("clip:open_clip:/data/secret/model", "CLIP model"),
        ("clip:/gone/model", "CLIP model"),
        ("clip_iqa:sharpness", "CLIP-IQA sharpness"),
        ("frames:hpsv2.1", "frame-mean HPSv2.1"),
        ("frames:clip:/gone/model", "frame-mean CLIP model"),
        ("frames:background:red", "frames:background:red"),
        ("function:/home/me/rewards.py:redness", "function:rewards.py:redness"),
        ("label_hit:/gone/recogniser", "label_hit:recogniser"),
        ("background:red", "background:red"),
        ("length", "length"),
        ("reward:org/model", "reward:org/model"),
    ],
)
def test_a_scorer_is_named_as_papers_write_it_and_never_by_a_path(name, shown):
    assert display_name(name) == shown and display_names([name]) == {name: shown}


def test_a_folder_is_named_by_its_last_part(tmp_path, monkeypatch):
    (tmp_path / "assets" / "heldout").mkdir(parents=True)
    (tmp_path / "assets" / "judge").mkdir()
    monkeypatch.chdir(tmp_path)
    assert display_name("clip:assets/heldout") == display_name(f"clip:{tmp_path}/assets/heldout/") == "held-out CLIP"
    assert display_name("clip:assets/judge") == "CLIP judge"


def test_equal_folder_names_are_told_apart_by_as_much_as_it_takes(tmp_path):
    names = [f"clip:{tmp_path}/{part}/judge" for part in ("a/x", "b/x", "c/y")]
    for name in names:
        (tmp_path / name.partition(str(tmp_path) + "/")[2]).mkdir(parents=True)
    assert list(display_names([*names, "clip"]).values()) == [
        "CLIP a/x/judge",
        "CLIP b/x/judge",
        "CLIP y/judge",
        "CLIP L/14",
    ]
    assert len(set(display_names([names[0], names[0].replace("clip", "hit")]).values())) == 2
    assert list(display_names(["pickscore", "pickscore:/a/tuned", "pickscore:/b/tuned"]).values()) == [
        "PickScore",
        "PickScore a/tuned",
        "PickScore b/tuned",
    ]


def test_two_names_of_one_scorer_stay_as_they_are():
    names = ["clip", "clip:openai/clip-vit-large-patch14"]
    assert list(display_names(names).values()) == names


def test_every_titled_scorer_is_a_row_of_the_table():
    assert set(PUBLISHED) | set(FAMILIES) <= set(SCORERS)


def test_files_and_bases_before_and_after_a_model_lose_their_paths(tmp_path):
    assert display_name(f"implicit_reward:{tmp_path}/run:{tmp_path}/base") == "implicit_reward:run:base"
    assert display_name(f"judge:{tmp_path}/mine.yaml:{tmp_path}/chat") == "judge:mine.yaml:chat"
