"""Trains as a recipe says, compares the result with the base model on new prompts, and writes a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.devices.device_memory import best_device
from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.devices.residency import Residency
from diffalign.errors import ConfigError
from diffalign.evaluation.compare.by_category import category_lines
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.evaluation.compare.preview_curve import read_preview_curve
from diffalign.evaluation.compare.result import Comparison, Role
from diffalign.evaluation.compare.run import add_drift, compare
from diffalign.evaluation.report.clip_sheet import save_clip_sheet
from diffalign.evaluation.report.sheet import evenly_spaced_rows, examples, save_sheet
from diffalign.evaluation.report.training_curves import read_metrics
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.samples.prompts import read_categories, read_prompts
from diffalign.evaluation.stats.heldout_agreement import Agreement, agreements
from diffalign.evaluation.stats.ranking_accuracy import held_out_numbers
from diffalign.evaluation.stats.rates.share import Share, percent
from diffalign.evaluation.stats.rates.win_rate import WinRate
from diffalign.files.folder_lock import FolderLock
from diffalign.policies.policy import Card
from diffalign.policies.stages import enter_stage
from diffalign.scorers.resident_judges import judges_residency
from diffalign.scorers.scorer import Scorer
from diffalign.training.ending import explain_end
from diffalign.training.loop import Result, train
from diffalign.training.recipe.load import as_recipe
from diffalign.training.recipe.model_kinds import model_kind
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.previews import has_preview_curve
from diffalign.training.report.progress import ProgressReport
from diffalign.training.setup.resolve_mixed_precision import NAMES
from diffalign.training.stop import stop_signals
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.stored_recipe import dump

Judges = Mapping[str, tuple[Scorer, Role]]
"""Scorers by name, each with its role."""


@dataclass(frozen=True)
class Aligned:
    """The results of training and comparison.

    Args:
        result: The result of the training.
        comparison: Aligned against base; None where the recipe names no prompts, and on all processes but the first.
        report: ``report.html``, or None.
    """

    result: Result
    comparison: Comparison | None = None
    report: Path | None = None


def align(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    resume: bool = False,
    check_only: bool = False,
    resume_on_changed_data: bool = False,
) -> Aligned:
    """Trains, then compares base and aligned model as ``recipe.evaluate`` says, and writes ``report.html``.

    Prompts are read and judges are loaded before the training starts, so that an error in them costs no training.

    Args:
        recipe: Everything that decides the run: a recipe, its file, or nested values as the file would hold them.
        resume: Continue the run in ``recipe.output``.
        check_only: Check recipe, data, model and judges, print the header, and stop.
        resume_on_changed_data: Continue it even if its data is not what it was trained on.

    Raises:
        Stopped: Ctrl-C or SIGTERM, as :func:`~diffalign.training.loop.train`.
        UserError: As :func:`~diffalign.training.loop.train`; also a scorer or a file of prompts that does not exist.
    """
    recipe = as_recipe(recipe)
    with stop_signals() as stop, explain_end(RunFolder(recipe.output), stop):
        with stop.droppable():
            prompts, judges = _open_judges(recipe)
            owner = judges_residency([scorer for scorer, _ in judges.values()], best_device())
            owner.enter("update")
        result = train(recipe, resume=resume, check_only=check_only, resume_on_changed_data=resume_on_changed_data)
        if result.artifact is None:
            return Aligned(result)
        advice = f"Type: --resume --set evaluate.batch={max(1, recipe.evaluate.batch // 2)}"
        comparing = explain_out_of_memory("samples are compared", advice)
        with stop.droppable(), comparing, FolderLock(recipe.output) as lock:
            lock.acquire()
            return _compare_and_report(recipe, result, prompts, judges, owner)


def _open_judges(recipe: Recipe) -> tuple[list[str], Judges]:
    """Returns the prompts of the comparison and its judges. Raises UserError where one cannot be used."""
    settings = recipe.evaluate
    prompts = read_prompts(settings.prompts) if settings.prompts else []
    if prompts and not (settings.scorers or settings.trained_on):
        raise ConfigError("evaluate.prompts are given, but no judge. Type for example: --set evaluate.scorers=[clip]")
    judges = load_judges(settings.scorers, settings.trained_on, str(best_device())) if prompts else {}
    check_judges(judges, prompts, model_kind(recipe.model).medium)
    return prompts, judges


def _compare_and_report(
    recipe: Recipe, result: Result, prompts: list[str], judges: Judges, owner: Residency
) -> Aligned:
    assert result.artifact is not None
    settings = recipe.evaluate
    comparison, preview_curve = None, None

    def make_room() -> None:
        enter_stage(result.policy, "judge")
        owner.bring("judges")

    if prompts:
        enter_stage(result.policy, "sample")
        with ProgressReport(total=1) as progress:
            comparison = compare(
                result.policy,
                prompts,
                range(recipe.train.seed, recipe.train.seed + settings.seeds_per_prompt),
                judges,
                folder=result.output / "evaluation",
                stride=settings.seeds_per_prompt,
                batch_size=settings.batch,
                categories=read_categories(settings.prompts),
                progress=progress.preparing,
                before_judging=make_room,
                **settings.sampling,
            )
        owner.enter("update")
        comparison, problem = add_drift(comparison, result.policy, result.output / "evaluation", batch=settings.batch)
        if problem:
            print(f"warning: {problem}", flush=True)
        previews = recipe.previews
        if has_preview_curve(recipe):
            make_room()
            preview_curve = read_preview_curve(
                result.output, previews.prompts, previews.seeds, judges, result.policy.medium
            )
        medium = find_medium(comparison.medium)
        if medium.sheet:
            save = save_clip_sheet if medium.plays else save_sheet
            sheet = save(examples(comparison), result.output / "before_after.png")
            if medium.plays:  # a terminal shows no clips
                print(f"frames before and after: {sheet}", flush=True)
        verdict = verdict_of(comparison, preview_curve)
        print("\n".join((verdict.headline, *verdict.sentences, *category_lines(comparison))), flush=True)
    metrics = read_metrics(result.output / "metrics.jsonl")
    held_out = agreements(metrics)
    for sentence in (*(agreement.summary() for agreement in held_out), *held_out_numbers(metrics).summary()):
        print(sentence, flush=True)
    result.policy.card(result.artifact, _card(result, comparison, held_out))
    report = write_report(
        result.output,
        comparison=comparison,
        metrics=metrics,
        header={**dump(result.recipe), **_data_changes(result), **_noise(result)},
        health=result.summary,
        preview_curve=preview_curve,
    )
    print(f"report: {report}", flush=True)
    return Aligned(result, comparison, report)


def _card(result: Result, comparison: Comparison | None, held_out: Sequence[Agreement]) -> Card:
    recipe, train = result.recipe, result.recipe.train
    training = {
        "loss": ", ".join([recipe.loss.name, *(f"{key} {value}" for key, value in recipe.loss.hyper.items())]),
        "labels": recipe.labels.name,
        "steps": result.steps,
        "pairs per step": train.batch_size,
        "learning rate": train.learning_rate,
        "precision": NAMES[train.mixed_precision],
        "seed": train.seed,
        **_data_changes(result),
    }
    judgements = comparison.judgements if comparison else ()
    judged: dict[str, Share | WinRate] = {
        f"win rate against the base, by {j.name} ({j.role})": j.win for j in judgements
    }
    agreed: dict[str, Share | WinRate] = {
        f"{agreement.name} on {agreement.share.n} held-out pairs": agreement.share for agreement in held_out
    }
    shown = evenly_spaced_rows(comparison, prompts=4, seeds=1) if comparison else {}
    return Card(
        method=recipe.method or recipe.loss.name,
        datasets=[recipe.data.train],
        training=training,
        evaluation=[
            {"measured": name, "result": percent(share.rate), "95 % interval": _interval(share)}
            for name, share in {**judged, **agreed}.items()
        ],
        examples=[(prompt, Path(rows[0]["aligned"])) for prompt, rows in shown.items()],
    )


def _data_changes(result: Result) -> dict[str, str]:
    """Returns a row that says how the data changed while the run was stopped; none where it did not."""
    return {"data changed": "; ".join(result.data_changes)} if result.data_changes else {}


def _noise(result: Result) -> dict[str, str]:
    """Returns a row on the noise of inverted latents before training; none where latents are not inverted."""
    return {"noise before training": result.noise.summary()} if result.noise is not None else {}


def _interval(share: Share | WinRate) -> str:
    return f"{percent(share.low)} to {percent(share.high)}"
