"""Claims about the published formats of video preferences: each is read as its authors mean it."""

import csv
import json
from zlib import crc32

import pytest

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import encode_clip, write_clip
from diffalign.data.readers import detect_format, read_pairs
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    FILTERED,
    IDENTICAL,
    MISSING_FILE,
    NO_LABEL,
    OUTSIDE,
    TIE,
)
from diffalign.data.storage.frame_files import FrameFiles
from diffalign.data.transforms.weight_by_rarity import write_rarity_weights
from diffalign.errors import DataError
from tests.data.clips import noise
from tests.data.fixtures import image, jsonl, parquet


def _videos(folder, *names):
    for seed, name in enumerate(names):
        write_clip(folder / name, noise(3, seed=seed))


def _json(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    return path


def _names(pairs):
    return [(pair.chosen.name, pair.rejected.name) for pair in pairs]


def _reasons(data):
    return [row.reason for row in data.dropped]


# VideoDPO


def videodpo(folder, durations=(2.0, 0.5, 2.0, 1.0, 0.99, 3.0), pairs=None, path="{}"):
    clips = [
        {"basic": {"clip_path": path.format(f"{n}.webp"), "clip_duration": seconds}, "misc": {"frame_caption": ["a"]}}
        for n, seconds in enumerate(durations)
    ]
    _videos(folder, *(f"{n}.webp" for n in range(len(durations))))
    _json(folder / "metadata.json", clips)
    _json(
        folder / "pair.json",
        pairs
        or [
            {"video1": 3, "video2": 1, "frame_caption": ["a fox runs"], "score": 0.18},
            {"video1": 0, "video2": 2, "frame_caption": "a dog", "score": 0.72},
        ],
    )
    return folder


def test_videodpo_counts_the_clips_that_are_left_after_short_ones_were_removed(tmp_path):
    data = read_pairs(videodpo(tmp_path))
    assert data.format == "videodpo" and data.dropped == []
    assert _names(data.pairs) == [("5.webp", "2.webp"), ("0.webp", "3.webp")]
    assert data.pairs[0].prompt == "a fox runs" and data.pairs[0].scores == {"pair": {"score": 0.18}}
    assert read_pairs(tmp_path / "pair.json").pairs == data.pairs


def test_videodpo_s_scores_become_its_weights(tmp_path):
    pairs = [{"video1": 0, "video2": 1, "frame_caption": "a", "score": p} for p in (0.72, 0.36, 0.09)]
    found = read_pairs(videodpo(tmp_path, pairs=pairs))
    table = write_rarity_weights(found, tmp_path / "weights.jsonl", probability="score", alpha=0.5)
    assert [table.rows[pair.id][0] for pair in found.pairs] == pytest.approx([1, 2**0.5, 8**0.5])


def test_videodpo_folders_count_their_own_clips_and_paths_of_another_machine_are_found(tmp_path):
    videodpo(tmp_path / "a", path="/home/someone/data/{}")
    videodpo(tmp_path / "b", durations=(2.0, 2.0, 2.0, 2.0), path="../../../secret/{}")
    data = read_pairs(tmp_path)
    assert [(p.chosen.parent.name, p.chosen.name) for p in data.pairs] == [
        ("a", "5.webp"),
        ("a", "0.webp"),
        ("b", "3.webp"),
        ("b", "0.webp"),
    ]


def test_bad_rows_of_videodpo(tmp_path):
    good = {"video1": 0, "video2": 1, "frame_caption": "a"}
    bad = [{**good, "video1": 4}, {**good, "video2": -1}, {**good, "video1": "0"}, {**good, "video1": 1}]
    data = read_pairs(videodpo(tmp_path, pairs=[good, *bad]))
    assert _reasons(data) == [BAD_ROW, BAD_ROW, BAD_ROW, IDENTICAL]
    (tmp_path / "pair.json").unlink()
    with pytest.raises(DataError, match=r"pair\.json' is missing: the videodpo format"):
        read_pairs(tmp_path)
    _json(tmp_path / "pair.json", [good])
    _json(tmp_path / "metadata.json", [{"basic": {"clip_path": "0.webp"}, "misc": {}}])
    with pytest.raises(DataError, match="clip_duration.*would shift"):
        read_pairs(tmp_path)


# VideoFeedback


MARKS = ("visual quality", "temporal consistency", "dynamic degree", "text-to-video alignment", "factual consistency")


def _marked(folder, name, prompt, marks, **changes):
    for k in range(3):
        path = folder / "images" / name / f"{name}_{k:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(crc32(name.encode()) + k, format="JPEG"))
    frames = [f"{name}_{k:02d}.jpg" for k in range(3)]
    row = {"id": name, "images": frames, "text prompt": prompt, "video link": "", "conversations": []}
    return {**row, **dict(zip(MARKS, marks, strict=True)), **changes}


def test_videofeedback_pairs_clips_of_one_prompt_without_a_reversed_mark(tmp_path):
    rows = [
        _marked(tmp_path, "p1", "a fox", (3, 3, 3, 3, 3)),
        _marked(tmp_path, "p2", "a fox", (2, 3, 3, 3, 2)),
        _marked(tmp_path, "p3", "a fox", (4, 3, 3, 3, 1)),
        _marked(tmp_path, "p4", "a dog", (1, 1, 1, 1, 1)),
        _marked(tmp_path, "p5", "a cat", (2, 2, 2, 2, 2)),
        _marked(tmp_path, "p6", "a cat", (2, 2, 2, 2, 3)),
    ]
    data = read_pairs(parquet(tmp_path / "annotated.parquet", rows))
    assert data.format == "videofeedback" and [pair.id for pair in data.pairs] == ["p1-p2"]
    pair = data.pairs[0]
    assert isinstance(pair.chosen, FrameFiles) and [f.name for f in pair.chosen.files] == rows[0]["images"]
    assert pair.scores["chosen"]["visual quality"] == 3 and pair.scores["rejected"]["visual quality"] == 2
    assert open_clip(pair.chosen).fps == 8 and len(open_clip(pair.chosen)) == 3
    assert sorted(_reasons(data)) == sorted([TIE, NO_LABEL, TIE, TIE])
    closer = read_pairs(tmp_path / "annotated.parquet", gap=1, fps=12.0)
    assert [p.id for p in closer.pairs] == ["p1-p2", "p6-p5"] and closer.pairs[0].chosen.fps == 12


def test_bad_rows_of_videofeedback(tmp_path):
    rows = [
        _marked(tmp_path, "p1", "a fox", (3, 3, 3, 3, 3)),
        _marked(tmp_path, "p2", "a fox", (1, 1, 1, 1, 1)),
        _marked(tmp_path, "p3", "a fox", (1, 1, 1, 1, 5)),
        _marked(tmp_path, "p4", "a fox", (1, 1, 1, 1, 1), images=["gone_00.jpg"]),
        _marked(tmp_path, "p5", "a fox", (1, 1, 1, 1, 1), images=["p5_00.jpg", "p5_09.jpg"]),
        _marked(tmp_path, "p6", "a fox", (1, 1, 1, 1, 1), images=["../../p6_00.jpg"]),
    ]
    data = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert len(data) == 1 and _reasons(data) == [BAD_LABEL, MISSING_FILE, MISSING_FILE, MISSING_FILE]
    for wrong in ({"gap": 0}, {"fps": -1}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            read_pairs(tmp_path / "a.jsonl", **wrong)


# VideoAlign


def videoalign(path, *rows, **columns):
    base = {
        "prompt": "A girl sits, warm light.",
        "fps_A": "24.0",
        "num_frames_A": "126.0",
        "MOS_A_VQ": "3.5",
        **columns,
    }
    _videos(path.parent / "videos", "1_A.webp", "1_B.webp")
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["path_A", "path_B", "prompt", "VQ", "MQ", "TA", *list(base)[1:]])
        table.writeheader()
        for votes in rows:
            paths = {"path_A": "videos/1_A.webp", "path_B": "./videos/1_B.webp"}
            table.writerow({**base, **paths, **dict(zip(("VQ", "MQ", "TA"), votes, strict=True))})
    return path


@pytest.mark.parametrize(
    "label, votes, chosen",
    [
        ("VQ", ("B", "same", "A"), "1_B.webp"),
        ("TA", ("B", "same", "A"), "1_A.webp"),
        ("MQ", ("B", "same", "A"), TIE),
        ("MQ", ("B", "unclear", "A"), NO_LABEL),
        ("majority", ("B", "same", "A"), TIE),
        ("majority", ("B", "B", "A"), "1_B.webp"),
        ("majority", ("invalid", "same", "A"), "1_A.webp"),
        ("majority", ("invalid", "invalid", ""), NO_LABEL),
    ],
)
def test_videoalign_reads_one_vote_or_the_majority(tmp_path, label, votes, chosen):
    path = videoalign(tmp_path / "train.csv", votes, ("A", "A", "A"))
    data = read_pairs(path, label=label)
    assert data.format == "videoalign"
    if chosen in (TIE, NO_LABEL):
        assert _reasons(data) == [chosen] and len(data) == 1
        return
    assert data.pairs[0].chosen.name == chosen and data.pairs[0].prompt == "A girl sits, warm light."
    side = "chosen" if chosen == "1_A.webp" else "rejected"
    assert data.pairs[0].scores[side] == {"MOS_VQ": 3.5}


def test_videoalign_s_overall_vote_is_read_where_it_is_named(tmp_path):
    path = videoalign(tmp_path / "bench.csv", ("A", "A", "A"), Overall="B")
    assert _names(read_pairs(path, label="Overall").pairs) == [("1_B.webp", "1_A.webp")]
    with pytest.raises(DataError, match="label is one of VQ, MQ, TA, majority, Overall.*Did you mean 'VQ'"):
        read_pairs(path, label="VQQ")
    with pytest.raises(DataError, match="lacks the column 'Overall'"):
        read_pairs(videoalign(tmp_path / "train.csv", ("A", "A", "A")), label="Overall")


# GenAI-Bench


def test_genai_bench_reads_votes_on_videos_and_both_bad_is_no_tie(tmp_path):
    _videos(tmp_path, "l.webp", "r.webp")
    votes = ("leftvote", "rightvote", "tievote", "bothbad_vote", "neither", "")
    base = {"prompt": "a fox", "left_model": "x", "right_model": "y", "left_video": "l.webp", "right_video": "r.webp"}
    path = jsonl(tmp_path / "a.jsonl", [{**base, "vote_type": vote} for vote in votes])
    data = read_pairs(path)
    assert data.format == "genai_bench"
    assert _names(data.pairs) == [("l.webp", "r.webp"), ("r.webp", "l.webp")]
    assert _reasons(data) == [TIE, FILTERED, BAD_LABEL, NO_LABEL]
    assert [pair.probability for pair in read_pairs(path, ties="soft").pairs] == [1, 1, 0.5]
    with pytest.raises(DataError, match="ties is drop or soft"):
        read_pairs(path, ties="keep")


def test_genai_bench_s_videos_may_be_bytes_in_the_table(tmp_path):
    sides = {
        f"{side}_video": {"bytes": encode_clip(noise(3, seed=n)), "path": None}
        for n, side in enumerate(("left", "right"))
    }
    data = read_pairs(parquet(tmp_path / "a.parquet", [{"prompt": "a fox", **sides, "vote_type": "rightvote"}]))
    assert open_clip(data.pairs[0].chosen) == noise(3, seed=1)


def test_genai_bench_in_frames_joins_the_two_rows_of_a_vote(tmp_path):
    def side(name, preference, **changes):
        row = _marked(tmp_path, name, "a fox", (1, 1, 1, 1, 1))
        row = {"id": name, "images": row["images"], "text prompt": "a fox", "preference": preference}
        return {**row, **changes}

    rows = [
        side("0000_left", 0),
        side("0000_right", 1),
        side("0001_right", 0),
        side("0001_left", 1),
        side("0002_left", 1),
        side("0002_right", 1),
        side("0003_left", 1),
        side("0004_left", 1, id="0004"),
    ]
    data = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert data.format == "genai_bench_frames" and [pair.id for pair in data.pairs] == ["0000", "0001"]
    assert [pair.chosen.files[0].name for pair in data.pairs] == ["0000_right_00.jpg", "0001_left_00.jpg"]
    assert _reasons(data) == [TIE, BAD_ROW, NO_LABEL]
    assert len(read_pairs(tmp_path / "a.jsonl", ties="soft")) == 3


# MJ-Bench-Video


def _mj(preference, **changes):
    row = {"caption": "a dog", "video_0_path": "test/4_0.webp", "video_1_path": "test/4_1.webp", "discard": False}
    by_category = {"Alignment": "Video 2 better", "Coherence & Consistency": "Same"}
    return {**row, "overall_preference": preference, "category_preference": by_category, **changes}


def test_mj_video_calls_video_0_video_1_in_any_case(tmp_path):
    _videos(tmp_path / "test", "4_0.webp", "4_1.webp")
    words = ("Video 1 better", "Video 2 better", "Video 1 Better", "Same", "Hard to judge", "both")
    path = _json(tmp_path / "test.json", [*map(_mj, words), _mj(words[0], discard=True)])
    data = read_pairs(path)
    assert data.format == "mj_video"
    assert _names(data.pairs) == [("4_0.webp", "4_1.webp"), ("4_1.webp", "4_0.webp"), ("4_0.webp", "4_1.webp")]
    assert _reasons(data) == [TIE, NO_LABEL, BAD_LABEL, FILTERED]
    assert [p.scores["pair"]["first_won"] for p in data.pairs] == [1, 0, 1]


def test_mj_video_reads_one_category(tmp_path):
    _videos(tmp_path / "test", "4_0.webp", "4_1.webp")
    path = _json(tmp_path / "test.json", [_mj("Video 1 better")])
    assert read_pairs(path, label="Alignment").pairs[0].chosen.name == "4_1.webp"
    with pytest.raises(DataError, match="are ties"):
        read_pairs(path, label="Coherence & Consistency")
    with pytest.raises(DataError, match="has no 'Alinment'. Did you mean 'Alignment'"):
        read_pairs(path, label="Alinment")


# Formats of images and texts, with clips in them


@pytest.mark.parametrize("format", ["pair_folder", "trl", "two_sides"])
def test_formats_of_images_hold_clips_and_folders_of_frames(tmp_path, format):
    _videos(tmp_path, "a.webp", "b.webp")
    (tmp_path / "frames").mkdir()
    for k in range(3):
        (tmp_path / "frames" / f"{k}.png").write_bytes(image(k))
    rows = {
        "pair_folder": {"chosen_file_name": "a.webp", "rejected_file_name": "b.webp"},
        "trl": {"chosen": "a.webp", "rejected": "b.webp"},
        "two_sides": {"video_a": "a.webp", "video_b": "b.webp", "winner": "a"},
    }
    path = jsonl(tmp_path / "metadata.jsonl", [{"prompt": "a fox", **rows[format]}])
    data = read_pairs(path)
    assert data.format == format and _names(data.pairs) == [("a.webp", "b.webp")]
    row = {key: "frames" if value == "b.webp" else value for key, value in rows[format].items()}
    found = read_pairs(jsonl(path, [{"prompt": "a fox", **row, "fps": 12}])).pairs[0]
    assert len(open_clip(found.rejected)) == 3
    assert open_clip(found.rejected).fps == 12


def test_ranked_lists_and_winners_may_be_clips(tmp_path):
    _videos(tmp_path, "a.webp", "b.webp", "c.webp")
    row = {"prompt": "p", "completions": ["a.webp", "b.webp", "c.webp"], "scores": [1, 2, 3]}
    assert _names(read_pairs(jsonl(tmp_path / "ranked.jsonl", [row])).pairs) == [("c.webp", "a.webp")]
    winners = read_pairs(jsonl(tmp_path / "winners.jsonl", [{"prompt": "p", "file_name": "a.webp"}]))
    assert winners.format == "captioned" and open_clip(winners.pairs[0].chosen) == noise(3)


def test_a_wrong_rate_of_frames_and_an_empty_folder_drop_the_row(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(image())
    _videos(tmp_path, "a.webp")
    row = {"prompt": "p", "chosen_file_name": "a.webp", "rejected_file_name": "frames"}
    rows = [
        row,
        {**row, "rejected_fps": -2},
        {**row, "rejected_file_name": "none"},
        {**row, "rejected_file_name": ".."},
    ]
    assert _reasons(read_pairs(jsonl(tmp_path / "metadata.jsonl", rows))) == [BAD_ROW, MISSING_FILE, OUTSIDE]


def test_each_format_is_detected_by_the_columns_of_its_publication(tmp_path):
    assert detect_format(videoalign(tmp_path / "a.csv", ("A", "A", "A"))) == "videoalign"
    assert detect_format(videodpo(tmp_path / "v") / "pair.json") == "videodpo"
