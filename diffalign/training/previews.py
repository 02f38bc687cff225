"""Previews: samples of fixed prompts and seeds while training. Equal noise each time, so what changes is the policy."""

from __future__ import annotations

from pathlib import Path

from diffalign.evaluation.medium import medium_of
from diffalign.policies.policy import Policy
from diffalign.training.recipe import Previews


def save_previews(policy: Policy, config: Previews, folder: Path, step: int) -> list[Path]:
    """Samples every prompt with every seed into ``folder/step-00000123/00-seed-0.png`` (or .gif, .txt)."""
    if not config.prompts:
        return []
    prompts = [prompt for prompt in config.prompts for _ in config.seeds]
    seeds = [seed for _ in config.prompts for seed in config.seeds]
    samples = policy.sample(prompts, seeds, **config.sampling)
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    width = len(config.seeds)
    paths = []
    for k, sample in enumerate(samples):
        medium = medium_of(sample)
        paths.append(place / f"{k // width:02d}-seed-{seeds[k]}{medium.suffix}")
        medium.write(sample, paths[-1])
    return paths
