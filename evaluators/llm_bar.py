"""LLMBar: how often a judge of texts prefers the answer that follows the instruction, against tempting ones.

    diffalign evaluate llm_bar --pairs Dataset/LLMBar --scorer judge:MODEL
    diffalign evaluate llm_bar --pairs Dataset/LLMBar --model MODEL --adapter ADAPTER      (implicit reward)
    diffalign evaluate llm_bar --embedded

Five sets of 419 pairs in all: Natural, and four adversarial ones whose wrong answers are made to please. As published:
accuracy is the mean over both orders of the answers, so that a judge that follows the place gets one half; agreement is
the share of pairs with one winner in both orders. Scores of single answers have no order: their agreement is the share
without equal scores. The adversarial mean is over the four sets.

Source: Zeng et al. 2023 (arXiv 2310.07641) and github.com/princeton-nlp/LLMBar.
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
    "--pairs: the folder Dataset/LLMBar of github.com/princeton-nlp/LLMBar (MIT)",
    "--scorer judge:ID, a chat model that compares, or reward:ID, or --model and --adapter for an implicit reward",
)
SETS = ("Natural", "Adversarial/Neighbor", "Adversarial/GPTInst", "Adversarial/GPTOut", "Adversarial/Manual")


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Judges the pairs, and returns the tables."""
    parser = Parser("llm_bar", __doc__, NEEDS)
    parser.add_argument("--pairs", help="folder with Natural/dataset.json, Adversarial/Neighbor/dataset.json, ...")
    add_pair_options(parser, ())
    embedded = {"pairs": ROOT / "evaluators" / "examples" / "llm_bar", "scorer": ["polarity"]}
    args = parser.read(arguments, embedded)

    folder = need_file(args.pairs, "--pairs", "the folder of LLMBar")
    rows = evenly_spaced([(pair, name) for name in SETS for pair in read_set(folder, name)], args.limit)
    found = judge_pairs(args, [pair for pair, _ in rows], "text")

    tables = []
    for judge, judged in found.items():
        cells: list[list[Any]] = []
        adversarial: list[tuple[float, float]] = []
        for name in SETS:
            credits = [credit for credit, (_, of) in zip(judged.credits(), rows, strict=True) if of == name]
            if not credits:
                continue
            agreed = sum(credit != 0.5 for credit in credits)
            cells.append([name, len(credits), share(sum(credits), len(credits)), share(agreed, len(credits))])
            if name != "Natural":
                adversarial.append((float(np.mean(credits)), agreed / len(credits)))
        if adversarial:
            means = [Rate(float(value)) for value in np.mean(np.array(adversarial), axis=0)]
            cells.append(["Adversarial: mean of the sets", sum(row[1] for row in cells if row[0] != "Natural"), *means])
        tables.append(Table(f"LLMBar, {judge}", ["set", "pairs", "accuracy", "agreement"], cells))
    return finish(args, "LLMBar", tables, about=weights_of(found), medium="text")


def read_set(folder: Path, name: str) -> list[Pair]:
    """Returns the pairs of one set: input, output_1, output_2, and the label 1 or 2 of the better output.

    Raises:
        DataError: A cell is missing or of another kind.
        UserError: There is no such file.
    """
    path = folder / name / "dataset.json"
    pairs = []
    for number, row in enumerate(open_table(path).rows()):
        cells = [row.values.get(column) for column in ("input", "output_1", "output_2")]
        label = row.values.get("label")
        if row.problem or not all(isinstance(cell, str) for cell in cells) or label not in (1, 2):
            raise DataError(
                f"{path}, row {row.source}: expected input, output_1, output_2 and a label 1 or 2"
                f"{': ' + row.problem if row.problem else ''}. Give LLMBar's own files."
            )
        prompt, *outputs = map(str, cells)
        chosen, rejected = outputs if label == 1 else outputs[::-1]
        pairs.append(Pair(f"{name}/{number}", prompt, chosen, rejected, source=row.source))
    return pairs


if __name__ == "__main__":
    run_as_program(main)
