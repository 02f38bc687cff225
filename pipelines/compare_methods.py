"""Compares methods with the same base, pairs, seed, adapter and optimizer; only the choices on the four axes differ.

    python -m pipelines.compare_methods [--methods diffusion_dpo,ddim_inpo,smpo,seppo] [--seeds 0,1,2]
                                        [--budget pairs|evaluations] [--preset background|emoji] [--output FOLDER]

The common part comes from the recipe of Diffusion-DPO (`--set KEY=VALUE` replaces a value). Pairs, latents, labels and
loss come from each method's own recipe, or from its preset if it has no recipe (`--set METHOD:KEY=VALUE`).

With `--budget pairs` every method sees the same number of pairs. With `--budget evaluations` every method gets the
number of denoiser evaluations of Diffusion-DPO, so a more expensive method gets fewer steps. Each seed is a separate
training with its own evaluation noises. Several seeds are pooled, with intervals that resample prompts. An interval
is the uncertainty of a rate for these trainings; the rates by seed show the variation between trainings.

The base's images are drawn once per seed, and all images are encoded before the first training is timed. The table is
written to `table.md` and `table.json`, images to `sheet.png`. An interrupted program resumes if it is called again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.evaluation.samples.gallery import Gallery
from diffalign.files.atomic import write_atomically
from diffalign.methods import METHODS
from diffalign.pairs.dataset import read_dataset
from diffalign.training.recipe.apply_preset import AXES
from diffalign.training.recipe.load import Recipe, load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.report.progress import ProgressReport
from diffalign.training.storage.stored_recipe import dump
from pipelines import paper
from pipelines.image_grid import save_grid
from pipelines.method_ranking import MethodResult, rank_methods, write_tables
from pipelines.training_cost import expected_forwards

DEFAULT_METHODS = ("diffusion_dpo", "ddim_inpo", "smpo", "seppo")
BUDGETS = ("pairs", "evaluations")
SHEET_PROMPTS = 8
"""Number of prompts on the sheet, evenly spaced over the list."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every method and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(DEFAULT_METHODS), help=f"methods: {', '.join(METHODS)}")
    parser.add_argument("--seeds", default="0", help="seeds, separated by commas")
    parser.add_argument("--budget", default="pairs", choices=BUDGETS, help="quantity that is equal for all methods")
    parser.add_argument("--preset", default="background", choices=paper.PRESETS, help="model, data and judges")
    parser.add_argument("--output", type=Path, help="folder, by default runs/compare-methods-BUDGET")
    parser.add_argument("--set", action="append", default=[], metavar="[METHOD:]KEY=VALUE", help="value of a recipe")
    args = parser.parse_args(arguments)
    folder = args.output or Path("runs") / f"compare-methods-{args.budget}"
    methods, seeds = args.methods.split(","), [int(seed) for seed in args.seeds.split(",")]
    try:
        run(folder, methods, seeds=seeds, budget=args.budget, preset=args.preset, overrides=args.set)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    print("\n" + (folder / "table.md").read_text(encoding="utf-8"), end="", flush=True)


def run(
    folder: Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    seeds: Sequence[int] = (0,),
    budget: str = "pairs",
    preset: str = "background",
    overrides: Sequence[str] = (),
) -> list[MethodResult]:
    """Trains each method with each seed, and writes the table and the sheet.

    Returns:
        One result per method, sorted by the win rate of the recipe's first held-out judge, descending.
    """
    for name in methods:
        if name not in METHODS:
            raise ConfigError(f"there is no method '{name}'.{near_miss(name, METHODS)} Known: {', '.join(METHODS)}.")
    method_overrides = {
        name: [text[len(name) + 1 :] for text in overrides if text.startswith(f"{name}:")] for name in methods
    }
    common_overrides = [text for text in overrides if not any(text.startswith(f"{name}:") for name in METHODS)]
    common = load_recipe(paper.recipe_file(preset, "diffusion_dpo"), ["previews.prompts=[]", *common_overrides])
    recipes = {name: with_method(common, name, preset, method_overrides[name], folder) for name in methods}
    judges = paper.open_judges(common, preset)
    paper.make_pairs(common, preset)
    if budget == "evaluations":
        data = common.data
        size = len(read_dataset(data.train, format=data.format, limit=data.limit, **data.options))
        recipes = {name: with_budget(recipe, common, size) for name, recipe in recipes.items()}
    for recipe in recipes.values():
        paper.make_scores(recipe)
    results: dict[str, list[paper.ExperimentResult]] = {name: [] for name in methods}
    bases: list[Gallery] = []
    for seed in seeds:
        bases.append(generate_base(with_seed(common, seed, folder), folder / f"base-seed{seed}"))
        for name, recipe in recipes.items():
            method_folder = folder / f"{name}-seed{seed}"
            print(f"\n{name}, seed {seed}", flush=True)
            result = paper.train_and_compare(
                with_seed(recipe, seed, method_folder / "run"), method_folder, bases[-1], judges
            )
            results[name].append(result)
    held_out = [name for name, (_, role) in judges.items() if role == "held-out"]
    ranked = rank_methods(results, {name: recipe.train.steps for name, recipe in recipes.items()}, held_out)
    write_tables(ranked, folder, budget=budget, seeds=seeds)
    save_sheet(folder / "sheet.png", bases[0], {entry.method: results[entry.method][0] for entry in ranked})
    return ranked


def with_method(common: Recipe, name: str, preset: str, overrides: Sequence[str], folder: Path) -> Recipe:
    """Returns the common recipe with a method's choices on the four axes, and writes it as ``METHOD.yaml``.

    All other sections, optimizer and steps included, are those of the common recipe.
    """
    common_values = dump(common)
    without_axes = {key: value for key, value in common_values.items() if key not in AXES}
    model = {key: value for key, value in common_values["model"].items() if key != "latents"}
    file = paper.recipe_file(preset, name)
    method_recipe = (
        load_recipe(file) if file.exists() else make_recipe({**without_axes, "method": name, "model": model})
    )
    method_values = dump(method_recipe)
    composed = {
        **without_axes,
        "method": name,
        **{axis: method_values[axis] for axis in AXES if axis != "latents"},
        "model": {**model, "latents": method_values["model"]["latents"]},
        "data": {
            **common_values["data"],
            "scores": common_values["data"]["scores"] or method_values["data"]["scores"],
        },
    }
    path, text = folder / f"{name}.yaml", yaml.safe_dump(composed, sort_keys=False, allow_unicode=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return load_recipe(path, overrides)


def with_budget(recipe: Recipe, common: Recipe, size: int | None = None) -> Recipe:
    """Returns the recipe with as many steps as fit into the evaluations of the common recipe, with the same share of
    warm-up; ``size`` is the number of pairs in the data set."""
    share = expected_forwards(common, size) / expected_forwards(recipe, size)
    steps = max(1, round(common.train.steps * share))
    warmup = round(common.train.warmup_steps * steps / common.train.steps)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps, "warmup_steps": warmup})})


def with_seed(recipe: Recipe, seed: int, output: Path) -> Recipe:
    """Returns the recipe with a seed and an output folder."""
    train = recipe.train.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"train": train, "output": str(output)})


def generate_base(common: Recipe, folder: Path) -> Gallery:
    """Generates the base's images. The images of the pairs are encoded first, so that no method's time includes it."""
    policy, data = open_model(common.model), common.data
    pairs = read_dataset(data.train, format=data.format, limit=data.limit, **data.options).pairs
    with ProgressReport(0) as report:
        policy.prepare(pairs, report.preparing)
    return paper.generate_base(policy, common, folder)


def save_sheet(path: Path, base: Gallery, results: dict[str, paper.ExperimentResult]) -> None:
    """Writes a grid of images: prompts evenly spaced over the list, and columns for the base and each ranked method."""
    count = min(SHEET_PROMPTS, len(base.samples))
    shown = [base.samples[k * len(base.samples) // count] for k in range(count)]
    columns = {"base": [sample.path for sample in shown]}
    for name, result in results.items():
        aligned = {(row["prompt"], row["seed"]): Path(row["aligned"]) for row in result.comparison.rows}
        columns[name] = [aligned[sample.prompt, sample.seed] for sample in shown]
    save_grid([sample.prompt for sample in shown], columns, path)


if __name__ == "__main__":
    main()
