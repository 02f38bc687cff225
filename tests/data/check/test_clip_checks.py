"""Claims about the check of clips: what is said of them, and each fault that is planted is found."""

import numpy as np
import pytest
from PIL import Image

from diffalign.data.check.run import check_pairs
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.clip_facts import clip_facts
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair, PairSet
from tests.data.clips import moving, noise, write_video
from tests.data.fixtures import image


def _set(folder, sides):
    rows = []
    for number, (chosen, rejected) in enumerate(sides):
        paths = []
        for role, clip in (("chosen", chosen), ("rejected", rejected)):
            path = folder / f"{role}-{number}.webp"
            path.write_bytes(clip) if isinstance(clip, bytes) else write_clip(path, clip)
            paths.append(path)
        rows.append(Pair(str(number), f"thing {number}", *paths, source=f"set:{number}"))
    return PairSet(rows, [], "pair_folder", "set")


def _clip(number, step=2, **options):
    return moving(step=step, ground=30 + number, **options)


def _found(report):
    return {finding.what: finding for finding in report.findings}


def test_a_sound_set_of_clips_passes_and_its_clips_are_described(tmp_path):
    report = check_pairs(_set(tmp_path, [(_clip(n), _clip(n, 3)) for n in range(3)]), resolution=32)
    assert report.findings == []
    assert report.facts["candidates"] == "6 distinct: 6 video"
    assert report.facts["frames"] == "min 8, median 8, max 8"
    assert report.facts["seconds"] == "min 1.00, median 1.00, max 1.00"
    assert report.facts["frame rate"] == "min 8, median 8, max 8 per second"
    assert report.facts["short side"].startswith("min 32") and "chosen" in report.facts["movement"]


def test_still_clips_lengths_rates_and_mixed_pairs_are_found(tmp_path):
    still = Clip(np.repeat(noise(1).frames, 8, axis=0), 8.0)
    sides = [(still, _clip(0)), (_clip(1), _clip(2, frames=16)), (_clip(3), _clip(4, frames=24, fps=24.0))]
    data = _set(tmp_path, [*sides, (_clip(5), image())])
    found = _found(check_pairs(data))
    assert found["pairs with a clip in which nothing moves"].examples == ("set:0",)
    assert found["pairs of clips of different lengths"].examples == ("set:1: 1.00 and 2.00 seconds",)
    assert found["pairs of clips of different frame rates"].examples == ("set:2: 8 and 24 frames per second",)
    mixed = found["pairs of a clip and something else"]
    assert mixed.severity == "error" and mixed.examples == ("set:3",)


def test_findings_about_clips_call_them_clips(tmp_path):
    sides = [(_clip(n), _clip(n, size=24)) for n in range(20)]
    tall = Clip(moving().frames[:, :, :16], 8.0)
    report = check_pairs(_set(tmp_path, [*sides, (_clip(25), tall)]), resolution=32)
    assert {
        "pairs with a clip smaller than 32 pixels",
        "pairs of clips with different shapes",
        "the chosen candidate is the larger clip in 100% of the pairs where they differ",
    } <= set(_found(report))
    assert "image" not in str(report)


def test_labels_that_favour_less_movement_are_warned_of_and_the_reverse_is_not(tmp_path):
    quiet, lively = [_clip(n, 1) for n in range(10)], [_clip(n, 4) for n in range(10)]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    warned = check_pairs(_set(tmp_path / "a", list(zip(quiet, lively, strict=True)))).findings
    assert [f.what[:56] for f in warned] == ["chosen clips move less than rejected ones in 10 of 10 pa"]
    assert check_pairs(_set(tmp_path / "b", list(zip(lively, quiet, strict=True)))).findings == []


def test_movement_does_not_depend_on_the_rate_or_the_size(tmp_path):
    base = clip_facts(write_clip(tmp_path / "a.webp", moving(8)))
    thrice = Clip(np.repeat(moving(8).frames, 3, axis=0), 24.0)
    assert clip_facts(write_clip(tmp_path / "b.webp", thrice)).motion == pytest.approx(base.motion)
    large = Clip(moving(8, size=64, step=4).frames.repeat(2, axis=1).repeat(2, axis=2), 8.0)
    small = clip_facts(write_clip(tmp_path / "c.webp", moving(8, size=64, step=4)))
    found = clip_facts(write_clip(tmp_path / "d.webp", large))
    assert found.size == (128, 128) and found.motion == pytest.approx(small.motion, rel=0.02)
    assert not base.is_still


def test_clips_that_cannot_be_read_are_errors_with_name_and_reason(tmp_path):
    good = write_video(tmp_path / "a.mp4", noise())
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:3000])
    data = PairSet([Pair("1", "p", good, tmp_path / "cut.mp4", source="set:1")], [], "pair_folder", "set")
    bad = _found(check_pairs(data))["candidates that cannot be read"]
    assert bad.count == 1 and "cut.mp4' cannot be decoded" in bad.examples[0]


def test_repeated_clips_and_folders_of_frames_are_checked_too(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        for k, frame in enumerate(noise(3).frames):
            Image.fromarray(frame).save(tmp_path / name / f"{k}.png")
    data = PairSet([Pair("1", "p", tmp_path / "x", tmp_path / "y", source="set:1")], [], "pair_folder", "set")
    assert "pairs whose two candidates have the same content" in _found(check_pairs(data))


def test_a_folder_of_pairs_may_name_clips(tmp_path):
    data = _set(tmp_path, [(_clip(0), _clip(1))])
    row = '{"chosen_file_name": "chosen-0.webp", "rejected_file_name": "rejected-0.webp", "prompt": "p"}\n'
    (tmp_path / "metadata.jsonl").write_text(row)
    assert read_pairs(tmp_path).pairs[0].chosen == data.pairs[0].chosen


def test_votes_on_different_frames_do_not_contradict_each_other(tmp_path):
    one, two = (write_clip(tmp_path / f"{n}.webp", _clip(n)) for n in range(2))

    def found(*weights):
        sides = ((one, two), (two, one))
        pairs = [Pair(f"p{n}", "a fox", *sides[n], frame_weights=weights[n]) for n in range(2)]
        return "pairs with contradicting votes" in _found(check_pairs(PairSet(pairs)))

    assert not found((1.0, 0.0), (0.0, 1.0))
    assert found((1.0, 0.0), (1.0, 0.0)) and found((), ())
