"""Trains on a curriculum, stage by stage. Each stage starts from the policy of the previous one.

    python -m pipelines.curriculum configs/emoji/curriculum.yaml
    python -m pipelines.curriculum RECIPE --stages FOLDER        # of `diffalign data curriculum`

The recipe has model, loss and optimizer; this program sets the pairs of each stage and its number of steps, by default
for one epoch. The policy at the start of each stage is kept in ``OUTPUT/pool``. With ``reference: previous_stage`` it
is also the reference of that stage. An interrupted program resumes if it is called again.

Source: Pattnaik et al. 2024, Curry-DPO (arXiv 2403.07230): stages from easy to hard, one epoch each, the policy of the
stage before as the reference. Reported for Zephyr-7B: 7.43 on MT-Bench; not measured here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffalign.data.readers import read_pairs
from diffalign.data.readers.formats.pairs_with_extra_columns import RowsWithColumns, unread_columns
from diffalign.data.records.score_table import read_scores, with_scores
from diffalign.data.transforms import build_curriculum
from diffalign.data.transforms.curriculum_files import INDEX, StageFiles, check_reference, read_stages, write_stages
from diffalign.devices.device_memory import best_device
from diffalign.errors import ConfigError, UserError
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report.training_curves import read_metrics
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.samples.prompts import read_prompts
from diffalign.files.atomic import write_atomically
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.policies.policy import Policy
from diffalign.training.loop import train
from diffalign.training.recipe.load import Recipe, load_recipe
from diffalign.training.recipe.model_kinds import model_kind, open_model
from diffalign.training.report.progress import ProgressReport
from diffalign.training.storage.check_output import check_output
from diffalign.training.storage.run_folder import RunFolder
from pipelines.paper import markdown


@dataclass(frozen=True)
class CurriculumResult:
    """The result of a curriculum.

    Args:
        policy: The policy after the last stage.
        artifact: The adapter or weights of the last stage, for sharing.
        metrics: The rows of ``metrics.jsonl`` of every stage.
        comparison: The comparison with the base; None if the recipe has no prompts.
    """

    policy: Policy
    artifact: Path
    metrics: Sequence[Sequence[dict[str, float]]]
    comparison: Comparison | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the stages unless they are given, trains on them, compares, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a YAML recipe")
    parser.add_argument(
        "--stages", type=Path, help="folder of `diffalign data curriculum`; by default stages are made from data.train"
    )
    parser.add_argument("--key", default="score", help="measure of how easy a pair is, for new stages")
    parser.add_argument("--number", type=int, default=3, help="number of new stages")
    parser.add_argument("--order", default="easy_first", help="order of new stages")
    parser.add_argument("--by", default="global", help="global or prompt, for new stages")
    parser.add_argument("--reference", default="", help="previous_stage or fixed; by default that of the stages")
    parser.add_argument("--epochs", type=float, default=1.0, help="epochs per stage")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="value of the recipe")
    args = parser.parse_args(arguments)
    try:
        recipe = load_recipe(args.recipe, args.set)
        folder = args.stages or Path(recipe.output) / "stages"
        if args.stages is None and not (folder / INDEX).exists():
            summary = make_stages(recipe, folder, key=args.key, number=args.number, order=args.order, by=args.by)
            print(summary, flush=True)
        run(recipe, read_stages(folder), reference=args.reference, epochs=args.epochs)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None


def make_stages(recipe: Recipe, folder: Path, *, key: str, number: int, order: str, by: str) -> str:
    """Writes the recipe's pairs as stages into ``folder``; returns a summary."""
    data = recipe.data
    pair_set = read_pairs(data.train, format=data.format, limit=data.limit, **data.options)
    if data.scores:
        pair_set = with_scores(pair_set, [read_scores(file) for file in data.scores])
    column_options = {name: value for name, value in data.options.items() if name in ("split", "revision", "columns")}
    rows = RowsWithColumns(pair_set.pairs, unread_columns(data.train, **column_options))
    curriculum = build_curriculum(rows, key=key, stages=number, order=order, by=by, seed=recipe.train.seed)  # type: ignore[arg-type]
    write_stages(folder, curriculum)
    return curriculum.summary()


def run(recipe: Recipe, stages: StageFiles, *, reference: str = "", epochs: float = 1.0) -> CurriculumResult:
    """Trains stage by stage in ``recipe.output``.

    Args:
        recipe: Its data, steps and output are replaced for each stage.
        stages: The files of the stages.
        reference: ``"previous_stage"`` or ``"fixed"``; "" uses that of the stages.
        epochs: Epochs per stage.

    Raises:
        ConfigError: A number of epochs that is not positive, or a stored reference.
        UserError: As :func:`~diffalign.training.loop.train`.
    """
    check_reference(reference or stages.reference)
    if not epochs > 0.0:
        raise ConfigError(f"epochs is the number of passes over a stage's pairs, above 0; got {epochs}.")
    reference_is_previous = (reference or stages.reference) == "previous_stage"
    evaluate, output = recipe.evaluate, Path(recipe.output)
    prompts = read_prompts(evaluate.prompts) if evaluate.prompts else []
    judges = load_judges(evaluate.scorers, evaluate.trained_on, str(best_device())) if prompts else {}
    check_judges(judges, prompts, model_kind(recipe.model).medium)  # before any training
    pool, metrics = CheckpointPool(output / "pool"), []
    for number, (file, steps) in enumerate(
        zip(stages.files, stages.steps(recipe.train.batch_size, epochs), strict=True)
    ):
        folder = output / f"stage-{number + 1}"
        policy = open_model(recipe.model, gradient_checkpointing=recipe.train.gradient_checkpointing)
        if number:
            previous = pool.load(number)
            policy.load_state(previous)
            if reference_is_previous:
                policy.set_reference(previous)
        stage_recipe, run_folder = recipe_of_stage(recipe, file, steps, folder), RunFolder(folder)
        if number + 1 not in pool.indices():
            result = train(stage_recipe, policy=policy, resume=run_folder.recipe.exists())
            pool.add(number + 1, result.policy.state())
        else:
            check_output(run_folder, stage_recipe, resume=True)  # refuses a stage that had other settings
            policy.load_state(pool.load(number + 1))
        metrics.append(read_metrics(run_folder.metrics))
    stage_table = table(metrics)
    write_atomically(output / "stages.md", lambda path: path.write_text(f"{stage_table}\n", encoding="utf-8"))
    print(f"\n{stage_table}", flush=True)
    comparison = None
    if prompts:
        with ProgressReport(total=1) as progress:
            comparison = compare(
                policy,
                prompts,
                range(recipe.train.seed, recipe.train.seed + evaluate.seeds_per_prompt),
                judges,
                folder=output / "evaluation",
                stride=evaluate.seeds_per_prompt,
                batch_size=evaluate.batch,
                progress=progress.preparing,
                **evaluate.sampling,
            )
        verdict = verdict_of(comparison)
        print("\n".join((verdict.headline, *verdict.sentences)), flush=True)
    return CurriculumResult(policy, folder / "result", metrics, comparison)


def recipe_of_stage(recipe: Recipe, file: Path, steps: int, folder: Path) -> Recipe:
    """Returns the recipe of one stage. Format, limit and scores were applied when the stage's file was written."""
    data = recipe.data.model_copy(
        update={"train": str(file), "format": "auto", "limit": None, "scores": (), "options": {}}
    )
    updated = recipe.train.model_copy(
        update={"steps": steps, "warmup_steps": min(recipe.train.warmup_steps, steps - 1)}
    )
    return recipe.model_copy(update={"data": data, "train": updated, "output": str(folder)})


def table(metrics: Sequence[Sequence[dict[str, float]]]) -> str:
    """Returns one line per stage: its steps, and its first and last loss."""
    rows = [["stage", "steps", "first loss", "last loss", "accuracy at the end"]]
    for number, records in enumerate(metrics, 1):
        first, last = records[0], records[-1]
        accuracy = last.get("rewards/accuracies")
        percent = "" if accuracy is None else f"{100 * accuracy:.1f} %"
        rows.append([str(number), f"{last['step']:.0f}", f"{first['loss']:.4f}", f"{last['loss']:.4f}", percent])
    return markdown(rows)


if __name__ == "__main__":
    main()
