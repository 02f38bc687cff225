"""Tables that no one meant to write are read, with rows dropped for a reason, or refused in a sentence."""

import csv
import gzip
import io
import json
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diffalign.data.check.run import check_pairs
from diffalign.data.media.clips.write_clip import encode_clip, write_clip
from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import unread_columns
from diffalign.errors import DataError
from tests.data.clips import noise, write_video
from tests.data.fixtures import image, turns, vote
from tests.mutations import mutated_bytes, mutated_values, try_all

TEXTS = [
    {"id": f"{n}", "prompt": f"q {n}?", "chosen": f"good {n}", "rejected": f"bad {n}", "chosen_score": n, "tie": False}
    for n in range(4)
]
TURNS = [
    {"prompt": turns("q"), "chosen": turns("q", f"good {n}"), "rejected": turns("q", f"bad {n}")} for n in range(3)
]
IMPLICIT = [
    {"chosen": f"\n\nHuman: q\n\nAssistant: good {n}", "rejected": "\n\nHuman: q\n\nAssistant: no"} for n in range(3)
]
RANKED = [{"prompt": "q", "completions": ["a", "b", f"c {n}"], "scores": [1, 2.5, -3]} for n in range(3)]
UNPAIRED = [{"prompt": "q", "completion": f"a {n}", "label": n % 2 == 0} for n in range(3)]
STEPS = [
    {"prompt": "q", "prefix": "so", "chosen_step": " a", "rejected_step": f" b{n}", "n_w": 3, "n_l": n}
    for n in range(3)
]
VOTES = [vote(n) for n in range(3)]
MARKS = ("visual quality", "temporal consistency", "dynamic degree", "text-to-video alignment", "factual consistency")
CLIPS = {
    "videodpo": [{"video1": n, "video2": n + 1, "frame_caption": ["a fox"], "score": 0.2} for n in range(3)],
    "videodpo_clips": [{"basic": {"clip_path": f"{n}.webp", "clip_duration": 2.0}, "misc": {}} for n in range(4)],
    "videofeedback": [
        {"id": f"p{n}", "images": [f"p{n}_0.png", f"p{n}_1.png"], "text prompt": "a fox", **dict.fromkeys(MARKS, n + 1)}
        for n in range(3)
    ],
    "videoalign": [
        {"path_A": "0.webp", "path_B": "1.webp", "prompt": f"p {n}", "VQ": "A", "MQ": "B", "TA": "B", "MOS_A_VQ": 1.5}
        for n in range(3)
    ],
    "genai_bench": [
        {"prompt": f"p {n}", "left_video": "0.webp", "right_video": "1.webp", "vote_type": "leftvote"} for n in range(3)
    ],
    "genai_bench_frames": [
        {"id": f"0_{side}", "images": [f"p{n}_0.png", f"p{n}_1.png"], "preference": n, "prompt": "a fox"}
        for n, side in enumerate(("left", "right"))
    ],
    "mj_video": [
        {
            "caption": f"p {n}",
            "video_0_path": "0.webp",
            "video_1_path": "1.webp",
            "overall_preference": "Video 1 Better",
            "category_preference": {"Alignment": "Same"},
            "discard": False,
        }
        for n in range(3)
    ],
}
FORMATS = {"texts": TEXTS, "turns": TURNS, "implicit": IMPLICIT, "ranked": RANKED, "unpaired": UNPAIRED, "steps": STEPS}


def _jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


def _csv(rows, delimiter=","):
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    return file.getvalue()


def _arrow(rows):
    file, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _read(folder, suffix, content):
    """Everything that commands do with a table before a model is loaded: read, decode, check, and its other columns.

    Raises:
        DataError: The table is refused, or one of its rows is left out with a reason.
    """
    path = folder / f"{len(list(folder.iterdir()))}{suffix}"  # a new one each time: files stay open, memory-mapped
    path.write_bytes(content)
    data = read_pairs(path, bad_images="drop")
    assert data.summary() and len(list(data.pairs)) == len(data)
    check_pairs(data)
    list(unread_columns(path))
    if data.dropped:
        raise DataError(f"{data.dropped[0].reason}: {data.dropped[0].detail}")


def _trial(tmp_path, kind, suffix, inputs):
    try_all(kind, partial(_read, tmp_path, suffix), inputs).check()


@pytest.mark.parametrize("name", FORMATS)
def test_json_lines_of_every_format(name, tmp_path):
    changed = (
        (fault, _jsonl(rows)) for fault, rows in mutated_values(FORMATS[name], 120, seed=1) if isinstance(rows, list)
    )
    _trial(tmp_path, f"rows of {name}", ".jsonl", changed)
    _trial(tmp_path, f"files of {name}", ".jsonl", mutated_bytes(_jsonl(FORMATS[name]), 42, seed=2))


@pytest.mark.parametrize("name", CLIPS)
def test_json_lines_of_every_format_of_clips(name, tmp_path):
    for n in range(4):
        write_clip(tmp_path / f"{n}.webp", noise(2, 8, 8, seed=n))
        for k in range(2):
            (tmp_path / f"p{n}_{k}.png").write_bytes(image(2 * n + k))
    (tmp_path / "metadata.json").write_text(json.dumps(CLIPS["videodpo_clips"]))
    (tmp_path / "pair.json").write_text(json.dumps(CLIPS["videodpo"]))
    _read(tmp_path, ".jsonl", _jsonl(CLIPS[name]))
    changed = (
        (fault, _jsonl(rows)) for fault, rows in mutated_values(CLIPS[name], 60, seed=5) if isinstance(rows, list)
    )
    _trial(tmp_path, f"rows of {name}", ".jsonl", changed)


@pytest.mark.parametrize("kind", ["webp", "gif", "mp4", "mkv"])
def test_clips_within_tables(kind, tmp_path):
    good = _clip(tmp_path, kind)
    bad = list(mutated_bytes(good, 42, seed=6))
    rows = (
        (name, _parquet([{"prompt": "p", "chosen": data, "rejected": _clip(tmp_path, "webp")}])) for name, data in bad
    )
    (tmp_path / "tables").mkdir()
    _trial(tmp_path / "tables", f"{kind} clips in tables", ".parquet", rows)


def _clip(folder, kind):
    if kind == "webp":
        return encode_clip(noise(6))
    if kind != "gif":
        return write_video(folder / f"a.{kind}", noise(12), "mpeg4", "yuv420p").read_bytes()
    first, *rest = (Image.fromarray(frame) for frame in noise(6).frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=120)
    return file.getvalue()


@pytest.mark.parametrize(
    ("suffix", "write", "rows"),
    [
        (".json", lambda rows: json.dumps(rows).encode(), TEXTS),
        (".csv", _csv, TEXTS),
        (".tsv", partial(_csv, delimiter="\t"), TEXTS),
        (".jsonl.gz", _jsonl, TEXTS),
        (".parquet", _parquet, TEXTS),
        (".parquet", _parquet, VOTES),
        (".parquet", _parquet, TURNS),
        (".arrow", _arrow, TEXTS),
        (".arrow", _arrow, VOTES),
    ],
)
def test_files_of_every_kind(suffix, write, rows, tmp_path):
    content = write(rows)
    if suffix.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    _trial(tmp_path, f"{suffix} files", suffix, mutated_bytes(content, 84, seed=3))


def test_images_within_tables(tmp_path):
    bad = list(mutated_bytes(image(3, format="JPEG"), 56, seed=4))
    _trial(tmp_path, "images in tables", ".parquet", ((name, _parquet([vote(0, jpg_0=data)])) for name, data in bad))
