"""Compares one optimizer step on a pair of clips with a hand-written one: time and memory as ratios.

    python -m benchmarks.video_step [--rounds 2] [--steps 2] [--frames 4,8,16]

The setting of `benchmarks.video_setting`, float32. Bars: at most 1.05 of the raw loop at every number of frames;
activation checkpointing, which reaches every temporal block here, needs less memory than diffusers' own; encoding four
times as many frames takes at most 1.1 times the memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.image_setting import make_model
from benchmarks.measure import Measurement, measure_interleaved
from benchmarks.raw_video import RawVideoLoop, open_pipeline
from benchmarks.video_setting import RANK, make_clips, make_motion, make_recipe

PAIRS = 4
ENCODED = (8, 32)
"""Frames of the clips whose encoding is compared."""


def main() -> None:
    """Measures, and prints a table of ratios."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="measured steps per variant and round")
    parser.add_argument("--frames", default="4,8,16", help="frames of a clip, separated by commas")
    args = parser.parse_args()
    torch.set_num_threads(1)
    frames = [int(text) for text in args.frames.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_model(root / "model")
        make_motion(root / "motion")
        for count in sorted({*frames, *ENCODED}):
            make_clips(root / f"clips-{count}", PAIRS, count)
        import_libraries()
        variants: dict[str, Callable[[], Callable[[], Any]]] = {}
        for count in frames:
            variants[f"raw, {count} frames"] = partial(prepare_raw, root, count)
            variants[f"diffalign, {count} frames"] = partial(prepare_diffalign, root, count)
        most = max(frames)
        for name, prepare in (("raw", prepare_raw), ("diffalign", prepare_diffalign)):
            variants[f"{name}, {most} frames, checkpointing"] = partial(prepare, root, most, checkpointing=True)
        variants |= {f"encode, {count} frames": partial(prepare_encoding, root, count) for count in ENCODED}
        results = measure_interleaved(variants, rounds=args.rounds, steps=args.steps)
    print(table(results, frames))


def import_libraries() -> None:
    """Imports what the variants import, so that memory is that of their work: diffalign's command line and accelerate
    are 500 modules, about 30 MB, which a hand-written loop does without.
    """
    import accelerate  # noqa: F401
    import av  # noqa: F401
    from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter  # noqa: F401
    from peft import LoraConfig  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import diffalign.policies.diffusion.load
    import diffalign.training.setup.assemble_run  # noqa: F401


def table(results: dict[str, Measurement], frames: Sequence[int]) -> str:
    """Returns seconds and memory per pair, and the ratios, each with its bar."""
    lines = ["", f"{'':<40} {'s':>6} {'MB':>6} {'time':>6} {'memory':>7}   bar (time / memory)"]

    def add(title: str, variant: str, baseline: str, bar: str) -> None:
        a, b = results[variant], results[baseline]
        ratios = f"{a.step / b.step:6.2f} {a.memory / b.memory:7.2f}"
        lines.append(f"{title:<40} {a.step:6.2f} {a.memory:6.0f} {ratios}   {bar}")

    for count in frames:
        add(f"a pair, {count} frames", f"diffalign, {count} frames", f"raw, {count} frames", "<= 1.05 / 1.05")
    most, (few, many) = max(frames), ENCODED
    checkpointed = f"{most} frames, checkpointing"
    add(f"   checkpointing, {most} frames", f"diffalign, {checkpointed}", f"raw, {checkpointed}", "- / < 1")
    add(
        f"encode 2 clips, {many} against {few} frames", f"encode, {many} frames", f"encode, {few} frames", "- / <= 1.10"
    )
    return "\n".join(lines)


def prepare_raw(root: Path, frames: int, **settings: Any) -> Callable[[], Any]:
    """Sets up a raw loop and returns its step."""
    from diffalign.data.media.clips.open_clip import open_clip

    folder = root / f"clips-{frames}"
    torch.manual_seed(0)
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    names = [(row["chosen_file_name"], row["rejected_file_name"]) for row in rows]
    clips = [[torch.from_numpy(open_clip(folder / name).frames.copy()) for name in pair] for pair in names]
    pixels = torch.stack([torch.stack(pair) for pair in clips]).permute(0, 1, 2, 5, 3, 4).float() / 127.5 - 1
    prompts = [row["prompt"] for row in rows]
    return RawVideoLoop(open_pipeline(root), pixels, prompts, rank=RANK, **settings).step


def prepare_diffalign(root: Path, frames: int, *, checkpointing: bool = False) -> Callable[[], Any]:
    """Sets up a run of diffalign and returns its step."""
    from diffalign.training.loop import training_step
    from diffalign.training.setup.assemble_run import open_run

    settings = {"gradient_checkpointing": checkpointing}
    recipe = make_recipe(root, root / f"clips-{frames}", frames, cache=root / "cache", **settings)
    run = open_run(recipe, None, None, resume=False, check_only=False)
    return partial(training_step, run)


def prepare_encoding(root: Path, frames: int) -> Callable[[], Any]:
    """Opens a policy that keeps nothing and returns the encoding of one pair's clips."""
    from diffalign.pairs.dataset import read_dataset
    from diffalign.training.recipe.model_kinds import open_model

    recipe = make_recipe(root, root / f"clips-{frames}", frames, cache=root / "cache", use_cache=False)
    policy = open_model(recipe.model)
    pairs = read_dataset(recipe.data.train).pairs[:1]
    policy.prepare(pairs)

    def encode() -> None:
        policy.encode(pairs)

    return encode


if __name__ == "__main__":
    main()
