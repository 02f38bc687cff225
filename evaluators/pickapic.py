"""Pick-a-Pic: how often judges, and the implicit reward of a policy, agree with people's votes on pairs of images.

    diffalign evaluate pickapic --pairs TEST --validation VALIDATION --scorer pickscore
    diffalign evaluate pickapic --pairs TEST --model MODEL --adapter ADAPTER      (implicit reward)
    diffalign evaluate pickapic --embedded

Ties as published: a judge calls a tie where the probabilities of both images differ by at most a threshold, the best of
0, 0.1, ..., 1 on the validation pairs (0 without them). Equal to the vote: 1 point; one of the two says tie: half; else
none. Beside it the accuracy without tied votes, as papers on implicit rewards give it (DPO-SD1.5 60.8 %, DPO-SDXL
72.0 %, PickScore 64.2 % on validation pairs; margins averaged over 10 noises).

Source: Kirstain et al. 2023 (arXiv 2305.01569), github.com/yuvalkirstain/PickScore; Wallace et al. 2023
(arXiv 2311.12908), section 5.3.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair
from diffalign.evaluation.stats.rates.share import share
from evaluators.shared.finish import finish
from evaluators.shared.options import ASSETS, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.pairs import add_pair_options, judge_pairs, weights_of
from evaluators.shared.table import Table

NEEDS = (
    "--pairs: test_unique of huggingface.co/datasets/yuvalkirstain/pickapic_v2 (or _v1), as parquet (500 pairs)",
    "--validation: validation_unique of the same, for the threshold of ties",
    "--scorer pickscore: yuvalkirstain/PickScore_v1",
)
THRESHOLDS = tuple(number / 10 for number in range(11))


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Judges the pairs, and returns the table."""
    parser = Parser("pickapic", __doc__, NEEDS)
    parser.add_argument("--pairs", help="pairs of images with votes")
    parser.add_argument("--validation", help="pairs on which the threshold of ties is chosen")
    parser.add_argument("--format", default="pickapic", help="format of the pairs (default: pickapic)")
    add_pair_options(parser, ("pickscore",), draws=10)
    embedded = {"pairs": ASSETS / "pairs", "format": "pair_folder", "limit": 8}
    args = parser.read(arguments, {**embedded, "scorer": [f"clip:{ASSETS / 'scorers' / 'heldout'}"]})

    pairs = read_votes(args, args.pairs, "--pairs")
    votes = [pair.probability for pair in pairs]
    found = judge_pairs(args, pairs, "image")
    chosen = dict.fromkeys(found, 0.0)
    if args.validation:
        validation = read_votes(args, args.validation, "--validation")
        beside = argparse.Namespace(**{**vars(args), "output": args.output / "validation"})
        labels = [pair.probability for pair in validation]
        for judge, judged in judge_pairs(beside, validation, "image").items():
            accuracies = [points(judged.probabilities, labels, threshold) for threshold in THRESHOLDS]
            chosen[judge] = THRESHOLDS[int(np.argmax([np.mean(values) for values in accuracies]))]

    rows: list[list[Any]] = []
    for judge, judged in found.items():
        published = points(judged.probabilities, votes, chosen[judge])
        decided = [credit for credit, vote in zip(judged.credits(), votes, strict=True) if vote != 0.5]
        without_ties = share(sum(decided), len(decided))
        rows.append([judge, len(pairs), share(sum(published), len(published)), chosen[judge], without_ties])
    head = ["judge", "pairs", "accuracy, as published", "threshold of ties", "accuracy without tied votes"]
    note = f"{sum(vote == 0.5 for vote in votes)} of {len(votes)} votes are ties."
    return finish(args, "Pick-a-Pic", [Table("Agreement with votes", head, rows, note)], about=weights_of(found))


def read_votes(args: argparse.Namespace, source: Any, option: str) -> list[Pair]:
    """Returns pairs with their ties: a tied vote has the probability 1/2."""
    path = Path(need_file(source, option, "pairs with votes"))
    ties: dict[str, Any] = {"ties": "soft"} if args.format == "pickapic" else {}
    return evenly_spaced(list(read_pairs(path, format=args.format, **ties).pairs), args.limit)


def points(probabilities: Sequence[float], votes: Sequence[float], threshold: float) -> list[float]:
    """Returns each pair's points.

    Args:
        probabilities: Of the chosen image, by the judge.
        votes: 1/2 for a tie, else for the chosen image.
        threshold: Of the difference of both images' probabilities, up to which the judge calls a tie.
    """
    found = []
    for p, vote in zip(probabilities, votes, strict=True):
        is_tie, says_tie = vote == 0.5, abs(2 * p - 1) <= threshold
        found.append(1.0 if is_tie and says_tie else 0.5 if is_tie or says_tie else float(p > 0.5))
    return found


if __name__ == "__main__":
    run_as_program(main)
