"""Previews: samples of fixed prompts and seeds while training. The noise is the same each time, so that only the policy
differs.
"""

from __future__ import annotations

from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.compare.drift import drift_of
from diffalign.evaluation.compare.preview_curve import append_drift
from diffalign.evaluation.samples.medium import find_medium, medium_of
from diffalign.policies.policy import Policy
from diffalign.policies.sample_logps import sample_logps
from diffalign.training.recipe.schema import Previews, Recipe


def save_previews(policy: Policy, config: Previews, folder: Path, step: int) -> list[Path]:
    """Samples every prompt with every seed into ``folder/step-00000123/00-seed-0.png`` (or .webp, .txt)."""
    if not config.prompts:
        return []
    prompts = [prompt for prompt in config.prompts for _ in config.seeds]
    seeds = [seed for _ in config.prompts for seed in config.seeds]
    samples = policy.sample(prompts, seeds, **config.sampling)
    step_folder = folder / f"step-{step:08d}"
    step_folder.mkdir(parents=True, exist_ok=True)
    width = len(config.seeds)
    paths = []
    for k, sample in enumerate(samples):
        medium = medium_of(sample)
        paths.append(step_folder / f"{k // width:02d}-seed-{seeds[k]}{medium.suffix}")
        medium.write(sample, paths[-1])
    return paths


def has_previews(config: Previews, folder: Path, step: int) -> bool:
    """Returns whether all previews of a step are in ``folder``."""
    files = list((folder / f"step-{step:08d}").glob("*-seed-*"))
    return len(files) >= len(config.prompts) * len(config.seeds)


def has_preview_curve(recipe: Recipe) -> bool:
    """Returns whether judges score the previews after the run: there are several previews, and judges."""
    evaluate = recipe.evaluate
    judges = evaluate.prompts and (evaluate.scorers or evaluate.trained_on)
    return bool(recipe.previews.prompts and recipe.previews.every and judges)


def measure_drift(policy: Policy, config: Previews, paths: list[Path], folder: Path, step: int) -> str:
    """Writes into the run's ``folder`` how far the policy is from its reference on these previews.

    Nothing is written where the reference is an earlier state of the policy, not the base that the run began from.

    Returns:
        Why it could not be measured; otherwise an empty text.
    """
    if policy.reference_kind == "earlier":
        return ""
    prompts = [prompt for prompt in config.prompts for _ in config.seeds]
    contents = [find_medium(policy.medium).read(path) for path in paths]
    try:
        drift = drift_of(sample_logps(policy, prompts, contents, settings=config.sampling), policy.medium)
    except UserError as error:
        return f"the drift at step {step} is unknown: {error}"
    if drift is not None:
        append_drift(folder, step, drift)
    return ""
