"""VBench on clips: the dimensions that need no network of VBench's, each on the prompts of its dimension.

    diffalign evaluate vbench_clips --model MODEL --prompts VBench_full_info.json --encoder CLIP
    diffalign evaluate vbench_clips --embedded

Five clips per prompt (VBench takes 25 for temporal flickering: --seeds 25 --dimension temporal_flickering). Only one
row is VBench's own number: temporal flickering, whose formula has no weights. The others follow its definition with
other parts, are named after what they are, and must not stand in a table of VBench: motion smoothness warps by optical
flow instead of AMT, dynamic degree follows DIS flow instead of RAFT, the two consistencies take the encoder that
--encoder names instead of DINO and CLIP B/32, overall consistency is a mean over frames instead of ViCLIP. Its
normalised value is (value - 0.6293) / (1 - 0.6293). Flickering and consistency reward clips that stand still: read
them beside the dynamic degree.

Source: Huang et al. 2023 (arXiv 2311.17982), github.com/Vchitect/VBench, scripts/constant.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diffalign.data.suites.suite import Categories
from diffalign.errors import UserError
from diffalign.evaluation.samples.gallery import Gallery
from diffalign.evaluation.stats.rates.win_rate import win_rate
from diffalign.scorers import load_scorer
from diffalign.scorers.display_name import display_name
from diffalign.scorers.scorer import Scorer
from evaluators.shared.answers import items_of
from evaluators.shared.finish import finish
from evaluators.shared.options import ASSETS, CLIPS, Parser, run_as_program
from evaluators.shared.scores import score_items
from evaluators.shared.sides import read_prompts, sample_sides
from evaluators.shared.table import Table, mean_of

NEEDS = (
    "--prompts: vbench/VBench_full_info.json of github.com/Vchitect/VBench (946 prompts, Apache-2.0)",
    "--seeds 5: five clips per prompt, 25 for temporal_flickering",
    "--encoder: openai/clip-vit-base-patch32 for VBench's own encoder of background consistency",
    "VBench's other networks (DINO, AMT, RAFT, MUSIQ, ViCLIP, GRiT, ...) are not used: see VBench itself",
)


@dataclass(frozen=True)
class Dimension:
    """A dimension, and what stands for it here.

    Args:
        scorer: Scorer; ``{encoder}`` stands for ``--encoder``.
        named: What it is called here.
        bounds: VBench's constants, where the number is VBench's.
    """

    scorer: str
    named: str
    bounds: tuple[float, float] | None = None


DIMENSIONS = {
    "temporal_flickering": Dimension("flicker", "temporal flickering (VBench's own formula)", (0.6293, 1.0)),
    "motion_smoothness": Dimension("flow_smoothness", "smoothness by optical flow"),
    "dynamic_degree": Dimension("flow_dynamic", "share of clips that move, by DIS flow"),
    "subject_consistency": Dimension("neighbour_consistency:{encoder}", "consistency by the encoder"),
    "background_consistency": Dimension("neighbour_consistency:{encoder}", "consistency by the encoder"),
    "overall_consistency": Dimension("frames:clip:{encoder}", "fit to the prompt, mean over frames"),
}


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, measures, and returns the table."""
    parser = Parser("vbench_clips", __doc__, NEEDS)
    parser.add_argument("--prompts", help="VBench_full_info.json, or @FILE, whose prompts count for every dimension")
    parser.add_argument("--encoder", default="openai/clip-vit-base-patch32", help="dual encoder of the consistencies")
    parser.add_argument("--dimension", action="append", choices=list(DIMENSIONS), help="only this one; repeatable")
    parser.add_samples(seeds=5)
    embedded = {"prompts": f"@{ASSETS / 'prompts' / 'motion.txt'}", "encoder": str(ASSETS / "scorers" / "heldout")}
    args = parser.read(arguments, {**CLIPS, **embedded, "seeds": 1})

    wanted = args.dimension or list(DIMENSIONS)
    plain = str(args.prompts or "").startswith("@") and not str(args.prompts).startswith("@suite:")

    def is_of(categories: Categories, names: Sequence[str]) -> bool:
        return plain or bool(set(categories.get("dimension", ())) & set(names))

    prompts = read_prompts(args, "vbench", lambda prompt: is_of(prompt.categories, wanted))
    if not prompts:
        raise UserError(f"no prompt is of {', '.join(wanted)}. Give VBench_full_info.json, or other dimensions.")
    specs = {name: DIMENSIONS[name].scorer.format(encoder=args.encoder) for name in wanted}
    scorers = {spec: load_scorer(spec, args.device) for spec in dict.fromkeys(specs.values())}
    sides = sample_sides(args, prompts, "video")

    measured = {side: measure(args, gallery, side, specs, scorers, is_of) for side, gallery in sides.items()}
    rows = []
    for name in wanted:
        row, values = DIMENSIONS[name], {}
        for side in sides:
            of, numbers = measured[side][name]
            if of:
                values[side] = numbers
                mean = mean_of(numbers, of)
                low, high = row.bounds or (math.nan, math.nan)
                normalised = (mean.value - low) / (high - low)
                rows.append([name, row.named, side, len(of), mean, normalised, ""])
        if len(values) == 2:
            rows[-1][-1] = win_rate(values["aligned"], values["base"], of)
    head = ["dimension", "measured here as", "side", "clips", "value", "normalised", "aligned wins"]
    about = {f"weights of {display_name(spec)}": scorer.weights for spec, scorer in scorers.items() if scorer.weights}
    note = "Only temporal flickering is VBench's number; the other rows have other parts and are not comparable."
    table = Table("Dimensions", head, rows, note)
    return finish(args, "VBench's dimensions", [table], about=about, sides=sides, medium="video")


def measure(
    args: argparse.Namespace,
    gallery: Gallery,
    side: str,
    specs: Mapping[str, str],
    scorers: Mapping[str, Scorer],
    is_of: Callable[[Categories, Sequence[str]], bool],
) -> dict[str, tuple[list[str], list[float]]]:
    """Returns by dimension the prompts of its clips and their values; dimensions of the same clips share one pass."""
    clips = {name: tuple(s for s in gallery.samples if is_of(s.categories, [name])) for name in specs}
    found: dict[str, tuple[list[str], list[float]]] = {name: ([], []) for name in specs}
    for samples in dict.fromkeys(filter(None, clips.values())):
        names = [name for name in specs if clips[name] == samples]
        part = Gallery(gallery.folder, samples, gallery.made_by, gallery.medium)
        judges = {spec: scorers[spec] for spec in dict.fromkeys(specs[name] for name in names)}
        values = score_items(args, items_of(part), judges, f"{side}-{names[0]}", "video")
        found |= {name: ([sample.prompt for sample in samples], values[specs[name]]) for name in names}
    return found


if __name__ == "__main__":
    run_as_program(main)
