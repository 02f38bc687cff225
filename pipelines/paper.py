"""Runs a paper's experiment and prints its table; shared by the programs of this folder.

    scores, if labels need them -> the base's images -> training -> the aligned images -> judges -> table

Prompts are held out, each with its own noise, which base and aligned model share. Every stage keeps its files, so an
interrupted program resumes if it is called again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffalign.data.readers import read_pairs
from diffalign.devices.device_memory import best_device
from diffalign.errors import ConfigError, UserError
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.evaluation.compare.result import Comparison, Judgement, Role
from diffalign.evaluation.compare.run import compare_galleries
from diffalign.evaluation.samples.gallery import Gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.evaluation.scoring.score_pairs import score_pairs, summary_lines
from diffalign.files.atomic import write_atomically
from diffalign.policies.policy import Policy
from diffalign.scorers import Scorer, load_scorer
from diffalign.training.recipe.load import Recipe, load_recipe
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.report.progress import ProgressReport
from diffalign.training.storage.stored_recipe import dump
from pipelines import favourite_background
from pipelines.background_prompt_scorer import BackgroundPromptScorer
from pipelines.training_cost import TrainingCost, read_cost, train_with_cost

RECIPES = Path(__file__).parents[1] / "configs"
PRESETS = ("background", "emoji", "sd15", "sdxl")
COLOUR = "yellow"
BACKGROUND_JUDGE = "clip:assets/emoji/scorers/heldout"
"""Scorer that judges the preset "background" with the colour added to the prompts."""
RECIPE_NAMES = {"diffusion_dpo": "dpo"}
"""Names of recipes that differ from their method's name."""

Judges = Mapping[str, tuple[Scorer, Role]]
Cell = Callable[[Judgement, Sequence[Sequence[float]]], str]

CELLS: dict[str, Cell] = {
    "win rate": lambda judgement, pairs: f"{100 * judgement.win.rate:.1f} %",
    "95 % interval": lambda judgement, pairs: f"{100 * judgement.win.low:.1f}-{100 * judgement.win.high:.1f} %",
    "base, median": lambda judgement, pairs: f"{statistics.median(base for base, _ in pairs):.4f}",
    "aligned, median": lambda judgement, pairs: f"{statistics.median(aligned for _, aligned in pairs):.4f}",
    "base, mean": lambda judgement, pairs: f"{judgement.base_mean:.4f}",
    "aligned, mean": lambda judgement, pairs: f"{judgement.aligned_mean:.4f}",
}
"""Column to a function that formats its cell from a judgement and the judge's ``[base, aligned]`` scores."""


@dataclass(frozen=True)
class Table:
    """The format of a paper's table.

    Args:
        columns: Names in :data:`CELLS`.
        published: Preset to lines with published numbers and their source; not measured here.
    """

    columns: Sequence[str]
    published: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def show(self, comparison: Comparison) -> str:
        """Returns the table with one line per judge; held-out judges come first."""
        rows = [["judge", "role", *self.columns]]
        for judgement in comparison.judgements:
            role = "held out" if judgement.role == "held-out" else "trained on"
            pairs = [row["scores"][judgement.name] for row in comparison.rows]
            rows.append([judgement.name, role, *(CELLS[column](judgement, pairs) for column in self.columns)])
        return markdown(rows)


@dataclass(frozen=True)
class ExperimentResult:
    """The comparison of base and aligned model, and the cost of the training."""

    comparison: Comparison
    cost: TrainingCost


def main(method: str, table: Table, text: str | None, arguments: Sequence[str] | None = None) -> None:
    """Runs a paper's experiment from the command line, prints its table, and writes it to ``table.md``."""
    presets = [preset for preset in PRESETS if recipe_file(preset, method).exists()]
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="background", choices=presets, help="models, data and judges")
    parser.add_argument(
        "--output", type=Path, help="folder, by default runs/papers/PRESET-METHOD; an existing folder is resumed"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of training and evaluation")
    parser.add_argument("--prompts", type=Path, help="file of held-out prompts, one per line, instead of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="value of the recipe")
    args = parser.parse_args(arguments)
    folder = args.output or Path("runs/papers") / f"{args.preset}-{method}"
    prompt_override = [f"evaluate.prompts={json.dumps([f'@{args.prompts}'])}"] if args.prompts else []
    try:
        result = run(method, folder, preset=args.preset, seed=args.seed, overrides=[*prompt_override, *args.set])
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    published = "".join(f"\n{line}" for line in table.published.get(args.preset, ()))
    report = f"{table.show(result.comparison)}\n\n{footer(result)}{published}\n"
    write_atomically(folder / "table.md", lambda temporary: temporary.write_text(report, encoding="utf-8"))
    print(f"\n{report}", end="", flush=True)


def run(
    method: str, folder: Path, *, preset: str = "background", seed: int = 0, overrides: Sequence[str] = ()
) -> ExperimentResult:
    """Runs a paper's experiment in ``folder``, with the recipe ``configs/PRESET/METHOD.yaml``."""
    # Images generated during training would count among its evaluations.
    values = [f"output={folder / 'run'}", f"train.seed={seed}", "previews.prompts=[]"]
    recipe = load_recipe(recipe_file(preset, method), [*values, *overrides])
    if missing := not_on_disk(recipe):
        print(f"needs, from the Hugging Face hub or its cache: {', '.join(missing)}; and a GPU", flush=True)
    if (result := read_finished(recipe, folder)) is not None:
        return result
    judges = open_judges(recipe, preset)
    make_pairs(recipe, preset)
    make_scores(recipe)
    base = generate_base(open_model(recipe.model), recipe, folder / "base")
    return train_and_compare(recipe, folder, base, judges)


def recipe_file(preset: str, method: str) -> Path:
    """Returns the path of a method's recipe; the file may be missing."""
    return RECIPES / preset / f"{RECIPE_NAMES.get(method, method)}.yaml"


def not_on_disk(recipe: Recipe) -> list[str]:
    """Returns the model, data and judges of a recipe that are not on this disk."""
    judges = [name for name in (*recipe.evaluate.scorers, *recipe.evaluate.trained_on) if not _local(name)]
    return [name for name in (recipe.model.path, recipe.data.train) if not Path(name).exists()] + judges


def open_judges(recipe: Recipe, preset: str) -> Judges:
    """Loads the recipe's judges and checks that they can judge its prompts. For the preset "background", a CLIP judge
    with the colour added to the prompts comes first."""
    evaluate = recipe.evaluate
    if not evaluate.prompts or not (evaluate.scorers or evaluate.trained_on):
        raise ConfigError("a table needs held-out prompts and judges: set evaluate.prompts and evaluate.scorers")
    judges = load_judges(evaluate.scorers, evaluate.trained_on, str(best_device()))
    if preset == "background":
        scorer = BackgroundPromptScorer(load_scorer(BACKGROUND_JUDGE, str(best_device())), COLOUR)
        judges = {scorer.name: (scorer, "held-out"), **judges}
    check_judges(judges, read_prompts(evaluate.prompts))
    return judges


def make_pairs(recipe: Recipe, preset: str) -> None:
    """Draws the pairs of the preset "background" if they are missing."""
    if preset == "background":
        favourite_background.make_pairs(Path(recipe.data.train), COLOUR, count=192, seed=0)


def make_scores(recipe: Recipe) -> None:
    """Scores the pairs for labels that need scores, as ``diffalign score`` does, if the file is missing."""
    scorer, data = recipe.labels.hyper.get("scorer"), recipe.data
    for file in (Path(name) for name in data.scores if scorer):
        if not file.exists():
            pairs = read_pairs(data.train, format=data.format, limit=data.limit, **data.options)
            with ProgressReport(0) as report:
                table = score_pairs(pairs, scorer, file, device=str(best_device()), progress=report.preparing)
                report.say(summary_lines(table))


def generate_base(policy: Policy, recipe: Recipe, folder: Path) -> Gallery:
    """Generates the base's images.

    Args:
        policy: A policy of the recipe's model.
        recipe: Its section ``evaluate`` has the prompts and sampling settings.
        folder: Folder for the images.
    """
    return _generate(policy, recipe, folder, reference=True)


def train_and_compare(recipe: Recipe, folder: Path, base: Gallery, judges: Judges) -> ExperimentResult:
    """Trains in ``recipe.output``, generates images in ``folder/aligned``, and compares them with the base's images.

    If the folder holds a finished experiment with this recipe, its result is read.
    """
    if (finished := read_finished(recipe, folder)) is not None:
        return finished
    result, cost = train_with_cost(recipe, folder / "cost.json")
    aligned = _generate(result.policy, recipe, folder / "aligned")
    with ProgressReport(0) as report:
        comparison = compare_galleries(base, aligned, judges, folder=folder, progress=report.preparing)
    text = json.dumps(dump(recipe), indent=2) + "\n"
    write_atomically(folder / "done.json", lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return ExperimentResult(comparison, cost)


def read_finished(recipe: Recipe, folder: Path) -> ExperimentResult | None:
    """Reads the result of a finished call with the same recipe; None without one."""
    done_file = folder / "done.json"
    if not done_file.is_file() or json.loads(done_file.read_text(encoding="utf-8")) != dump(recipe):
        return None
    pairs = recipe.train.steps * recipe.train.batch_size
    return ExperimentResult(Comparison.load(folder / "comparison.json"), read_cost(folder / "cost.json", pairs))


def footer(result: ExperimentResult) -> str:
    """Returns the lines below a table: number of prompts, and cost."""
    comparison = result.comparison
    noises = "its own noise" if comparison.seeds == 1 else f"{comparison.seeds} noises of its own"
    return f"{comparison.prompts} fresh prompts, each with {noises}\n{result.cost.summary()}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as an aligned Markdown table; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(c.rjust(w) if n else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if n else "-") for n, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _generate(policy: Policy, recipe: Recipe, folder: Path, *, reference: bool = False) -> Gallery:
    evaluate, seed = recipe.evaluate, recipe.train.seed
    with ProgressReport(0) as report:
        return generate(
            policy,
            read_prompts(evaluate.prompts),
            range(seed, seed + evaluate.seeds_per_prompt),
            folder,
            reference=reference,
            stride=evaluate.seeds_per_prompt,
            batch_size=evaluate.batch,
            progress=report.preparing,
            **evaluate.sampling,
        )


def _local(scorer: str) -> bool:
    name, _, argument = scorer.partition(":")
    return name != "pickscore" and (not argument or Path(argument).exists())
