"""Evaluators of clips on the embedded video model, and the distances that they compute."""

import json

import numpy as np
import pytest

from diffalign.data.media.clips.clip import Clip
from diffalign.errors import DataError, UserError
from evaluators import chrono_magic, vbench_clips
from evaluators.shared.clip_distances import frechet_distance, psnr, ssim
from tests.evaluators.test_programs import FAST, needs_assets, results


def some_clip(frames=5, side=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)


@needs_assets
def test_vbench_runs_whole_on_the_embedded_video_model_and_only_one_row_is_vbenchs(tmp_path):
    (table,) = vbench_clips.main(["--embedded", *FAST, "--output", str(tmp_path)])
    assert [row[0] for row in table.rows] == list(vbench_clips.DIMENSIONS)
    normalised = [row[5] for row in table.rows]
    assert normalised[0] == pytest.approx((table.rows[0][4].value - 0.6293) / (1 - 0.6293))
    assert all(value != value for value in normalised[1:])
    assert "image/webp" in (tmp_path / "report.html").read_text()


@needs_assets
def test_each_dimension_is_measured_on_its_own_prompts(tmp_path):
    prompts = [
        "a glossy drawing of a snowman on a green background, still",
        "one noto fish on a white background, upwards",
    ]
    rows = [
        {"prompt_en": prompts[0], "dimension": ["temporal_flickering", "color"]},
        {"prompt_en": prompts[1], "dimension": ["dynamic_degree", "temporal_flickering"]},
        {"prompt_en": "a red car", "dimension": ["color"]},
    ]
    (tmp_path / "full.json").write_text(json.dumps(rows))
    wanted = ["--dimension", "temporal_flickering", "--dimension", "dynamic_degree"]
    (table,) = vbench_clips.main(
        ["--embedded", *FAST, "--prompts", str(tmp_path / "full.json"), *wanted, "--output", str(tmp_path / "out")]
    )
    assert [(row[0], row[3]) for row in table.rows] == [("temporal_flickering", 2), ("dynamic_degree", 1)]
    with pytest.raises(UserError, match="no prompt is of motion_smoothness"):
        vbench_clips.main(
            ["--embedded", *FAST, "--prompts", str(tmp_path / "full.json"), "--dimension", "motion_smoothness"]
            + ["--output", str(tmp_path / "none")]
        )


@needs_assets
def test_chrono_magic_runs_whole_on_the_embedded_video_model(tmp_path):
    (table,) = chrono_magic.main(["--embedded", *FAST, "--output", str(tmp_path)])
    assert [row[1] for row in table.rows] == ["PSNR, dB", "SSIM", "FVD by --features"]
    assert results(tmp_path)["settings"]["features"] == "evaluators.shared.embedded:clip_features"


def count_points(frames):
    """A tracker of four points, one of which vanishes half way."""
    visible = np.ones((len(frames), 4), bool)
    visible[len(frames) // 2 :, 0] = False
    return visible


def colour_of(frame):
    return frame.reshape(-1, 3).mean(0)


def difference(one, two):
    return float(np.abs(one.astype(float) - two).mean())


def test_functions_of_the_users_give_fid_a_distance_and_chscore():
    made, real = Clip(some_clip(), 8), Clip(some_clip(seed=1), 8)
    functions = {"tracker": count_points, "frame_features": colour_of, "distance": difference}
    found = chrono_magic.measures(made, real, functions)
    assert found["chscore"] == chrono_magic.chscore(count_points(made.frames)) > 0
    assert np.allclose(found["made_frame_features"], [colour_of(frame) for frame in made.frames])
    assert found["distance"] == pytest.approx(np.abs(made.frames.astype(float) - real.frames).mean())


def test_chscore_is_one_over_the_published_sum():
    visible = count_points(np.zeros(6))
    missing = np.array([0, 0, 0, 0.25, 0.25, 0.25])
    rises = np.diff(missing)
    parts = [
        0.35 * missing.mean() / 0.9368749856948853,
        0.25 * rises.std(ddof=1) / 0.8997353911399841,
        0.15 * (1 / 6) / 0.625,
        0.15 * 1 / 20,
        0.10 * 0.25 / 1.0,
    ]
    assert chrono_magic.chscore(visible) == pytest.approx(1 / sum(parts))
    assert chrono_magic.chscore(np.ones((6, 4), bool)) == 0.0 and chrono_magic.chscore(visible[:1]) == 0.0


def test_frames_are_paired_evenly_and_the_real_ones_resized():
    made, real = some_clip(4, 24), some_clip(9, 48, seed=1)
    one, two = chrono_magic.paired_frames(made, real)
    assert one.shape == two.shape == (4, 24, 24, 3) and (one == made).all()
    same, other = chrono_magic.paired_frames(some_clip(9), some_clip(3))
    assert (same == some_clip(9)[[0, 3, 6]]).all() and (other == some_clip(3)).all()


def test_the_frechet_distance_is_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((4000, 3)) @ np.diag([1.0, 2.0, 0.5]) + [0, 1, 0]
    two = rng.standard_normal((4000, 3)) @ np.diag([2.0, 2.0, 1.0])
    expected = 1 + (1 - 2) ** 2 + 0 + (0.5 - 1) ** 2  # of means, then of standard deviations, as both are diagonal
    assert frechet_distance(one, two) == pytest.approx(expected, abs=0.25)
    from scipy.linalg import sqrtm

    a, b = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    plain = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(one, two) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, two) == pytest.approx(frechet_distance(two, one), rel=1e-9)


def test_fewer_clips_than_features_and_large_means_stay_exact():
    few = np.random.default_rng(1).standard_normal((4, 32))
    assert frechet_distance(few + 1e4, few + 1e4 + 2.0) == pytest.approx(32 * 4.0, rel=1e-6)
    with pytest.raises(DataError, match="at least two on each side"):
        frechet_distance(few[:1], few)
    with pytest.raises(DataError, match="vectors of one length"):
        frechet_distance(few, few[:, :8])


def test_psnr_and_ssim_of_equal_and_of_shifted_frames():
    clip = some_clip()
    assert psnr(clip, clip) == 100 and ssim(clip, clip) == pytest.approx(1)
    grey, lighter = np.full((2, 16, 16, 3), 100, np.uint8), np.full((2, 16, 16, 3), 110, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert psnr(grey, lighter) == pytest.approx(10 * np.log10(255**2 / 100))
    assert ssim(grey, lighter) == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))
    assert ssim(clip, some_clip(seed=1)) < 0.2
    with pytest.raises(DataError, match="at least 11 pixels"):
        ssim(clip[:, :8], clip[:, :8])
