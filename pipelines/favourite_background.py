"""Trains a preference with an obvious result: images on one background colour are preferred if the prompt names none.

    python -m pipelines.favourite_background [--colour yellow] [--output runs/favourite-background]

Pairs: the embedded model draws each prompt twice, on the favourite background and on another one; both images get the
prompt without a background. Training: Diffusion-DPO with a LoRA. Table: the share of fresh prompts that base and
aligned model draw on the favourite colour, and the share in which an independent recogniser finds the subject.

If this preference is not learnt, the training loop has a bug: check it before anything more subtle.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffalign.evaluation.compare.load_judges import load_judges
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.evaluation.stats.rates.share import Share, share
from diffalign.files.json_lines import write_json_lines
from diffalign.policies.diffusion.load import ModelConfig, load_policy
from diffalign.training.loop import train
from diffalign.training.recipe.load import load_recipe
from pipelines.embedded.scenes import BACKGROUNDS, Scene, draw, held_out, parse

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "assets" / "emoji"
RECIPE = ROOT / "configs" / "emoji" / "favourite_background.yaml"
SAMPLING = {"steps": 15, "guidance": 2.0}
MARGIN = 0.9
"""An image counts as drawn on a colour if this share of its border is nearest to it."""


@dataclass(frozen=True)
class BackgroundResult:
    """Shares of fresh prompts for base and aligned model."""

    base_colour: Share
    aligned_colour: Share
    base_subject: Share
    aligned_subject: Share

    def table(self) -> str:
        """Returns the result in three lines."""
        rows = [("favourite background", self.base_colour, self.aligned_colour)]
        rows.append(("subject recognised", self.base_subject, self.aligned_subject))
        lines = [f"{'':<22}{'base':>22}{'aligned':>22}"]
        return "\n".join(
            [*lines, *(f"{name:<22}{_cell(base):>22}{_cell(aligned):>22}" for name, base, aligned in rows)]
        )


def main() -> None:
    """Makes pairs, trains, and prints the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--colour", default="yellow", choices=BACKGROUNDS)
    parser.add_argument("--pairs", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/favourite-background"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the recipe")
    args = parser.parse_args()
    print(run(args.output, colour=args.colour, pairs=args.pairs, seed=args.seed, overrides=args.set).table())


def run(
    output: Path, *, colour: str = "yellow", pairs: int = 192, seed: int = 0, overrides: list[str] | None = None
) -> BackgroundResult:
    """Runs the whole experiment; existing pairs and images are kept."""
    make_pairs(output / "pairs", colour, pairs, seed)
    values = [f"output={output / 'run'}", f"data.train={output / 'pairs'}", f"train.seed={seed}"]
    result = train(load_recipe(RECIPE, [*values, *(overrides or [])]))
    prompts = read_prompts([f"@{ASSETS / 'prompts' / 'unnamed_background.txt'}"])
    judges = load_judges([f"label_hit:{ASSETS / 'scorers' / 'recogniser'}"], [f"background:{colour}"])
    folder = output / "evaluation"
    return count_hits(
        compare(result.policy, prompts, [seed], judges, folder=folder, stride=1, batch_size=32, **SAMPLING), colour
    )


def make_pairs(folder: Path, colour: str, count: int, seed: int) -> None:
    """Draws pairs whose prompts differ in the background only, and writes them as a pair folder."""
    if (folder / "metadata.jsonl").exists():
        return
    rng = np.random.default_rng(seed)
    fresh = set(read_prompts([f"@{ASSETS / 'prompts' / 'unnamed_background.txt'}"]))
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = replace(draw(rng), background=None)
        if scene.prompt not in fresh and not held_out(scene.subject, colour, scene.count):
            scenes.setdefault(scene.prompt, scene)
    other_colours = [name for name in BACKGROUNDS if name != colour]
    policy = load_policy(ModelConfig(path=str(ASSETS / "model")))
    galleries = {}
    for role, colours in (("chosen", [colour]), ("rejected", other_colours)):
        prompts = [replace(scene, background=str(rng.choice(colours))).prompt for scene in scenes.values()]
        galleries[role] = generate(policy, prompts, [seed], folder / role, batch_size=32, **SAMPLING)
    rows = [
        {
            "prompt": replace(parse(chosen.prompt), background=None).prompt,
            "chosen_file_name": f"chosen/{chosen.path.name}",
            "rejected_file_name": f"rejected/{rejected.path.name}",
        }
        for chosen, rejected in zip(galleries["chosen"].samples, galleries["rejected"].samples, strict=True)
    ]
    write_json_lines(folder / "metadata.jsonl", rows)


def count_hits(comparison: Comparison, colour: str) -> BackgroundResult:
    """Counts images on the colour, and recognised subjects, for base and aligned model."""
    rows = comparison.rows
    base, aligned = (
        share(sum(row["scores"][f"background:{colour}"][side] >= MARGIN for row in rows), len(rows)) for side in (0, 1)
    )
    recogniser = next(j for j in comparison.judgements if j.base_hits is not None)
    assert recogniser.base_hits is not None and recogniser.aligned_hits is not None
    return BackgroundResult(base, aligned, recogniser.base_hits, recogniser.aligned_hits)


def _cell(value: Share) -> str:
    return f"{100 * value.rate:.0f} % ({100 * value.low:.0f}-{100 * value.high:.0f})"


if __name__ == "__main__":
    main()
