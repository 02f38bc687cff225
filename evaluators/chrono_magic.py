"""ChronoMagic-Bench-150 as SePPO's table uses it: distances of generated time-lapses from the real ones.

    diffalign evaluate chrono_magic --model MODEL --clips REAL --features MODULE:FUNCTION [--adapter ADAPTER]
    diffalign evaluate chrono_magic --embedded

For the prompt of each real clip the model makes one. PSNR and SSIM compare it with the real one frame by frame (as many
frames as the shorter has, evenly spaced, the real ones resized): the paper does not say how, and a model that makes
another clip of the same thing is not wrong. What needs networks is yours to give, and computed as published around it:

    --features        function(frames, fps) -> vector: FVD, the Fréchet distance over clips, in float64
    --frame-features  function(frame) -> vector: FID, the same over frames
    --distance        function(frame, frame) -> number: LPIPS, or any distance of two frames
    --tracker         function(frames) -> (F, P) bool, which of P points are visible: CHScore, the published coherence

``frames`` is (F, H, W, 3) uint8 RGB. CHScore is 1 / the weighted sum of five measures of vanishing points with the
published constants; as published, a clip in which no point vanishes gets 0. MTScore and UMT's scores need InternVideo2
and UMT themselves. A Fréchet distance grows with fewer clips: compare runs of equal --limit only.

Source: Yuan et al. 2024 (arXiv 2406.18522), github.com/PKU-YuanGroup/ChronoMagic-Bench, CHScore/; SePPO, Zhang et al.
2024 (arXiv 2410.05255).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.readers import read_pairs
from diffalign.data.suites import SuitePrompt
from diffalign.plugins import function_digest
from diffalign.scorers.clips.clip_input import as_clip
from evaluators.shared.answers import Item, answer_all, items_of, load_function
from evaluators.shared.clip_distances import frechet_distance, psnr, ssim
from evaluators.shared.finish import finish
from evaluators.shared.options import ASSETS, CLIPS, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.sides import sample_sides
from evaluators.shared.table import Table, mean_of

NEEDS = (
    "--clips: the 150 real clips of ChronoMagic-Bench-150 with their captions (metadata.jsonl: file_name, text)",
    "--features: I3D trained on Kinetics-400, for FVD; --frame-features: Inception-v3, for FID; --distance: LPIPS",
    "--tracker: CoTracker 2 on a grid of 30 x 30 points, for CHScore",
)
FUNCTIONS = {
    "features": "which returns a vector of a clip's features",
    "frame_features": "which returns a vector of a frame's features",
    "distance": "which returns the distance of two frames",
    "tracker": "which returns the points that are visible in each frame",
}
MEASURES = {"PSNR, dB": "psnr", "SSIM": "ssim", "distance of yours": "distance", "CHScore": "chscore"}
CHSCORE = {  # weight, and the largest value on the published clips
    "mean": (0.35, 0.9368749856948853),
    "deviation": (0.25, 0.8997353911399841),
    "cut share": (0.15, 0.625),
    "cuts": (0.15, 20.0),
    "largest": (0.10, 1.0),
}


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, measures, and returns the table."""
    parser = Parser("chrono_magic", __doc__, NEEDS)
    parser.add_argument("--clips", help="folder of real clips with their prompts")
    for name, what in FUNCTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default="", help=f"MODULE:FUNCTION, {what}")
    parser.add_samples()
    embedded = {"clips": ASSETS / "motion_pairs" / "exact", "features": "evaluators.shared.embedded:clip_features"}
    args = parser.read(arguments, {**CLIPS, **embedded})

    given = {name: getattr(args, name) for name in FUNCTIONS if getattr(args, name)}
    functions = {
        name: load_function(text, f"--{name.replace('_', '-')}", FUNCTIONS[name]) for name, text in given.items()
    }
    real = read_real(need_file(args.clips, "--clips", "the real clips"))
    real = {prompt: real[prompt] for prompt in evenly_spaced(list(real), args.limit)}
    sides = sample_sides(args, [SuitePrompt(prompt) for prompt in real], "video")

    def measure(part: list[Item]) -> list[dict[str, Any]]:
        return [measures(as_clip(item.content), as_clip(item.about), functions) for item in part]

    made_by = {"functions": {name: [text, function_digest(functions[name])] for name, text in given.items()}}
    rows = []
    for side, gallery in sides.items():
        items, target = items_of(gallery, real), args.output / "scores" / f"{side}-clips.jsonl"
        found = answer_all(items, measure, target, made_by, what=f"{side}, clips measured", batch=1)
        prompts = [item.prompt for item in items]
        for title, name in MEASURES.items():
            if name in found[0]:
                values = [float(row[name]) for row in found]
                rows.append([side, title, len(values), mean_of(values, prompts)])
        for title, name in (("FVD by --features", "features"), ("FID by --frame-features", "frame_features")):
            if name in functions:
                ours, theirs = (np.concatenate([row[f"{of}_{name}"] for row in found]) for of in ("made", "real"))
                rows.append([side, title, len(ours), frechet_distance(ours, theirs)])
    table = Table("Distances from the real clips", ["side", "measure", "n", "value"], rows)
    return finish(args, "ChronoMagic-Bench-150", [table], about=given, sides=sides, medium="video")


def measures(made: Clip, real: Clip, functions: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Returns PSNR and SSIM of a clip and its real one, and what the given functions say of both."""
    one, two = paired_frames(made.frames, real.frames)
    found: dict[str, Any] = {"psnr": psnr(one, two), "ssim": ssim(one, two)}
    if "distance" in functions:
        found["distance"] = float(np.mean([functions["distance"](a, b) for a, b in zip(one, two, strict=True)]))
    if "tracker" in functions:
        found["chscore"] = chscore(np.asarray(functions["tracker"](made.frames)))
    for of, clip in (("made", made), ("real", real)):
        if "features" in functions:
            found[f"{of}_features"] = [np.asarray(functions["features"](clip.frames, clip.fps), np.float64).tolist()]
        if "frame_features" in functions:
            vectors = [np.asarray(functions["frame_features"](frame), np.float64).tolist() for frame in clip.frames]
            found[f"{of}_frame_features"] = vectors
    return found


def paired_frames(made: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns as many frames of both as the shorter clip has, evenly spaced; the real ones at the size of the made."""
    count, size = min(len(made), len(real)), (made.shape[2], made.shape[1])
    one, two = (clip[[k * len(clip) // count for k in range(count)]] for clip in (made, real))
    if two.shape[1:3] != one.shape[1:3]:
        two = np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in two])
    return one, two


def chscore(visible: np.ndarray, cut: float = 0.1) -> float:
    """Returns CHScore as published: 1 over a weighted sum of how points vanish; 0 where none vanishes or there is no
    second frame.

    Args:
        visible: ``(F, P)`` bool, whether each point is visible in each frame.
        cut: Increase of the share of missing points that counts as a cut.
    """
    missing = 1 - visible.astype(np.float64).mean(axis=1)
    rises = np.diff(missing)
    if len(rises) < 2:
        return 0.0
    cuts = int((rises > cut).sum())
    values = {"mean": missing.mean(), "deviation": rises.std(ddof=1), "cut share": cuts / len(missing)}
    values |= {"cuts": cuts, "largest": rises.max()}
    total = sum(weight * values[name] / largest for name, (weight, largest) in CHSCORE.items())
    return float(1 / total) if total and math.isfinite(total) else 0.0


def read_real(folder: Path) -> dict[str, Any]:
    """Returns the first real clip of each prompt: of a folder of clips with captions, or the chosen ones of pairs."""
    clips: dict[str, Any] = {}
    for pair in read_pairs(folder).pairs:
        clips.setdefault(str(pair.prompt), pair.chosen)
    return clips


if __name__ == "__main__":
    run_as_program(main)
