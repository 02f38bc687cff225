"""Writes the prompts and the preference pairs of the embedded video model.

    python -m pipelines.embedded_motion.motion_pairs prompts
    python -m pipelines.embedded_motion.motion_pairs exact
    python -m pipelines.embedded_motion.motion_pairs drawn

*Exact* pairs are rendered: both clips show the same art, ground, size and place; the chosen one moves as the prompt
says, the rejected one otherwise, half of them the opposite way. *Drawn* pairs are the model's own clips, some for each
prompt: the best that show the motion by the judge `centroid` against the worst that do not, if their scores lie apart.
Both have training combinations only; `prompts` writes held-out ones.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.files.json_lines import write_json_lines
from pipelines.embedded import training_utils
from pipelines.embedded_motion import centroid, motions, render, sampling
from pipelines.embedded_motion.motions import Shot

FIRST_SEED = 2_000_000
GAP = 0.5
"""Least difference of the scores of a drawn pair: half of the possible way."""
SEEDS = {"prompts": 61, "exact": 62, "drawn": 63}
CARD = """---
license: apache-2.0
task_categories: [text-to-video]
tags: [preference, emoji, synthetic]
configs:
  - config_name: exact
    data_files:
      - split: train
        path: exact/**
  - config_name: drawn
    data_files:
      - split: train
        path: drawn/**
---
# Preference pairs of the embedded video model

Clips of 8 frames of 64 x 64 pixels at 8 frames per second, as lossless WebP, for prompts that end with a motion.

- `exact`: rendered. Both clips of a pair show the same art on the same ground, of the same size at the same place; the
  chosen one moves as the prompt says, the rejected one shows `rejected_motion`.
- `drawn`: the base model's own clips (15 steps, guidance 1), several for each prompt: the best that show the stated
  motion against the worst that do not, by the judge in `pipelines/embedded_motion/centroid.py`, whose numbers are
  `chosen_score` and `rejected_score`. `seed_chosen` and `seed_rejected` are the seeds of their noise.

All subjects are seen with motions of the training combinations only. There are no human labels.
"""


def fresh_shots(count: int, seed: int, *, holdout: bool) -> list[Shot]:
    """Returns `count` shots with different prompts, every motion equally often, in turn."""
    rng, found = np.random.default_rng(seed), dict[str, list[Shot]]((name, []) for name in motions.MOTIONS)
    each, seen = -(-count // len(motions.MOTIONS)), set()
    while min(map(len, found.values())) < each:
        shot = motions.draw(rng, holdout=holdout)
        if shot.prompt not in seen and len(found[shot.motion]) < each:
            seen.add(shot.prompt)
            found[shot.motion].append(shot)
    return [shot for turn in zip(*found.values(), strict=True) for shot in turn][:count]


def exact_pairs(count: int, art, seed: int = SEEDS["exact"]) -> Iterable[tuple[dict, np.ndarray, np.ndarray]]:
    """Yields columns, chosen and rejected frames of rendered pairs."""
    rng = np.random.default_rng(seed)
    for shot in fresh_shots(count, seed, holdout=False):
        of, other = render.take(rng), motions.another(shot.motion, rng)
        chosen, rejected = (render.render(Shot(shot.scene, motion), art, of) for motion in (shot.motion, other))
        yield {"prompt": shot.prompt, "rejected_motion": other}, chosen, rejected


def choose(motion: str, drawn: np.ndarray, gap: float = GAP) -> list[tuple[int, int, float, float]]:
    """Returns pairs of clips ``(n, F, 64, 64, 3)`` of one prompt: the k-th best right one with the k-th worst wrong
    one, and their scores, as far as these lie apart by `gap`.
    """
    seen = [centroid.look(frames) for frames in drawn]
    scores = [centroid.score(motion, one) for one in seen]
    order = [int(i) for i in np.argsort(scores, kind="stable")]
    right = [i for i in reversed(order) if seen[i].motion == motion]
    wrong = [i for i in order if seen[i].motion != motion]
    pairs = [(a, b, scores[a], scores[b]) for a, b in zip(right, wrong, strict=False)]
    return [pair for pair in pairs if pair[2] - pair[3] >= gap]


def draw_clips(work: Path, pipe, shots: list[Shot], start: int, samples: int) -> np.ndarray:
    """Returns clips of four prompts from `start` on, ``(n, samples, F, 64, 64, 3)``, drawn once and cached."""
    path, part = work / f"drawn-{start:04d}-{samples}.npz", shots[start : start + 4]
    if not path.exists():
        seeds = [FIRST_SEED + samples * start + i for i in range(len(part) * samples)]
        prompts = [shot.prompt for shot in part for _ in range(samples)]
        training_utils.save_arrays(path, clips=sampling.sample(pipe, prompts, seeds, guidance=1.0))
        print(f"{start + len(part)} of {len(shots)} prompts", flush=True)
    clips = np.load(path)["clips"]
    return clips.reshape(len(part), samples, *clips.shape[1:])


def drawn_pairs(args: argparse.Namespace) -> Iterable[tuple[dict, np.ndarray, np.ndarray]]:
    """Yields columns, chosen and rejected frames of the model's own clips."""
    shots = fresh_shots(args.prompts, SEEDS["drawn"], holdout=False)
    pipe = sampling.load_pipeline(args.assets / "model", args.assets / "motion")
    folder = args.work / "drawn"
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(shots), 4):
        drawn = draw_clips(folder, pipe, shots, start, args.samples)
        for i, (shot, clips) in enumerate(zip(shots[start:], drawn, strict=False)):
            for best, worst, high, low in choose(shot.motion, clips):
                row: dict = {"prompt": shot.prompt, "chosen_score": round(high, 4), "rejected_score": round(low, 4)}
                for role, k in (("chosen", best), ("rejected", worst)):
                    row[f"seed_{role}"] = FIRST_SEED + args.samples * (start + i) + k
                yield row, clips[best], clips[worst]


def write_pairs(folder: Path, pairs: Iterable[tuple[dict, np.ndarray, np.ndarray]]) -> int:
    """Writes ``metadata.jsonl`` and the clips of a folder, in place of earlier ones; returns how many pairs."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    for stale in (folder / "clips").glob("*.webp"):
        stale.unlink()
    rows = []
    for i, (row, *clips) in enumerate(pairs):
        for role, frames in zip(("chosen", "rejected"), clips, strict=True):
            row[f"{role}_file_name"] = f"clips/{i:04d}-{role}.webp"
            write_clip(folder / row[f"{role}_file_name"], Clip(np.ascontiguousarray(frames), motions.FPS))
        rows.append(row)
    write_json_lines(folder / "metadata.jsonl", rows)
    return len(rows)


def main() -> None:
    """Writes the prompts or the pairs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("what", choices=list(SEEDS))
    parser.add_argument("--assets", type=Path, default=Path("assets/emoji"))
    parser.add_argument("--work", type=Path, default=Path("build/motion"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--pairs", type=int, default=300, help="exact pairs")
    parser.add_argument("--prompts", type=int, default=120, help="prompts of the drawn pairs")
    parser.add_argument("--samples", type=int, default=6, help="clips for each of these prompts")
    args = parser.parse_args()
    if args.what == "prompts":
        prompts = [shot.prompt for shot in fresh_shots(240, SEEDS["prompts"], holdout=True)]
        (args.assets / "prompts" / "motion.txt").write_text("\n".join(prompts) + "\n")
        return
    folder = args.assets / "motion_pairs"
    exact = args.what == "exact"
    pairs = exact_pairs(args.pairs, render.load_art(args.work, args.packages)) if exact else drawn_pairs(args)
    print(write_pairs(folder / args.what, pairs), "pairs")
    (folder / "README.md").write_text(CARD)


if __name__ == "__main__":
    main()
