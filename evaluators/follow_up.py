"""Follow-up likelihood: how often the better answer is the one after which a chat model expects the kinder reply.

    diffalign evaluate follow_up --pairs PAIRS --scorer follow_up:MODEL
    diffalign evaluate follow_up --embedded --scorer follow_up:MODEL

The judge is a chat model that judges nothing: an answer's score is how much likelier it finds positive follow-ups of a
person than negative ones, in nats per token. The accuracy is the share of pairs whose better answer scores higher,
equal scores a half; a row for each category of follow-ups, and one for their mean, which is the score. Other judges
that --scorer names, and the implicit reward of --adapter, stand below on the same pairs. The published sentences are
not part of this package, so its numbers are not the published ones: Llama-3-8B-Instruct 66.4 % on average over their
sets (56.3 % by the likelihood of the answer itself); ``follow_up:FILE.yaml:MODEL`` takes sentences of yours.

Source: Zhang et al. 2024 (arXiv 2409.13948), section 4.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError, UserError
from diffalign.evaluation.stats.rates.share import share
from diffalign.scorers.scorer import Scorer
from evaluators.shared.answers import Item, answer_all
from evaluators.shared.finish import finish
from evaluators.shared.options import ROOT, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.pairs import add_pair_options, judge_pairs, weights_of
from evaluators.shared.scores import open_judges, score_file
from evaluators.shared.table import Table

NEEDS = (
    "--pairs: preferences on texts in any format that `diffalign data check` reads",
    "--scorer follow_up:ID, a chat model such as meta-llama/Meta-Llama-3-8B-Instruct",
    "the sentences of the paper, as follow_up:FILE.yaml:ID",
)


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Judges the pairs, and returns the table."""
    parser = Parser("follow_up", __doc__, NEEDS)
    parser.add_argument("--pairs", help="pairs of texts")
    parser.add_argument("--format", default="auto", help="format of the pairs, by default found by its columns")
    add_pair_options(parser, ())
    embedded = {"pairs": ROOT / "evaluators" / "examples" / "reward_bench.jsonl", "format": "trl"}
    args = parser.read(arguments, embedded)

    specs = [spec for spec in args.scorer if spec.partition(":")[0] == "follow_up"]
    if not specs:
        raise UserError("this protocol judges by the follow-ups of a chat model. Type: --scorer follow_up:MODEL")
    source = need_file(args.pairs, "--pairs", "pairs of texts")
    pairs = evenly_spaced(list(read_pairs(Path(source), format=args.format).pairs), args.limit)
    if not isinstance(pairs[0].chosen, (str, tuple)) and not hasattr(pairs[0].chosen, "messages"):
        raise DataError(f"'{source}' holds no texts, and follow-ups are texts. Give preferences on texts.")

    rows: list[list[Any]] = []
    about = {}
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    for name, scorer in open_judges(with_scorers(args, specs), prompts, "text").items():
        scored = by_category(args, pairs, scorer)
        about[f"weights of {name}"] = scorer.weights
        for category in scored[0]["chosen"]:
            gaps = [row["chosen"][category] - row["rejected"][category] for row in scored]
            rows.append([name, category, len(gaps), accuracy(gaps)])
        gaps = [sum(row["chosen"].values()) - sum(row["rejected"].values()) for row in scored]
        rows.append([name, "all: the score", len(gaps), accuracy(gaps)])
    others = [spec for spec in args.scorer if spec not in specs]
    if others or args.model:
        found = judge_pairs(with_scorers(args, others), pairs, "text")
        about |= weights_of(found)
        for name, judged in found.items():
            rows.append([name, "", len(pairs), share(sum(judged.credits()), len(pairs))])
    table = Table("Accuracy on pairs", ["judge", "follow-ups", "pairs", "accuracy"], rows)
    return finish(args, "Follow-up likelihood", [table], about=about, medium="text")


def with_scorers(args: argparse.Namespace, specs: Sequence[str]) -> argparse.Namespace:
    """Returns the options with these scorers only."""
    return argparse.Namespace(**{**vars(args), "scorer": list(specs)})


def accuracy(gaps: Sequence[float]) -> Any:
    """Returns the share of positive gaps, with zeros as a half."""
    return share(sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps), len(gaps))


def by_category(args: argparse.Namespace, pairs: Sequence[Pair], scorer: Scorer) -> list[dict[str, dict[str, float]]]:
    """Returns for each pair the score of both answers by category of follow-ups; kept as they come."""

    def score(part: list[Item]) -> list[dict[str, dict[str, float]]]:
        found: list[dict[str, dict[str, float]]] = [{} for _ in part]
        for side in ("chosen", "rejected"):
            texts = [getattr(item.content, side) for item in part]
            values = scorer.by_category([item.content.prompt for item in part], texts).tolist()  # type: ignore[attr-defined]
            for row, row_values in zip(found, values, strict=True):
                row[side] = dict(zip(scorer.follow_ups, row_values, strict=True))  # type: ignore[attr-defined]
        return found

    items = [Item(pair.id, str(pair.prompt), pair) for pair in pairs]
    target = score_file(args.output, "follow-ups", scorer.name)
    made_by = {"scorer": scorer.name, "weights": scorer.weights}
    return answer_all(items, score, target, made_by, what=f"pairs judged by {scorer.name}", batch=args.batch)


if __name__ == "__main__":
    run_as_program(main)
