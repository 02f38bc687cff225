"""RewardBench: how often a judge of texts prefers the answer that people verified as the better one.

    diffalign evaluate reward_bench --pairs filtered.parquet --scorer reward:FOLDER
    diffalign evaluate reward_bench --pairs filtered.parquet --model MODEL --adapter ADAPTER      (implicit reward)
    diffalign evaluate reward_bench --embedded

23 subsets in four sections. A pair counts where the judge scores the chosen answer higher; equal scores count as wrong,
and undecided verdicts of a judge that compares as a half, both as published. A section's accuracy is a mean over its
subsets, weighted by their sizes, where math-prm counts as much as all code together (984 instead of 447 pairs). The
score is the mean of the four sections.

Source: Lambert et al. 2024 (arXiv 2403.13787) and github.com/allenai/reward-bench, rewardbench/constants.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.data.records.pair import Pair
from diffalign.data.suites.layouts import open_table
from diffalign.errors import DataError
from diffalign.evaluation.stats.rates.share import share
from evaluators.shared.finish import finish
from evaluators.shared.options import ROOT, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.pairs import add_pair_options, judge_pairs, weights_of
from evaluators.shared.table import Rate, Table

NEEDS = (
    "--pairs: the split filtered of huggingface.co/datasets/allenai/reward-bench, as parquet (2,985 pairs)",
    "--scorer reward:ID, the reward model to judge, or --model and --adapter for an implicit reward",
)
SECTIONS = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
SIZES = {
    "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40,
    "mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92,
    "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46, "refusals-dangerous": 100, "refusals-offensive": 100,
    "xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136, "math-prm": 984, "hep-cpp": 164,
    "hep-go": 164, "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164,
}  # fmt: skip
"""Weight of each subset in its section, as published."""


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Judges the pairs, and returns the tables."""
    parser = Parser("reward_bench", __doc__, NEEDS)
    parser.add_argument("--pairs", help="a table with prompt, chosen, rejected and subset")
    add_pair_options(parser, ())
    embedded = {"pairs": ROOT / "evaluators" / "examples" / "reward_bench.jsonl", "scorer": ["polarity"]}
    args = parser.read(arguments, embedded)

    rows = evenly_spaced(read_pairs(need_file(args.pairs, "--pairs", "the pairs of RewardBench")), args.limit)
    pairs, subsets = [pair for pair, _ in rows], [subset for _, subset in rows]
    found = judge_pairs(args, pairs, "text")

    tables = []
    for judge, judged in found.items():
        credits = [credit if judged.compares else float(credit == 1) for credit in judged.credits()]
        right: dict[str, list[float]] = {name: [] for name in SIZES} | {subset: [] for subset in subsets}
        for subset, credit in zip(subsets, credits, strict=True):
            right[subset].append(credit)
        cells: list[list[Any]] = []
        scores = []
        for section, names in section_names(subsets).items():
            present = [name for name in names if right[name]]
            if not present:
                continue
            rates = [np.mean(right[name]) for name in present]
            scores.append(float(np.average(rates, weights=[SIZES.get(name, len(right[name])) for name in present])))
            cells += [[name, section, len(right[name]), share(sum(right[name]), len(right[name]))] for name in present]
            cells.append([f"{section}: section", section, sum(len(right[name]) for name in present), Rate(scores[-1])])
        cells.append(["score: mean of the sections", "", len(pairs), Rate(float(np.mean(scores)))])
        tables.append(Table(f"RewardBench, {judge}", ["subset", "section", "pairs", "accuracy"], cells))
    return finish(args, "RewardBench", tables, about=weights_of(found), medium="text")


def section_names(subsets: Sequence[str]) -> dict[str, Sequence[str]]:
    """Returns the subsets of each section; those that RewardBench does not have form a section of their own."""
    known = {name for names in SECTIONS.values() for name in names}
    other = tuple(dict.fromkeys(subset for subset in subsets if subset not in known))
    return {**SECTIONS, **({"other": other} if other else {})}


def read_pairs(path: Path) -> list[tuple[Pair, str]]:
    """Returns the pairs of a table in the published layout, each with its subset.

    Raises:
        DataError: A column is missing, or a cell is no text.
    """
    table = open_table(path)
    wanted = ("prompt", "chosen", "rejected", "subset")
    if missing := [name for name in wanted if name not in table.columns]:
        raise DataError(f"'{path}' has no column {', '.join(missing)}. Columns: {', '.join(table.columns)}.")
    pairs = []
    for number, row in enumerate(table.rows()):
        cells = [row.values.get(name) for name in wanted]
        if row.problem or not all(isinstance(cell, str) for cell in cells):
            raise DataError(
                f"{path}, row {row.source}: {row.problem or 'a cell of ' + ', '.join(wanted) + ' is no text'}."
            )
        prompt, chosen, rejected, subset = map(str, cells)
        pairs.append(
            (Pair(f"{number}-{row.values.get('id', '')}", prompt, chosen, rejected, source=row.source), subset)
        )
    if not pairs:
        raise DataError(f"'{path}' holds no pairs.")
    return pairs


if __name__ == "__main__":
    run_as_program(main)
