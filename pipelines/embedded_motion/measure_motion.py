"""Measures how often the embedded video model shows the stated motion, with 95 % intervals.

    python -m pipelines.embedded_motion.measure_motion --guidance 2
    python -m pipelines.embedded_motion.measure_motion --ceiling      # on rendered clips, clean and decoded

The prompts' (subject, motion) combinations were never trained on. `network` is the held-out judge, `centroid` the one
that made the drawn pairs, `phase` knows directions only, and `subject` is the image model's recogniser on all frames.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from diffalign.evaluation.stats.rates.share import share
from diffalign.files.json_lines import text_lines
from pipelines.embedded import measure
from pipelines.embedded_motion import centroid, clips, motion_net, motions, phase, render, sampling
from pipelines.embedded_motion.motions import Shot


def subjects(frames: np.ndarray, recogniser: Path) -> list[str]:
    """Returns the subject that most frames of each clip ``(N, F, 64, 64, 3)`` show."""
    seen = np.array(measure.recognise(recogniser, frames.reshape(-1, *frames.shape[2:]))).reshape(frames.shape[:2])
    return [max(sorted(set(row)), key=row.tolist().count) for row in seen]


def grade(frames: np.ndarray, shots: list[Shot], assets: Path) -> dict[str, np.ndarray]:
    """Returns for each measure whether each clip is right; where a measure has no opinion its row is shorter."""
    stated = np.array([shot.motion for shot in shots])
    net = motion_net.MotionNet.from_pretrained(assets / "scorers" / "motion")
    by_net = np.array(net.names)[motion_net.probabilities(net, frames).argmax(-1).numpy()]
    right = {
        "network": by_net == stated,
        "centroid": np.array([centroid.look(clip).motion for clip in frames]) == stated,
        "phase": np.array(
            [phase.direction(clip) == name for clip, name in zip(frames, stated, strict=True) if name != "growing"]
        ),
        "subject": np.array(subjects(frames, assets / "scorers" / "recogniser"))
        == np.array([shot.scene.subject for shot in shots]),
    }
    return {**right, **{f"  {name}": right["network"][stated == name] for name in motions.MOTIONS}}


def report(title: str, right: dict[str, np.ndarray]) -> None:
    """Prints one line for each measure; the last ones are the network's by motion."""
    print(title)
    for name, hits in right.items():
        seen = share(int(hits.sum()), len(hits))
        print(f"  {name:<13}{100 * seen.rate:5.1f} %  [{100 * seen.low:.1f}, {100 * seen.high:.1f}]  n = {seen.n}")


def ceiling(args: argparse.Namespace) -> None:
    """Grades rendered clips of held-out combinations, as drawn and through the autoencoder."""
    from diffusers import AutoencoderKL

    rng, art = np.random.default_rng(71), render.load_art(args.work, args.packages)
    shots = [motions.draw(rng, holdout=True) for _ in range(args.limit)]
    clean = np.stack([render.render(shot, art, render.take(rng)) for shot in shots])
    vae = AutoencoderKL.from_pretrained(args.assets / "model" / "vae", torch_dtype=torch.float32)
    means = [torch.from_numpy(clips.encode(vae, part))[:, :4] for part in np.array_split(clean, -(-len(clean) // 8))]
    report("rendered clips", grade(clean, shots, args.assets))
    report("through the autoencoder", grade(clips.decode(vae, torch.cat(means)), shots, args.assets))


def main() -> None:
    """Measures the embedded video model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--assets", type=Path, default=Path("assets/emoji"))
    parser.add_argument("--work", type=Path, default=Path("build/motion"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--prompts", default="motion", help="name of a list in ASSETS/prompts")
    parser.add_argument("--limit", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=sampling.STEPS)
    parser.add_argument("--guidance", type=float, default=sampling.GUIDANCE)
    parser.add_argument("--ceiling", action="store_true")
    args = parser.parse_args()
    if args.ceiling:
        return ceiling(args)
    prompts = text_lines(args.assets / "prompts" / f"{args.prompts}.txt")[: args.limit]
    pipe = sampling.load_pipeline(args.assets / "model", args.assets / "motion")
    began = time.thread_time()
    seeds = [args.seed + i for i in range(len(prompts))]
    frames = sampling.sample(pipe, prompts, seeds, args.guidance, args.steps)
    print(f"{(time.thread_time() - began) / len(prompts):.2f} s of one thread for a clip")
    title = f"{len(prompts)} prompts, {args.steps} steps, guidance {args.guidance}, seed {args.seed}"
    return report(title, grade(frames, [motions.parse(prompt) for prompt in prompts], args.assets))


if __name__ == "__main__":
    main()
