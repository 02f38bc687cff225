"""Display names: short, without paths, and different for different scorers."""

from diffalign.scorers.display_name import display_name, display_names

SHOWN = ["clip:a/x/judge", "clip:b/x/judge", "clip:y/judge", "clip"]


def test_a_folder_is_named_by_its_last_part_and_a_hub_name_stays(tmp_path, monkeypatch):
    (tmp_path / "assets" / "heldout").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert display_name("clip:assets/heldout") == display_name(f"clip:{tmp_path}/assets/heldout/") == "clip:heldout"
    for name in ("clip", "clip:openai/clip-vit-large-patch14", "background:red", "length", "reward:org/model"):
        assert display_name(name) == name
    assert display_name("clip:/gone/model") == "clip:model"


def test_equal_folder_names_are_told_apart_by_as_much_as_it_takes(tmp_path):
    names = [f"clip:{tmp_path}/{part}/judge" for part in ("a/x", "b/x", "c/y")]
    for name in names:
        (tmp_path / name.partition(str(tmp_path) + "/")[2]).mkdir(parents=True)
    assert list(display_names([*names, "clip"]).values()) == [
        "clip:a/x/judge",
        "clip:b/x/judge",
        "clip:y/judge",
        "clip",
    ]
    assert len(set(display_names([names[0], names[0].replace("clip", "hit")]).values())) == 2


def test_a_choice_before_a_folder_stays_in_the_name(tmp_path):
    assert display_name(f"video_reward:MQ:{tmp_path}/judge") == "video_reward:MQ:judge"
    assert display_name("video_reward:MQ") == "video_reward:MQ"
    assert display_name("video_reward:MQ:org/model") == "video_reward:MQ:org/model"
