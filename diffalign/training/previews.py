"""Previews: samples of fixed prompts and seeds while training. Equal noise each time, so what changes is the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.policies.policy import Policy
from diffalign.training.recipe import Previews


def save_previews(policy: Policy, config: Previews, folder: Path, step: int) -> list[Path]:
    """Samples every prompt with every seed into ``folder/step-00000123/00-seed-0.png`` (or .gif, .txt)."""
    if not config.prompts:
        return []
    prompts = [prompt for prompt in config.prompts for _ in config.seeds]
    seeds = [seed for _ in config.prompts for seed in config.seeds]
    samples = policy.sample(prompts, seeds, steps=config.steps, guidance=config.guidance)
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    width = len(config.seeds)
    return [_write(sample, place / f"{k // width:02d}-seed-{seeds[k]}") for k, sample in enumerate(samples)]


def _write(sample: Any, stem: Path) -> Path:
    if isinstance(sample, str):
        path = stem.with_suffix(".txt")
        path.write_text(sample, encoding="utf-8")
    elif isinstance(sample, (list, tuple)):  # a clip: its frames
        path = stem.with_suffix(".gif")
        sample[0].save(path, save_all=True, append_images=list(sample[1:]), duration=125, loop=0)
    else:
        path = stem.with_suffix(".png")
        sample.save(path)
    return path
