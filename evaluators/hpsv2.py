"""HPSv2 benchmark: a judge's mean score over 3,200 prompts in four styles, one image each.

    diffalign evaluate hpsv2 --model MODEL --prompts FOLDER [--adapter ADAPTER]
    diffalign evaluate hpsv2 --embedded

For each style, as published: the mean of 100 times the score, and the standard deviation of the means of ten parts of
its list (80 images each). HPSv2 and HPSv2.1 are different judges whose numbers must not be compared; only equal
prompts compare at all. Published HPSv2.1, mean of the four styles: SD 1.4 25.35, SD 2.0 26.38, SDXL base 0.9 30.63.

Source: Wu et al. 2023 (arXiv 2306.09341) and github.com/tgxs002/HPSv2, hpsv2/evaluation.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evaluators.shared.by_category import category_tables, values_of
from evaluators.shared.finish import finish
from evaluators.shared.options import IMAGES, Parser, run_as_program
from evaluators.shared.scores import open_judges, score_sides
from evaluators.shared.sides import read_prompts, sample_sides
from evaluators.shared.table import Table

NEEDS = (
    "--prompts: the folder benchmark/ of huggingface.co/datasets/ymhao/HPDv2 (anime, concept-art, paintings, photo)",
    "--scorer hpsv2.1: HPS_v2.1_compressed.pt of huggingface.co/xswu/HPSv2 (hpsv2: HPS_v2_compressed.pt)",
    "one image per prompt, 3,200 in all; a GPU for models of published size",
)
PARTS = 10
"""Parts of a style's list whose means give the published deviation."""


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, scores, and returns the tables."""
    parser = Parser("hpsv2", __doc__, NEEDS)
    parser.add_argument("--prompts", help="folder with the four styles as .json, or @suite:NAME:FILE")
    parser.add_samples()
    parser.add_scorers("hpsv2.1")
    args = parser.read(arguments, IMAGES)

    prompts = read_prompts(args, "hpdv2")
    judges = open_judges(args, [prompt.prompt for prompt in prompts], "image")
    sides = sample_sides(args, prompts, "image")
    scores = score_sides(args, sides, judges)

    tables = category_tables(scores, sides, ["style"], scale=100, digits=2, note="Scores times 100, as published.")
    rows = []
    for style, numbers in values_of(sides, "style").items():
        for judge, by_side in scores.items():
            for side, values in by_side.items():
                rows.append([style, judge, side, deviation([100 * values[number] for number in numbers])])
    if rows:
        note = f"Standard deviation of the means of {PARTS} equal parts of a style's list; – where it is too short."
        tables.append(Table("Deviation, as published", ["style", "judge", "side", "deviation"], rows, note))
    about = {f"weights of {name}": judge.weights for name, judge in judges.items()}
    return finish(args, "HPSv2 benchmark", tables, about=about, sides=sides)


def deviation(values: Sequence[float]) -> float:
    """Returns the standard deviation of the means of ten equal parts; nan for less than two values a part."""
    size = len(values) // PARTS
    if size < 2:
        return math.nan
    return float(np.std([np.mean(values[start : start + size]) for start in range(0, size * PARTS, size)]))


if __name__ == "__main__":
    run_as_program(main)
