"""DPG-Bench and DSG: the share of questions on an image that a VQA model answers with yes, with their dependencies.

    diffalign evaluate dpg_dsg --model MODEL --questions dpg_bench.csv --vqa MODULE:FUNCTION
    diffalign evaluate dpg_dsg --model MODEL --questions dsg-1k-anns.csv --rule dsg --vqa MODULE:FUNCTION
    diffalign evaluate dpg_dsg --embedded

The VQA model is yours: ``function(path, question)`` returns the answer, of which "yes" counts. A question counts only
if those that it depends on are right ("is the dog red" needs "is there a dog"). The two protocols differ in how far:
``dpg`` in all steps (a question whose parent does not count does not count either), ``dsg`` in one step (only the
parents' own answers). An image's score is the mean over its questions, a prompt's the mean over its images (four for
DPG-Bench, one for DSG), times 100. Categories are means over questions as answered, without dependencies.

The published program of DPG-Bench leaves out the first question of its list, and takes the categories from the last of
the four images; here all questions and all images count.

Source: Hu et al. 2024 (arXiv 2403.05135), github.com/TencentQQGYLab/ELLA; Cho et al. 2023 (arXiv 2310.18235),
github.com/j-min/DSG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign.data.suites import SuitePrompt
from diffalign.data.suites.layouts import open_table
from diffalign.errors import DataError
from diffalign.plugins import function_digest
from evaluators.shared.answers import Item, answer_all, items_of, load_function
from evaluators.shared.finish import finish
from evaluators.shared.options import ASSETS, IMAGES, Parser, evenly_spaced, need_file, run_as_program
from evaluators.shared.sides import sample_sides
from evaluators.shared.table import Table, mean_of

NEEDS = (
    "--questions: dpg_bench/dpg_bench.csv of github.com/TencentQQGYLab/ELLA (four images per prompt), or",
    "dsg-1k-anns.csv of github.com/j-min/DSG (one image per prompt: --rule dsg --seeds 1)",
    "--vqa: mPLUG-large (damo/mplug_visual-question-answering_coco_large_en of modelscope), as a function of yours",
)
RULES = ("dpg", "dsg")


@dataclass
class Questions:
    """The questions on one prompt, by their numbers.

    Args:
        prompt: The prompt.
        texts: The questions.
        parents: Numbers of the questions that each depends on.
        categories: Category of each: the part of its tuple before the bracket, ``"attribute - color"``.
    """

    prompt: str
    texts: dict[int, str] = field(default_factory=dict)
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> list[Table]:
    """Generates, asks, and returns the tables."""
    parser = Parser("dpg_dsg", __doc__, NEEDS)
    parser.add_argument("--questions", help="csv with item_id, text, proposition_id, dependency, tuple and question")
    parser.add_argument("--vqa", default="", help="MODULE:FUNCTION, your VQA model")
    parser.add_argument("--rule", default="dpg", choices=RULES, help="how dependencies count (default: dpg)")
    parser.add_samples(seeds=4)
    embedded = {"questions": ASSETS / "prompts" / "questions.csv", "vqa": "evaluators.shared.embedded:answer"}
    args = parser.read(arguments, {**IMAGES, **embedded, "seeds": 1, "limit": 8})

    lists = read_questions(need_file(args.questions, "--questions", "the list of questions"))
    lists = evenly_spaced(lists, args.limit)
    ask = load_function(args.vqa, "--vqa", "which answers a question on an image")
    by_prompt = {entry.prompt: entry for entry in lists}
    sides = sample_sides(args, [SuitePrompt(prompt) for prompt in by_prompt], "image")

    def answer(part: list[Item]) -> list[dict[str, Any]]:
        return [
            {str(n): str(ask(item.content, text)).strip().lower() for n, text in item.about.texts.items()}
            for item in part
        ]

    made_by = {"vqa": [args.vqa, function_digest(ask)]}
    rows, categories = [], []
    for side, gallery in sides.items():
        items, target = items_of(gallery, by_prompt), args.output / "scores" / f"{side}-answers.jsonl"
        answers = answer_all(items, answer, target, made_by, what=f"{side}, images asked about", batch=1)
        right = [{int(n): text == "yes" for n, text in found.items()} for found in answers]
        counted = [counts(found, item.about.parents, args.rule) for found, item in zip(right, items, strict=True)]
        prompts = [item.prompt for item in items]
        for name, hits in (("with dependencies", counted), ("without", right)):
            shares = [sum(found.values()) / len(found) for found in hits]
            rows.append([side, name, len(by_prompt), len(items), mean_of(shares, prompts, scale=100, digits=2)])
        values: dict[str, list[tuple[float, str]]] = {}
        for item, found in zip(items, right, strict=True):
            for number, hit in found.items():
                category = item.about.categories[number]
                for name in dict.fromkeys((category.split(" - ")[0], category)):
                    values.setdefault(name, []).append((float(hit), item.prompt))
        for name in sorted(values):
            hits_of = mean_of(*map(list, zip(*values[name], strict=True)), scale=100, digits=2)  # type: ignore[arg-type]
            categories.append([side, name, len(values[name]), hits_of])
    tables = [
        Table(f"Score by the rule of {args.rule}", ["side", "questions", "prompts", "images", "score"], rows),
        Table("Questions as answered, by category", ["side", "category", "answers", "right, %"], categories),
    ]
    return finish(args, "DPG-Bench" if args.rule == "dpg" else "DSG", tables, about={"vqa": args.vqa}, sides=sides)


def counts(right: Mapping[int, bool], parents: Mapping[int, Sequence[int]], rule: str) -> dict[int, bool]:
    """Returns for each question whether it counts as right.

    Args:
        right: Whether each question was answered with yes.
        parents: Questions that each depends on.
        rule: ``"dpg"``: all parents count themselves; ``"dsg"``: all parents were answered with yes.

    Raises:
        DataError: Questions that depend on each other in a circle.
    """
    if rule == "dsg":
        return {n: hit and all(right.get(parent, True) for parent in parents[n]) for n, hit in right.items()}
    found: dict[int, bool] = {}

    def count(number: int, below: tuple[int, ...] = ()) -> bool:
        if number in below:
            raise DataError(f"the questions {', '.join(map(str, below))} depend on each other in a circle.")
        if number not in found:
            above = [parent for parent in parents[number] if parent in right]
            found[number] = all(count(parent, (*below, number)) for parent in above) and right[number]
        return found[number]

    return {number: count(number) for number in right}


def read_questions(path: Path) -> list[Questions]:
    """Returns the questions of each prompt, in the order of the file.

    Raises:
        DataError: A column or a number is missing.
    """
    table = open_table(path)
    wanted = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
    if missing := [name for name in wanted if name not in table.columns]:
        raise DataError(f"'{path}' has no column {', '.join(missing)}. Columns: {', '.join(table.columns)}.")
    found: dict[str, Questions] = {}
    for row in table.rows():
        item, text, number, dependency, category, question = (str(row.values.get(name) or "") for name in wanted)
        try:
            key, parents = int(number), tuple(int(part) for part in dependency.split(",") if int(part))
        except ValueError as error:
            raise DataError(
                f"{path}, row {row.source}: expected numbers in proposition_id and dependency, got '{number}' and "
                f"'{dependency}'{row.problem and ': ' + row.problem}."
            ) from error
        if not text or not question:
            raise DataError(f"{path}, row {row.source}: a prompt and a question are expected. Correct the row.")
        entry = found.setdefault(item, Questions(text))
        entry.texts[key], entry.parents[key] = question, parents
        entry.categories[key] = category.split("(")[0].strip()
    if not found:
        raise DataError(f"'{path}' holds no questions.")
    return list(found.values())


if __name__ == "__main__":
    run_as_program(main)
