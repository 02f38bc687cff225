"""ImageReward's test: how often a judge orders two images of a prompt as people ranked them.

    diffalign evaluate image_reward_rankings --rankings test.json --images FOLDER --scorer image_reward
    diffalign evaluate image_reward_rankings --embedded

466 prompts with 4 to 9 ranked images each. Of every two images with different ranks it counts, as published, whether
the better one scores higher; equal scores are wrong, equal ranks do not count. Published: ImageReward 65.1 %.
A policy's implicit reward (--model, --adapter) judges the same pairs.

Source: Xu et al. 2023 (arXiv 2304.05977), section 4.1, and github.com/THUDM/ImageReward, test.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair
from diffalign.data.storage.inside_folder import inside
from diffalign.data.suites.layouts import open_table
from diffalign.errors import DataError
from diffalign.evaluation.stats.rates.share import share
from evaluators.shared.answers import Item
from evaluators.shared.finish import finish
from evaluators.shared.options import ASSETS, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.pairs import add_pair_options, judge_pairs, weights_of
from evaluators.shared.scores import open_judges, score_items
from evaluators.shared.table import Table, mean_of

NEEDS = (
    "--rankings: data/test.json of github.com/THUDM/ImageReward (466 prompts, Apache-2.0)",
    "--images: the folder of its images (huggingface.co/datasets/THUDM/ImageRewardDB, test), the paths in test.json",
    "--scorer image_reward: ImageReward.pt of huggingface.co/THUDM/ImageReward",
)
Ranking = tuple[str, list[Path], list[float]]
"""Prompt, images and their ranks, 1 for the best."""


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Scores the images, and returns the table."""
    parser = Parser("image_reward_rankings", __doc__, NEEDS)
    parser.add_argument("--rankings", help="test.json: prompt, generations, ranking")
    parser.add_argument("--images", help="folder that the paths of the images are relative to")
    add_pair_options(parser, ("image_reward",), draws=10)
    embedded = {"rankings": ASSETS / "pairs", "scorer": [f"clip:{ASSETS / 'scorers' / 'heldout'}"], "limit": 8}
    args = parser.read(arguments, embedded)

    path = need_file(args.rankings, "--rankings", "ImageReward's test.json")
    rankings = read_pairs_as_rankings(path) if path.is_dir() else read_rankings(path, args.images)
    rankings = evenly_spaced(rankings, args.limit)
    judges = open_judges(args, [prompt for prompt, _, _ in rankings], "image") if args.scorer else {}
    about = {f"weights of {name}": judge.weights for name, judge in judges.items()}

    items = [
        Item(f"{number}-{place}", prompt, image)
        for number, (prompt, images, _) in enumerate(rankings)
        for place, image in enumerate(images)
    ]
    rows: list[list[Any]] = []
    for name, values in (score_items(args, items, judges, "ranked", "image") if judges else {}).items():
        scores, right = iter(values), []
        for number, (_, images, ranks) in enumerate(rankings):
            own = [next(scores) for _ in images]
            right += [(number, hit) for hit in right_order(ranks, own)]
        rows.append(row_of(name, right))
    if args.model or not judges:  # a policy judges two images at the same noises
        pairs, numbers = ranked_pairs(rankings)
        judged = judge_pairs(argparse.Namespace(**{**vars(args), "scorer": []}), pairs, "image")
        about |= weights_of(judged)
        for name, one in judged.items():
            rows.append(row_of(name, [(n, p > 0.5) for n, p in zip(numbers, one.probabilities, strict=True)]))
    head = ["judge", "prompts", "pairs", "accuracy", "with an interval over prompts"]
    return finish(args, "ImageReward's test", [Table("Agreement with people's rankings", head, rows)], about=about)


def row_of(judge: str, right: Sequence[tuple[int, bool]]) -> list[Any]:
    """Returns a row from the prompt and the outcome of each pair."""
    hits, numbers = [hit for _, hit in right], [number for number, _ in right]
    accuracy = share(sum(hits), len(hits))
    return [judge, len(set(numbers)), len(hits), accuracy, mean_of([float(hit) for hit in hits], numbers)]


def ranked_pairs(rankings: Sequence[Ranking]) -> tuple[list[Pair], list[int]]:
    """Returns every two images of different ranks, the better one first, and the number of each one's prompt."""
    pairs, numbers = [], []
    for number, (prompt, images, ranks) in enumerate(rankings):
        for i, j in combinations(range(len(ranks)), 2):
            if ranks[i] != ranks[j]:
                best, other = (i, j) if ranks[i] < ranks[j] else (j, i)
                pairs.append(Pair(f"{number}-{i}-{j}", prompt, images[best], images[other]))
                numbers.append(number)
    return pairs, numbers


def right_order(ranks: Sequence[float], scores: Sequence[float]) -> list[bool]:
    """Returns for every two images of different ranks, both with a score, whether the better one scores higher."""
    scored = [number for number, score in enumerate(scores) if math.isfinite(score)]
    pairs = [(i, j) for i, j in combinations(scored, 2) if ranks[i] != ranks[j]]
    return [scores[i] > scores[j] if ranks[i] < ranks[j] else scores[j] > scores[i] for i, j in pairs]


def read_rankings(path: Path, images: Any) -> list[Ranking]:
    """Returns the rankings of test.json.

    Raises:
        DataError: A row is not as published, or an image is missing or outside the folder.
    """
    folder = need_file(images, "--images", "the folder of the ranked images")
    rankings = []
    for row in open_table(path).rows():
        prompt, names, ranks = (row.values.get(key) for key in ("prompt", "generations", "ranking"))
        if (
            row.problem
            or not isinstance(prompt, str)
            or not (isinstance(names, list) and _are_ranks(ranks, len(names)))
        ):
            raise DataError(f"{path}, row {row.source}: expected prompt, generations and as many ranks in ranking.")
        files = []
        for name in names:
            file = inside(folder, str(name))
            if file is None or not file.is_file():
                raise DataError(f"{path}, row {row.source}: there is no image '{name}' in '{folder}'.")
            files.append(file)
        rankings.append((prompt, files, [float(rank) for rank in ranks or ()]))
    if not rankings:
        raise DataError(f"'{path}' holds no rankings.")
    return rankings


def _are_ranks(ranks: Any, count: int) -> bool:
    return isinstance(ranks, list) and len(ranks) == count and all(type(rank) in (int, float) for rank in ranks)


def read_pairs_as_rankings(folder: Path) -> list[Ranking]:
    """Returns pairs of images as rankings of two, which is what the embedded pairs are."""
    rankings = []
    for pair in read_pairs(folder).pairs:
        if not (isinstance(pair.chosen, Path) and isinstance(pair.rejected, Path)):
            raise DataError(
                f"'{folder}' holds no pairs of image files. Give ImageReward's test.json, or such a folder."
            )
        rankings.append((str(pair.prompt), [pair.chosen, pair.rejected], [1.0, 2.0]))
    return rankings


if __name__ == "__main__":
    run_as_program(main)
