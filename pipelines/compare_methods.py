"""Methods side by side: the same base, pairs, seed, adapter and optimizer; only the four choices differ.

    python -m pipelines.compare_methods [--methods diffusion_dpo,ddim_inpo,smpo,seppo] [--seeds 0,1,2]
                                        [--budget pairs|evaluations] [--preset background|emoji] [--output FOLDER]

What is common comes from the recipe of Diffusion-DPO (`--set KEY=VALUE` replaces a value of it); pairs, latents, labels
and loss come from each method's own recipe, or from its preset where there is none (`--set METHOD:KEY=VALUE`).

With `--budget pairs` every method sees equally many pairs, whatever a pair costs it. With `--budget evaluations` every
method gets the denoiser evaluations that Diffusion-DPO's steps cost: fewer steps for what is dearer. Each seed is a
training of its own, compared on noises of its own; several are pooled, with intervals that resample prompts. An
interval says how sure a rate is for these trainings; the rates seed by seed say how much trainings differ.

The base's images are drawn once per seed, and all images are encoded before the first clock starts. The table goes
to `table.md` and `table.json`, images to `sheet.png`. A killed program goes on when it is called again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.evaluation.samples.generate import Gallery
from diffalign.methods import METHODS
from diffalign.pairs.dataset import read_dataset
from diffalign.sharing.atomic import write_atomically
from diffalign.training.recipe.load import Recipe, load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.recipe.presets import AXES
from diffalign.training.storage.run_folder import dump
from pipelines import paper
from pipelines.cost import expected_forwards
from pipelines.grid import save_grid
from pipelines.standing import Standing, pooled, report

FOUR = ("diffusion_dpo", "ddim_inpo", "smpo", "seppo")
BUDGETS = ("pairs", "evaluations")
SHOWN = 8
"""Prompts on the sheet, evenly spaced over the list."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every method and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(FOUR), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--budget", default="pairs", choices=BUDGETS)
    parser.add_argument("--preset", default="background", choices=paper.PRESETS)
    parser.add_argument("--output", type=Path, help="folder (runs/compare-methods-BUDGET)")
    parser.add_argument("--set", action="append", default=[], metavar="[METHOD:]KEY=VALUE")
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
    methods: Sequence[str] = FOUR,
    *,
    seeds: Sequence[int] = (0,),
    budget: str = "pairs",
    preset: str = "background",
    overrides: Sequence[str] = (),
) -> list[Standing]:
    """Trains each method with each seed, and writes the table and the sheet.

    Returns:
        One entry per method, the best win rate by the recipe's first held-out judge first.
    """
    for name in methods:
        if name not in METHODS:
            raise ConfigError(f"there is no method '{name}'.{near_miss(name, METHODS)} Known: {', '.join(METHODS)}.")
    own = {name: [text[len(name) + 1 :] for text in overrides if text.startswith(f"{name}:")] for name in methods}
    general = [text for text in overrides if not any(text.startswith(f"{name}:") for name in METHODS)]
    common = load_recipe(paper.recipe_file(preset, "diffusion_dpo"), ["previews.prompts=[]", *general])
    recipes = {name: as_method(common, name, preset, own[name], folder) for name in methods}
    judges = paper.open_judges(common, preset)
    paper.make_pairs(common, preset)
    if budget == "evaluations":
        data = common.data
        size = len(read_dataset(data.train, format=data.format, limit=data.limit, **data.options))
        recipes = {name: with_budget(recipe, common, size) for name, recipe in recipes.items()}
    for recipe in recipes.values():
        paper.make_scores(recipe)
    found: dict[str, list[paper.Measured]] = {name: [] for name in methods}
    bases: list[Gallery] = []
    for seed in seeds:
        bases.append(draw_base(with_seed(common, seed, folder), folder / f"base-seed{seed}"))
        for name, recipe in recipes.items():
            place = folder / f"{name}-seed{seed}"
            print(f"\n{name}, seed {seed}", flush=True)
            found[name].append(paper.measure(with_seed(recipe, seed, place / "run"), place, bases[-1], judges))
    held_out = [name for name, (_, role) in judges.items() if role == "held-out"]
    ranked = pooled(found, {name: recipe.train.steps for name, recipe in recipes.items()}, held_out)
    report(ranked, folder, budget=budget, seeds=seeds)
    draw_sheet(folder / "sheet.png", bases[0], {entry.method: found[entry.method][0] for entry in ranked})
    return ranked


def as_method(common: Recipe, name: str, preset: str, overrides: Sequence[str], folder: Path) -> Recipe:
    """The common recipe with a method's own choice on the four axes; kept as ``METHOD.yaml``.

    Everything else, optimizer and steps included, is the common recipe's.
    """
    shared = dump(common)
    bare = {key: value for key, value in shared.items() if key not in AXES}
    model = {key: value for key, value in shared["model"].items() if key != "latents"}
    file = paper.recipe_file(preset, name)
    own = dump(load_recipe(file) if file.exists() else make_recipe({**bare, "method": name, "model": model}))
    composed = {
        **bare,
        "method": name,
        **{axis: own[axis] for axis in AXES if axis != "latents"},
        "model": {**model, "latents": own["model"]["latents"]},
        "data": {**shared["data"], "scores": shared["data"]["scores"] or own["data"]["scores"]},
    }
    path, text = folder / f"{name}.yaml", yaml.safe_dump(composed, sort_keys=False, allow_unicode=True)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))
    return load_recipe(path, overrides)


def with_budget(recipe: Recipe, common: Recipe, size: int | None = None) -> Recipe:
    """As many steps as fit into the evaluations that the common recipe costs, with the same share of warm-up; ``size``
    is that of the data set."""
    share = expected_forwards(common, size) / expected_forwards(recipe, size)
    steps = max(1, round(common.train.steps * share))
    warmup = round(common.train.warmup_steps * steps / common.train.steps)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps, "warmup_steps": warmup})})


def with_seed(recipe: Recipe, seed: int, output: Path) -> Recipe:
    """The recipe with a seed and a folder."""
    train = recipe.train.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"train": train, "output": str(output)})


def draw_base(common: Recipe, folder: Path) -> Gallery:
    """The base's images; and the pairs' are encoded, so that no method's seconds hold what all of them share."""
    policy, data = open_model(common.model), common.data
    pairs = read_dataset(data.train, format=data.format, limit=data.limit, **data.options).pairs
    with paper.Report(0) as report:
        policy.prepare(pairs, report.preparing)
    return paper.draw_base(policy, common, folder)


def draw_sheet(path: Path, base: Gallery, found: dict[str, paper.Measured]) -> None:
    """Rows: prompts, picked by their place in the list; columns: the base, and each method as it is ranked."""
    count = min(SHOWN, len(base.samples))
    shown = [base.samples[place * len(base.samples) // count] for place in range(count)]
    columns = {"base": [image.path for image in shown]}
    for name, measured in found.items():
        drawn = {(row["prompt"], row["seed"]): Path(row["aligned"]) for row in measured.comparison.rows}
        columns[name] = [drawn[image.prompt, image.seed] for image in shown]
    save_grid([image.prompt for image in shown], columns, path)


if __name__ == "__main__":
    main()
