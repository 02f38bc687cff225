"""Difficulty: how wrong a model ranks a pair before training, and the loss at which the ranking becomes right.

    c = l_ref(rejected) - l_ref(chosen)
    right after training  <=>  the pair's DPO loss is at most  -log s(beta c)

c <= 0 is right already. A pair is *easy to flip* if a loss that training usually reaches is enough, otherwise *hard*.

Source: Chen et al. 2024 (arXiv 2405.19534). The usually reached loss of 0.6 is the level of their proposition on pairs
that the reference ranks right; the boundary between easy and hard is ours.
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
from diffalign.evaluation.diagnosis.ches import without_further_answers
from diffalign.losses.diagnostics.ranking import flip_threshold
from diffalign.losses.pairs.logistic import logistic
from diffalign.policies.policy import Policy, no_progress
from diffalign.randomness import Draw
from diffalign.scorers.scorer import state_hash

CLASSES = ("already right", "easy to flip", "hard")
"""Names of ``difficulty_class`` 0, 1 and 2."""

REACHED = 0.6
"""A loss that training usually reaches."""


def difficulty(gap: Tensor, *, beta: float, reached: float = REACHED) -> tuple[Tensor, Tensor]:
    """Returns the loss below which a pair is ranked right, and its class, each ``(B,)``.

    Args:
        gap: ``(B,)``, ``c``: reference log-probability of the rejected minus that of the chosen candidate.
        beta: Inverse temperature of the planned training, > 0.
        reached: A loss that training usually reaches.
    """
    loss = flip_threshold(gap, lambda margin: logistic(margin, beta=beta))
    return loss, torch.where(gap <= 0, 0, torch.where(loss >= reached, 1, 2))


def ref_logps(
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    target: Path | None = None,
    eval_draws: int = 0,
    batch: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ProgressFile, dict[str, dict[str, float]]]:
    """Computes the log-probabilities of both candidates under the untrained model, by pair id and role.

    Args:
        policy: The model that training will start from.
        pairs: Comparisons of two candidates.
        target: The output file; an interrupted call resumes from its ``.part``.
        eval_draws: Noise draws averaged per pair; 0 means ``policy.eval_draws``.
        batch: Pairs per forward pass.
        seed: Seed of the draws.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        DataError: Single examples, or rows that the model cannot read.
    """
    if single := next((pair for pair in pairs if pair.rejected is None), None):
        raise DataError(
            f"{single.source or single.id} has no rejected candidate, and difficulty is defined for pairs only."
        )
    eval_draws = eval_draws or policy.eval_draws
    about = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "looks": eval_draws, "seed": seed}
    progress_file = ProgressFile(target, about)
    policy.prepare(pairs, progress or no_progress)

    @torch.no_grad()
    def compute(part: list[Pair]) -> Mapping[str, Mapping[str, float]]:
        encoded, ids = policy.encode([without_further_answers(pair) for pair in part]), tuple(pair.id for pair in part)
        total: Tensor | None = None
        for number in range(eval_draws):
            batch_logps = policy.logps(encoded, Draw(seed, ids, (-1 - number,) * len(part)))
            logps = torch.stack([candidate.logps.double() for candidate in batch_logps.candidates[:2]])
            total = logps if total is None else total + logps
        assert total is not None
        rows = (total / eval_draws).T.tolist()
        return {name: {"chosen": row[0], "rejected": row[1]} for name, row in zip(ids, rows, strict=True)}

    return progress_file, progress_file.fill(pairs, compute, what="pairs judged", batch=batch, progress=progress)


def with_difficulty(pair: Pair, logps: Mapping[str, float], *, beta: float, reached: float = REACHED) -> Pair:
    """Returns the pair with ``ref_logp`` added to the scores of both candidates, and ``difficulty`` (c, in nats),
    ``flip_loss`` and ``difficulty_class`` added to the scores of the pair.
    """
    gap = torch.tensor([logps["rejected"] - logps["chosen"]], dtype=torch.float64)
    loss, class_ = difficulty(gap, beta=beta, reached=reached)
    pair_scores = {"difficulty": float(gap), "flip_loss": float(loss), "difficulty_class": float(class_)}
    scores = {**pair.scores, "pair": {**pair.scores.get("pair", {}), **pair_scores}}
    for role in ("chosen", "rejected"):
        scores[role] = {**scores.get(role, {}), "ref_logp": logps[role]}
    return replace(pair, scores=scores)


def summary_lines(pairs: Sequence[Pair]) -> list[str]:
    """Returns one line per class with its number of pairs."""
    counts = Counter(int(pair.scores["pair"]["difficulty_class"]) for pair in pairs)
    return [f"{name:<14} {counts[k]:>7,}  {counts[k] / len(pairs):.1%}" for k, name in enumerate(CLASSES)]
