"""PartiPrompts: judges' scores over 1,632 prompts, by category and by challenge, and win rates against the base.

    diffalign evaluate parti_prompts --model MODEL --prompts PartiPrompts.tsv [--adapter ADAPTER]
    diffalign evaluate parti_prompts --embedded

One image per prompt. Papers on aligned models print medians of several judges over all prompts, and the share of
prompts on which the aligned model's image scores higher than the base's; the tables have both, and both by category.
The list comes from a study by people, whose votes no judge replaces.

Source: Yu et al. 2022 (arXiv 2206.10789), github.com/google-research/parti; as a list for judges, Wallace et al. 2023
(arXiv 2311.12908).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluators.shared.by_category import category_tables
from evaluators.shared.finish import finish
from evaluators.shared.options import IMAGES, Parser, run_as_program
from evaluators.shared.scores import open_judges, score_sides
from evaluators.shared.sides import read_prompts, sample_sides
from evaluators.shared.table import Table

NEEDS = (
    "--prompts: PartiPrompts.tsv of github.com/google-research/parti (Apache-2.0)",
    "--scorer: pickscore, hpsv2.1, image_reward, aesthetic and clip with their published weights",
    "one image per prompt, 1,632 in all; a GPU for models of published size",
)


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, scores, and returns the tables."""
    parser = Parser("parti_prompts", __doc__, NEEDS)
    parser.add_argument("--prompts", help="PartiPrompts.tsv, or @suite:NAME:FILE")
    parser.add_samples()
    parser.add_scorers("pickscore", "hpsv2.1", "image_reward", "aesthetic", "clip")
    args = parser.read(arguments, IMAGES)

    prompts = read_prompts(args, "parti_prompts")
    judges = open_judges(args, [prompt.prompt for prompt in prompts], "image")
    sides = sample_sides(args, prompts, "image")
    scores = score_sides(args, sides, judges)

    medians = [
        [judge, side, len(values), float(np.nanmedian(values)), judges[judge].unit]
        for judge, by_side in scores.items()
        for side, values in by_side.items()
    ]
    columns = ["category", "challenge", "tag", "background"]  # of PartiPrompts, and of the embedded suite
    tables = [Table("Medians", ["judge", "side", "samples", "median", "unit"], medians)]
    tables += category_tables(scores, sides, columns)
    about = {f"weights of {name}": judge.weights for name, judge in judges.items()}
    return finish(args, "PartiPrompts", tables, about=about, sides=sides)


if __name__ == "__main__":
    run_as_program(main)
