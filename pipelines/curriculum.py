"""Training on a curriculum, stage after stage, each from where the last one ended and, by default, compared with it.

    python -m pipelines.curriculum configs/emoji/curriculum.yaml
    python -m pipelines.curriculum RECIPE --stages FOLDER        # of `diffalign data curriculum`

A recipe says model, loss and optimizer; this program gives each stage its pairs and, for one epoch each, its number of
steps. The model at the beginning of a stage is kept in ``OUTPUT/pool``; with ``reference: previous_stage`` it is also
what that stage is compared with. A program that was killed goes on when it is called again.

Source: Pattnaik et al. 2024, Curry-DPO (arXiv 2403.07230): stages from easy to hard, one epoch each, the policy of the
stage before as the reference. Reported for Zephyr-7B: 7.43 on MT-Bench; not measured here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffalign.data.readers import read_pairs
from diffalign.data.readers.rows_with_columns import RowsWithColumns, unread_columns
from diffalign.data.records.score_table import read_scores, with_scores
from diffalign.data.transforms import build_curriculum
from diffalign.data.transforms.curriculum_files import INDEX, StageFiles, check_reference, read_stages, write_stages
from diffalign.devices.budget import best_device
from diffalign.errors import ConfigError, UserError
from diffalign.evaluation.compare.judges import check_judges, load_judges
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report.plots import read_metrics
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.policies.policy import Policy
from diffalign.sharing.atomic import write_atomically
from diffalign.training.loop import train
from diffalign.training.recipe.load import Recipe, load_recipe
from diffalign.training.recipe.model_kinds import model_kind, open_model
from diffalign.training.report.progress import ProgressReport
from diffalign.training.storage.run_folder import RunFolder, check_output
from pipelines.paper import markdown


@dataclass(frozen=True)
class Staged:
    """What a curriculum leaves.

    Args:
        policy: After the last stage.
        artifact: What users share, of the last stage.
        metrics: The records of every stage.
        comparison: Against the base, where the recipe names prompts.
    """

    policy: Policy
    artifact: Path
    metrics: Sequence[Sequence[dict[str, float]]]
    comparison: Comparison | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the stages where none are given, train on them, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--stages", type=Path, help="folder of `diffalign data curriculum`; else made of data.train")
    parser.add_argument("--key", default="score", help="how far a candidate is ahead, where the stages are made here")
    parser.add_argument("--number", type=int, default=3, help="of stages that are made here")
    parser.add_argument("--order", default="easy_first", help="of stages that are made here")
    parser.add_argument("--by", default="global", help="of stages that are made here: global or prompt")
    parser.add_argument("--reference", default="", help="previous_stage or fixed, instead of what the stages say")
    parser.add_argument("--epochs", type=float, default=1.0, help="how often a stage's pairs are met")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the recipe")
    args = parser.parse_args(arguments)
    try:
        recipe = load_recipe(args.recipe, args.set)
        folder = args.stages or Path(recipe.output) / "stages"
        if args.stages is None and not (folder / INDEX).exists():
            made = make_stages(recipe, folder, key=args.key, number=args.number, order=args.order, by=args.by)
            print(made, flush=True)
        run(recipe, read_stages(folder), reference=args.reference, epochs=args.epochs)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


def make_stages(recipe: Recipe, folder: Path, *, key: str, number: int, order: str, by: str) -> str:
    """The recipe's pairs as stages in ``folder``; returns what there is to tell."""
    data = recipe.data
    found = read_pairs(data.train, format=data.format, limit=data.limit, **data.options)
    if data.scores:
        found = with_scores(found, [read_scores(file) for file in data.scores])
    named = {name: value for name, value in data.options.items() if name in ("split", "revision", "columns")}
    lines = RowsWithColumns(found.pairs, unread_columns(data.train, **named))
    made = build_curriculum(lines, key=key, stages=number, order=order, by=by, seed=recipe.train.seed)  # type: ignore[arg-type]
    write_stages(folder, made)
    return made.summary()


def run(recipe: Recipe, stages: StageFiles, *, reference: str = "", epochs: float = 1.0) -> Staged:
    """Trains stage after stage in ``recipe.output``.

    Args:
        recipe: Its data, steps and output are replaced for each stage.
        stages: The tables.
        reference: ``"previous_stage"`` or ``"fixed"``; "" as the stages say.
        epochs: How often the pairs of a stage are met.

    Raises:
        ConfigError: A number of epochs that is none; a reference whose numbers were to be stored.
        UserError: As :func:`~diffalign.training.loop.train`.
    """
    check_reference(reference or stages.reference)
    if not epochs > 0.0:
        raise ConfigError(f"epochs is how often a stage's pairs are met, above 0; got {epochs}.")
    moved = (reference or stages.reference) == "previous_stage"
    wanted, output = recipe.evaluate, Path(recipe.output)
    prompts = read_prompts(wanted.prompts) if wanted.prompts else []
    judges = load_judges(wanted.scorers, wanted.trained_on, str(best_device())) if prompts else {}
    check_judges(judges, prompts, model_kind(recipe.model).medium)  # told before work is lost
    pool, metrics = CheckpointPool(output / "pool"), []
    for number, (file, steps) in enumerate(
        zip(stages.files, stages.steps(recipe.train.batch_size, epochs), strict=True)
    ):
        folder = output / f"stage-{number + 1}"
        policy = open_model(recipe.model, gradient_checkpointing=recipe.train.gradient_checkpointing)
        if number:
            before = pool.load(number)
            policy.load_state(before)
            if moved:
                policy.set_reference(before)
        mine, out = of_stage(recipe, file, steps, folder), RunFolder(folder)
        if number + 1 not in pool.indices():
            result = train(mine, policy=policy, resume=out.recipe.exists())
            pool.add(number + 1, result.policy.state())
        else:
            check_output(out, mine, resume=True)  # else the settings of an earlier call would be taken for these
            policy.load_state(pool.load(number + 1))
        metrics.append(read_metrics(out.metrics))
    shown = table(metrics)
    write_atomically(output / "stages.md", lambda beside: beside.write_text(f"{shown}\n", encoding="utf-8"))
    print(f"\n{shown}", flush=True)
    comparison = None
    if prompts:
        with ProgressReport(total=1) as progress:
            comparison = compare(
                policy,
                prompts,
                range(recipe.train.seed, recipe.train.seed + wanted.seeds_per_prompt),
                judges,
                folder=output / "evaluation",
                stride=wanted.seeds_per_prompt,
                batch_size=wanted.batch,
                progress=progress.preparing,
                **wanted.sampling,
            )
        verdict = verdict_of(comparison)
        print("\n".join((verdict.headline, *verdict.sentences)), flush=True)
    return Staged(policy, folder / "result", metrics, comparison)


def of_stage(recipe: Recipe, file: Path, steps: int, folder: Path) -> Recipe:
    """The recipe of one stage. What made the pairs is in the table: no format, no limit, no scores beside it."""
    data = recipe.data.model_copy(
        update={"train": str(file), "format": "auto", "limit": None, "scores": (), "options": {}}
    )
    updated = recipe.train.model_copy(
        update={"steps": steps, "warmup_steps": min(recipe.train.warmup_steps, steps - 1)}
    )
    return recipe.model_copy(update={"data": data, "train": updated, "output": str(folder)})


def table(metrics: Sequence[Sequence[dict[str, float]]]) -> str:
    """One line per stage: its steps, and its loss where it began and ended."""
    rows = [["stage", "steps", "first loss", "last loss", "accuracy at the end"]]
    for number, records in enumerate(metrics, 1):
        first, last = records[0], records[-1]
        accuracy = last.get("rewards/accuracies")
        told = "" if accuracy is None else f"{100 * accuracy:.1f} %"
        rows.append([str(number), f"{last['step']:.0f}", f"{first['loss']:.4f}", f"{last['loss']:.4f}", told])
    return markdown(rows)


if __name__ == "__main__":
    main()
