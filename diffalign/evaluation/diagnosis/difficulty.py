"""Difficulty: by how much a model ranks a pair the wrong way round before training, and what it would take to turn it.

    c = l_ref(rejected) - l_ref(chosen)
    right after training  <=>  the pair's DPO loss is at most  -log s(beta c)

c <= 0 is right already. A pair is *easy to flip* where a loss that training usually reaches is enough, *hard* where it
is not.

Source: Chen et al. 2024 (arXiv 2405.19534). That a loss of 0.6 is what is usually reached is the level of their
proposition on pairs that the reference ranks right; where to draw the line between easy and hard is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.data.records.progress_file import Progress, ProgressFile
from diffalign.errors import DataError
from diffalign.evaluation.diagnosis.ches import bare
from diffalign.losses.diagnostics.ranking import flip_threshold
from diffalign.losses.pairs.logistic import logistic
from diffalign.policies.policy import Policy
from diffalign.randomness import Draw
from diffalign.scorers.scorer import state_hash

CLASSES = ("already right", "easy to flip", "hard")
"""What ``difficulty_class`` counts: 0, 1, 2."""

REACHED = 0.6


def difficulty(wrong_by: Tensor, *, beta: float, reached: float = REACHED) -> tuple[Tensor, Tensor]:
    """The loss below which a pair is ranked right, and its class, each ``(B,)``.

    Args:
        wrong_by: ``(B,)``, ``c``: reference log-probability of the rejected minus that of the chosen candidate.
        beta: That of the training to come, > 0.
        reached: A loss that training usually reaches.
    """
    loss = flip_threshold(wrong_by, lambda margin: logistic(margin, beta=beta))
    return loss, torch.where(wrong_by <= 0, 0, torch.where(loss >= reached, 1, 2))


def ref_logps(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    target: Path | None = None,
    looks: int = 0,
    batch: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ProgressFile, dict[str, dict[str, float]]]:
    """Log-probabilities of both candidates under the model as it is, by pair id: ``chosen`` and ``rejected``.

    Args:
        policy: What training will start from.
        pairs: Comparisons of two.
        target: The file that the numbers go into in the end: a killed call goes on from its ``.part``.
        eval_draws: Draws that a pair's numbers are a mean of; 0: as many as a held-out pair gets.
        batch: Pairs at a time.
        seed: Of the draws.
        progress: Told how far it is.

    Raises:
        DataError: single examples, or rows that the model cannot read.
    """
    if single := next((pair for pair in pairs if pair.rejected is None), None):
        raise DataError(f"{single.source or single.id} has no rejected candidate, and difficulty is that of a pair.")
    looks = looks or policy.eval_draws
    about = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "looks": looks, "seed": seed}
    progress_file = ProgressFile(target, about)
    policy.prepare(pairs, progress or _silent)

    @torch.no_grad()
    def find(part: list[Pair]) -> Mapping[str, Mapping[str, float]]:
        encoded, ids = policy.encode([bare(pair) for pair in part]), tuple(pair.id for pair in part)
        total: Tensor | None = None
        for look in range(looks):
            scored = policy.logps(encoded, Draw(seed, ids, (-1 - look,) * len(part)))
            logps = torch.stack([scores.logps.double() for scores in scored.candidates[:2]])
            total = logps if total is None else total + logps
        assert total is not None
        rows = (total / looks).T.tolist()
        return {name: {"chosen": row[0], "rejected": row[1]} for name, row in zip(ids, rows, strict=True)}

    return progress_file, progress_file.fill(pairs, find, what="pairs judged", batch=batch, progress=progress)


def with_difficulty(pair: Pair, logps: Mapping[str, float], *, beta: float, reached: float = REACHED) -> Pair:
    """The pair with ``ref_logp`` of both candidates among its scores, and ``difficulty`` (c, in nats),
    ``flip_loss`` and ``difficulty_class`` among those that belong to both."""
    gap = torch.tensor([logps["rejected"] - logps["chosen"]], dtype=torch.float64)
    loss, kind = difficulty(gap, beta=beta, reached=reached)
    found = {"difficulty": float(gap), "flip_loss": float(loss), "difficulty_class": float(kind)}
    scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), **found}}
    for role in ("chosen", "rejected"):
        scores[role] = {**scores.get(role, {}), "ref_logp": logps[role]}
    return replace(pair, scores=scores)


def summary_lines(pairs: Sequence[Pair]) -> list[str]:
    """How many pairs there are of each class, a line each."""
    counts = Counter(int(pair.scores["pair"]["difficulty_class"]) for pair in pairs)
    return [f"{name:<14} {counts[kind]:>7,}  {counts[kind] / len(pairs):.1%}" for kind, name in enumerate(CLASSES)]


def _silent(what: str, done: int, total: int) -> None:
    pass
