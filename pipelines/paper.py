"""From pairs to a paper's table: what the programs of this folder share.

    scores, where labels ask for them -> the base's images -> training -> the aligned images -> judges -> table

Prompts are fresh ones, each with a noise of its own that base and aligned model share. Every stage keeps what it has
made, so a program that was killed goes on when it is called again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffalign.data.readers import read_pairs
from diffalign.devices.budget import best_device
from diffalign.errors import ConfigError, UserError
from diffalign.evaluation.compare.judges import check_judges, load_judges
from diffalign.evaluation.compare.result import Comparison, Judgement, Role
from diffalign.evaluation.compare.run import compare_galleries
from diffalign.evaluation.samples.generate import Gallery, generate
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.evaluation.samples.score_pairs import score_pairs, summary_lines
from diffalign.policies.policy import Policy
from diffalign.scorers import Scorer, load_scorer
from diffalign.sharing.atomic import write_atomically
from diffalign.training.recipe.load import Recipe, load_recipe
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.report.progress import ProgressReport
from diffalign.training.storage.run_folder import dump
from pipelines import favourite_background
from pipelines.cost import Cost, read_cost, train_counted
from pipelines.told import Told

RECIPES = Path(__file__).parents[1] / "configs"
PRESETS = ("background", "emoji", "sd15", "sdxl")
COLOUR = "yellow"
TOLD = "clip:assets/emoji/scorers/heldout"
FILES = {"diffusion_dpo": "dpo"}
"""Where a method's recipe is not called like the method."""

Judges = Mapping[str, tuple[Scorer, Role]]
Cell = Callable[[Judgement, Sequence[Sequence[float]]], str]

CELLS: dict[str, Cell] = {
    "win rate": lambda found, pairs: f"{100 * found.win.rate:.1f} %",
    "95 % interval": lambda found, pairs: f"{100 * found.win.low:.1f}-{100 * found.win.high:.1f} %",
    "base, median": lambda found, pairs: f"{statistics.median(base for base, _ in pairs):.4f}",
    "aligned, median": lambda found, pairs: f"{statistics.median(aligned for _, aligned in pairs):.4f}",
    "base, mean": lambda found, pairs: f"{found.base_mean:.4f}",
    "aligned, mean": lambda found, pairs: f"{found.aligned_mean:.4f}",
}
"""What a column says of a judge, from its judgement and its ``[base, aligned]`` scores."""


@dataclass(frozen=True)
class Table:
    """The form in which a paper reports.

    Args:
        columns: Names in :data:`CELLS`.
        published: Preset to lines that say what was reported, by whom and where; not measured here.
    """

    columns: Sequence[str]
    published: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def show(self, comparison: Comparison) -> str:
        """One line per judge, held-out ones first."""
        rows = [["judge", "its part", *self.columns]]
        for found in comparison.judgements:
            part = "held out" if found.role == "held-out" else "trained on"
            pairs = [row["scores"][found.name] for row in comparison.rows]
            rows.append([found.name, part, *(CELLS[column](found, pairs) for column in self.columns)])
        return markdown(rows)


@dataclass(frozen=True)
class Measured:
    """What an experiment found: aligned against base, and what the training cost."""

    comparison: Comparison
    cost: Cost


def main(method: str, table: Table, text: str | None, arguments: Sequence[str] | None = None) -> None:
    """The command of a paper's program: runs it and prints its table, which also goes to ``table.md``."""
    presets = [preset for preset in PRESETS if recipe_file(preset, method).exists()]
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="background", choices=presets, help="which models, data and judges")
    parser.add_argument("--output", type=Path, help="folder; the same folder again goes on (runs/papers/PRESET-METHOD)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prompts", type=Path, help="file of fresh prompts, one a line, instead of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the recipe")
    args = parser.parse_args(arguments)
    folder = args.output or Path("runs/papers") / f"{args.preset}-{method}"
    given = [f"evaluate.prompts={json.dumps([f'@{args.prompts}'])}"] if args.prompts else []
    try:
        measured = run(method, folder, preset=args.preset, seed=args.seed, overrides=[*given, *args.set])
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    published = "".join(f"\n{line}" for line in table.published.get(args.preset, ()))
    shown = f"{table.show(measured.comparison)}\n\n{footing(measured)}{published}\n"
    write_atomically(folder / "table.md", lambda beside: beside.write_text(shown, encoding="utf-8"))
    print(f"\n{shown}", end="", flush=True)


def run(
    method: str, folder: Path, *, preset: str = "background", seed: int = 0, overrides: Sequence[str] = ()
) -> Measured:
    """A paper's experiment in ``folder``, with the recipe ``configs/PRESET/METHOD.yaml``."""
    # Images made while training would count among its evaluations.
    values = [f"output={folder / 'run'}", f"train.seed={seed}", "previews.prompts=[]"]
    recipe = load_recipe(recipe_file(preset, method), [*values, *overrides])
    if missing := from_afar(recipe):
        print(f"needs, from the Hugging Face hub or its cache: {', '.join(missing)}; and a GPU", flush=True)
    if (found := finished(recipe, folder)) is not None:
        return found
    judges = open_judges(recipe, preset)
    make_pairs(recipe, preset)
    make_scores(recipe)
    return measure(recipe, folder, draw_base(open_model(recipe.model), recipe, folder / "base"), judges)


def recipe_file(preset: str, method: str) -> Path:
    """Where the recipe of a method lies; it need not exist."""
    return RECIPES / preset / f"{FILES.get(method, method)}.yaml"


def from_afar(recipe: Recipe) -> list[str]:
    """What a recipe names that is not on this disk: model, data, judges."""
    judges = [name for name in (*recipe.evaluate.scorers, *recipe.evaluate.trained_on) if not _local(name)]
    return [name for name in (recipe.model.path, recipe.data.train) if not Path(name).exists()] + judges


def open_judges(recipe: Recipe, preset: str) -> Judges:
    """The recipe's judges, asked whether they can judge its prompts; first, for the preset "background", a CLIP judge
    that is told the colour."""
    wanted = recipe.evaluate
    if not wanted.prompts or not (wanted.scorers or wanted.trained_on):
        raise ConfigError("a table takes fresh prompts and judges: write evaluate.prompts and evaluate.scorers")
    judges = load_judges(wanted.scorers, wanted.trained_on, str(best_device()))
    if preset == "background":
        summary_lines = Told(load_scorer(TOLD, str(best_device())), COLOUR)
        judges = {summary_lines.name: (summary_lines, "held-out"), **judges}
    check_judges(judges, read_prompts(wanted.prompts))
    return judges


def make_pairs(recipe: Recipe, preset: str) -> None:
    """Draws the pairs of a preset that makes its own, where they are missing."""
    if preset == "background":
        favourite_background.make_pairs(Path(recipe.data.train), COLOUR, count=192, seed=0)


def make_scores(recipe: Recipe) -> None:
    """Lets the judge that the labels ask score the pairs, as ``diffalign score`` does, where its file is missing."""
    scorer, data = recipe.labels.hyper.get("scorer"), recipe.data
    for file in (Path(name) for name in data.scores if scorer):
        if not file.exists():
            pairs = read_pairs(data.train, format=data.format, limit=data.limit, **data.options)
            with ProgressReport(0) as report:
                table = score_pairs(pairs, scorer, file, device=str(best_device()), progress=report.preparing)
                report.say(summary_lines(table))


def draw_base(policy: Policy, recipe: Recipe, folder: Path) -> Gallery:
    """The base's images.

    Args:
        policy: Of the recipe's model.
        recipe: Names prompts and sampling settings.
        folder: Where they go.
    """
    return _draw(policy, recipe, folder, reference=True)


def measure(recipe: Recipe, folder: Path, base: Gallery, judges: Judges) -> Measured:
    """Trains in ``recipe.output``, draws in ``folder/aligned``, and compares with the base's images.

    A folder where all of it is done already is read.
    """
    if (found := finished(recipe, folder)) is not None:
        return found
    result, cost = train_counted(recipe, folder / "cost.json")
    aligned = _draw(result.policy, recipe, folder / "aligned")
    with ProgressReport(0) as report:
        comparison = compare_galleries(base, aligned, judges, folder=folder, progress=report.preparing)
    text = json.dumps(dump(recipe), indent=2) + "\n"
    write_atomically(folder / "done.json", lambda beside: beside.write_text(text, encoding="utf-8"))
    return Measured(comparison, cost)


def finished(recipe: Recipe, folder: Path) -> Measured | None:
    """What an earlier call found with this very recipe; None if there is none, or it came to no end."""
    note = folder / "done.json"
    if not note.is_file() or json.loads(note.read_text(encoding="utf-8")) != dump(recipe):
        return None
    pairs = recipe.train.steps * recipe.train.batch_size
    return Measured(Comparison.load(folder / "comparison.json"), read_cost(folder / "cost.json", pairs))


def footing(measured: Measured) -> str:
    """What stands under a table: on how many prompts, and what it cost."""
    found = measured.comparison
    noises = "a noise of its own" if found.seeds == 1 else f"{found.seeds} noises of its own"
    return f"{found.prompts} fresh prompts, each with {noises}\n{measured.cost.summary()}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, as a Markdown table that is also read as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| "
        + " | ".join(c.rjust(w) if n else c.ljust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if n else "-") for n, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _draw(policy: Policy, recipe: Recipe, folder: Path, *, reference: bool = False) -> Gallery:
    wanted, seed = recipe.evaluate, recipe.train.seed
    with ProgressReport(0) as report:
        return generate(
            policy,
            read_prompts(wanted.prompts),
            range(seed, seed + wanted.seeds_per_prompt),
            folder,
            reference=reference,
            stride=wanted.seeds_per_prompt,
            batch_size=wanted.batch,
            progress=report.preparing,
            **wanted.sampling,
        )


def _local(scorer: str) -> bool:
    name, _, argument = scorer.partition(":")
    return name != "pickscore" and (not argument or Path(argument).exists())
