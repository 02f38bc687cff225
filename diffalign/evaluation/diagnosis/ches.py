"""CHES: predicts, before training, which pairs will lower the likelihood of the chosen answer.

With ``h_k(y)`` the last hidden state that predicts token k of an answer, and ``S(y) = sum_k h_k(y)``:

    ches    = <S(chosen), S(rejected)> - |S(chosen)|^2
    ln_ches = <S(chosen), S(rejected)> / (|chosen| |rejected|) - |S(chosen)|^2 / |chosen|^2

Higher (less negative) means that the two answers look alike to the model, so that lowering the rejected one lowers the
chosen one too. ``ches`` ranks pairs of one length; filter by ``ln_ches`` if lengths differ.

The state at an answer's last token predicts none of its tokens and is left out, as in the definition; the released
experiment script includes it, which gives other numbers.

Source: Razin et al. 2024 (arXiv 2410.08847), the CHES score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffalign.data.check.candidate_facts import is_text
from diffalign.data.records.pair import Pair
from diffalign.data.records.progress_file import Progress, ProgressFile
from diffalign.errors import DataError, UserError
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.policies.language.scoring.hidden_states import response_states
from diffalign.policies.module_utils import unwrap
from diffalign.scorers.scorer import state_hash

COLUMNS = ("ches", "ln_ches", "edit_distance", "last_hidden_product")
"""Numbers computed for each pair."""


def summed_states(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ``S`` ``(B, D)`` and the lengths ``(B,)``, from padded states.

    Args:
        states: ``(B, L, D)``; row k is the state that predicts the (k+1)-th token.
        mask: ``(B, L)``, true if that token belongs to the answer.
    """
    kept = mask.to(states.dtype)
    return (states * kept[..., None]).sum(1), kept.sum(1)


def ches(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Returns the centred hidden embedding similarity ``(B,)``.

    Args:
        chosen: ``(B, D)``, the sum of the states that predict the chosen answer's tokens.
        rejected: The same of the rejected answer.

    Facts: 0 for equal answers, and for any two answers of one token; grows with the square of the states' size; not
    symmetric in the two answers.
    """
    return ((rejected - chosen) * chosen).sum(-1)


def ln_ches(chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor) -> Tensor:
    """Returns the same ``(B,)`` of mean states: arguments as :func:`ches`, and the numbers of tokens ``(B,)``."""
    return ches(chosen / chosen_length[:, None], rejected / rejected_length[:, None])


def edit_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Returns the fewest insertions, deletions and substitutions of tokens, as a share of the longer answer."""
    if not one or not other:
        return float(bool(one) or bool(other))
    tokens, steps = np.asarray(other), np.arange(len(other) + 1)
    row = steps.copy()
    for token in one:
        # Substitution or deletion; then an insertion costs one more than the previous cell, along the whole row.
        best = np.minimum(row[:-1] + (tokens != token), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate(([row[0] + 1], best)) - steps) + steps
    return float(row[-1]) / max(len(one), len(other))


def ches_scores(
    policy: Any,
    pairs: Sequence[Pair],
    *,
    target: Path | None = None,
    batch: int = 8,
    progress: Progress | None = None,
) -> tuple[ProgressFile, dict[str, dict[str, float]]]:
    """Computes :data:`COLUMNS` for each pair, by pair id.

    ``edit_distance`` counts tokens; ``last_hidden_product`` is the inner product of the states at the two answers' last
    tokens.

    Args:
        policy: A language policy, in the state in which training will begin.
        pairs: Comparisons of two texts.
        target: The output file; an interrupted call resumes from its ``.part``.
        batch: Pairs per forward pass.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        UserError: The model generates images, for which CHES is not defined.
        DataError: Candidates that are not texts, or rows that the model cannot read.
    """
    if not isinstance(policy, LanguagePolicy):
        raise UserError(
            f"CHES is defined by the states that predict tokens, and this model generates {policy.medium}s. "
            "For images use `diffalign data separability`."
        )
    check_texts(pairs)
    progress_file = ProgressFile(
        target, {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "of": COLUMNS}
    )

    def compute(part: list[Pair]) -> Mapping[str, Mapping[str, float]]:
        encoded = policy.encode([without_further_answers(pair) for pair in part])
        chosen, rejected = response_states(unwrap(policy.module), encoded)  # type: ignore[arg-type]
        values = torch.stack(
            [
                ches(chosen.total, rejected.total),
                ln_ches(chosen.total, rejected.total, chosen.lengths, rejected.lengths),
                (chosen.last * rejected.last).sum(-1),
            ],
            dim=1,
        ).tolist()
        rows = {}
        for pair, token_pair, (ches_value, ln_ches_value, product) in zip(
            part, encoded.token_pairs, values, strict=True
        ):
            ids = [response.ids for response in token_pair.responses]
            row = (ches_value, ln_ches_value, edit_distance(ids[0], ids[1]), product)
            rows[pair.id] = dict(zip(COLUMNS, row, strict=True))
        return rows

    return progress_file, progress_file.fill(pairs, compute, what="pairs read", batch=batch, progress=progress)


def without_further_answers(pair: Pair) -> Pair:
    """Returns the pair without further answers."""
    return replace(pair, further={}) if pair.further else pair


def check_texts(pairs: Sequence[Pair]) -> None:
    """Raises DataError unless every pair has two texts as answers to one prompt."""
    for pair in pairs:
        if pair.rejected is None or not is_text(pair.chosen) or pair.rejected_prompt is not None:
            raise DataError(f"{pair.source or pair.id}: expected two texts that answer one prompt.")
