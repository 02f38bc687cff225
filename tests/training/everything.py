"""What each loss of the catalogue needs to be trained on: examples of its kind, and settings for images or texts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffalign.data.records.pair import Answer, Pair
from diffalign.losses import LOSSES, Loss, hyperparameters
from tests.losses.plain import PLAIN

RANKED = ("2", "3")
BETA = {"image": 2000.0, "text": 0.1}
SCALE = 50_000.0
"""A denoiser's log-probabilities times this are at a beta of 0.1 what they are at a beta of 5000."""


def examples_for(row: Loss, pairs: list[Pair]) -> list[Pair]:
    """The pairs with everything that the row reads: ranked candidates and further answers are those of other pairs."""
    found = []
    for k, pair in enumerate(pairs):
        roles = (*(RANKED if row.kind == "list" else ()), *row.roles)
        # Never the pair's own candidates: a further one differs from both.
        others = [q for q in pairs if q.chosen not in (pair.chosen, pair.rejected)]
        further = {role: Answer(others[(k + j) % len(others)].chosen) for j, role in enumerate(roles)}
        ranked = ("chosen", *(r for r in roles if r.isdigit()), "rejected", *(r for r in roles if not r.isdigit()))
        rewards = {role: {"judge": 0.9 - 0.8 * j / len(ranked)} for j, role in enumerate(ranked)}
        found.append(replace(pair, further=further, scores=rewards, group=("some", "others")[k % 2]))
    return found


def sections_for(row: Loss, medium: str) -> dict[str, Any]:
    """Sections of a recipe: pairs, loss and what of train the row asks for."""
    hyper: dict[str, Any] = {}
    for name, default in hyperparameters(row).items():
        if name == "beta":
            hyper[name] = 0.1 if row.scale_sensitive else BETA[medium]
        elif default is None or default == "" and name in PLAIN[row.name].settings[0]:
            hyper[name] = PLAIN[row.name].settings[0][name]
    if row.scale_sensitive and medium == "image":
        hyper["logp_scale"] = SCALE
    pairs = {"pair": "dataset", "list": "lists", "single": "singles" if row.accepts_undesirable else "winners"}[
        row.kind
    ]
    train = {"previous_every": 2} if "previous" in row.needs else {}
    model = {"degree": {}} if "degree" in row.needs else {}
    return {"loss": {"name": row.name, **hyper}, "pairs": pairs, "train": train, "model": model}


def rows_for(medium: str) -> list[Loss]:
    """The rows that say they have a meaning for a medium."""
    return [row for row in LOSSES.values() if medium in row.media]
