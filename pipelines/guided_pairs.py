"""Pairs for the papers' programs: what the embedded model draws with guidance, against what it draws without.

    python -m pipelines.guided_pairs [--output runs/emoji-guided] [--prompts 400] [--seeds 2]

Each training prompt is drawn twice from one noise: with guidance 2 in 20 steps, and without guidance in 15. A judge
says which is better, and pairs that it hardly tells apart are left out. So most winners come from a stronger model than
the one that is to be aligned, as in the data sets of the papers: alignment then means to draw without guidance (at half
the cost) what takes guidance otherwise. A few winners are the unguided pictures, because the judge says so.

The pairs beside the embedded model (`assets/emoji/pairs`) are of another kind: both pictures of a pair are the model's
own, at one setting.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from diffalign.evaluation.generate import generate
from diffalign.evaluation.prompts import read_prompts
from diffalign.policies.load import ModelConfig, load_policy
from diffalign.scorers import load_scorer
from diffalign.sharing.atomic import write_atomically
from diffalign.training.progress import Report

ASSETS = Path(__file__).parents[1] / "assets" / "emoji"
FOLDER = Path("runs/emoji-guided")
SETTINGS = {"guided": {"steps": 20, "guidance": 2.0}, "plain": {"steps": 15, "guidance": 1.0}}
GAP = 0.02
"""Cosine similarity by which the judge must tell two pictures apart."""


def main() -> None:
    """Draws and judges the pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--prompts", type=int, default=400, help="take the first so many training prompts")
    parser.add_argument("--seeds", type=int, default=2, help="pairs per prompt")
    args = parser.parse_args()
    print(make_pairs(args.output, prompts=args.prompts, seeds=args.seeds))


def make_pairs(folder: Path, *, prompts: int = 400, seeds: int = 2) -> str:
    """Makes the pair folder where it is not there yet; a killed call goes on. Returns a summary."""
    metadata = folder / "metadata.jsonl"
    if metadata.exists():
        return f"{folder}: there already"
    texts = read_prompts([f"@{ASSETS / 'prompts' / 'train.txt'}"])[:prompts]
    policy = load_policy(ModelConfig(path=str(ASSETS / "model")))
    device = policy.device.type
    judge = load_scorer(f"clip:{ASSETS / 'scorers' / 'judge'}", device)
    galleries = {}
    # Half precision is enough for a picture that is stored in 8 bits, and twice as fast.
    with Report(0) as report, torch.autocast(device, dtype=torch.bfloat16):
        for role, settings in SETTINGS.items():
            galleries[role] = generate(
                policy,
                texts,
                range(seeds),
                folder / role,
                stride=seeds,
                batch_size=32,
                progress=report.preparing,
                **settings,
            )
    scores = {
        role: judge.score([p.prompt for p in gallery.pictures], [p.path for p in gallery.pictures]).tolist()
        for role, gallery in galleries.items()
    }
    rows = []
    for k, (guided, plain) in enumerate(zip(galleries["guided"].pictures, galleries["plain"].pictures, strict=True)):
        gap = scores["guided"][k] - scores["plain"][k]
        if abs(gap) < GAP:
            continue
        files = [f"guided/{guided.path.name}", f"plain/{plain.path.name}"]
        chosen, rejected = files if gap > 0 else reversed(files)
        rows.append(
            {
                "id": f"{k:05d}",
                "prompt": guided.prompt,
                "chosen_file_name": chosen,
                "rejected_file_name": rejected,
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(metadata, lambda beside: beside.write_text(text, encoding="utf-8"))
    won = sum(row["chosen_file_name"].startswith("guided") for row in rows)
    return f"{folder}: {len(rows)} pairs of {len(texts) * seeds} drawn; the guided picture won {won / len(rows):.0%}"


if __name__ == "__main__":
    main()
