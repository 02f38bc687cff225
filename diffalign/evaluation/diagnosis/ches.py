"""Similarity: which pairs will push the chosen answer's likelihood down, seen before training.

With ``h_k(y)`` the last hidden state that predicts token k of an answer, and ``S(y) = sum_k h_k(y)``:

    ches    = <S(chosen), S(rejected)> - |S(chosen)|^2
    ln_ches = <S(chosen), S(rejected)> / (|chosen| |rejected|) - |S(chosen)|^2 / |chosen|^2

Higher (less negative) means that the two answers look alike to the model, so that pushing the rejected one down takes
the chosen one with it. ``ches`` ranks pairs of one length; ``ln_ches`` is the one to filter by where lengths differ.

The state at an answer's last token predicts none of its tokens and is left out, as the definition says; the released
experiment script adds it, which gives other numbers.

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
"""What is noted of each pair."""


def summed_states(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``S`` ``(B, D)`` and the lengths ``(B,)``, from padded states.

    Args:
        states: ``(B, L, D)``; row k is the state that predicts the (k+1)-th token.
        mask: ``(B, L)``, true where that token is one of the answer's.
    """
    kept = mask.to(states.dtype)
    return (states * kept[..., None]).sum(1), kept.sum(1)


def ches(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The centred hidden embedding similarity ``(B,)``.

    Args:
        chosen: ``(B, D)``, the sum of the states that predict the chosen answer's tokens.
        rejected: The same of the rejected answer.

    Facts: 0 for equal answers, and for any two answers of one token; grows with the square of the states' size; not
    symmetric in the two answers.
    """
    return ((rejected - chosen) * chosen).sum(-1)


def ln_ches(chosen: Tensor, rejected: Tensor, chosen_length: Tensor, rejected_length: Tensor) -> Tensor:
    """The same ``(B,)`` of mean states: arguments as :func:`ches`, and the answers' tokens ``(B,)``."""
    return ches(chosen / chosen_length[:, None], rejected / rejected_length[:, None])


def edit_distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Fewest insertions, deletions and substitutions of tokens from one to the other, as a share of the longer one."""
    if not one or not other:
        return float(bool(one) or bool(other))
    tokens, steps = np.asarray(other), np.arange(len(other) + 1)
    row = steps.copy()
    for token in one:
        # Substitution or deletion; then an insertion is one more than the place before, all along the row.
        best = np.minimum(row[:-1] + (tokens != token), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate(([row[0] + 1], best)) - steps) + steps
    return float(row[-1]) / max(len(one), len(other))


def similarities(
    policy: Any,
    pairs: Sequence[Pair],
    *,
    target: Path | None = None,
    batch: int = 8,
    progress: Progress | None = None,
) -> tuple[ProgressFile, dict[str, dict[str, float]]]:
    """What the model holds of each pair's answers, as numbers by pair id: :data:`COLUMNS`.

    ``edit_distance`` counts tokens; ``last_hidden_product`` is the inner product of the states at the two answers' last
    tokens.

    Args:
        policy: A language policy, as it will be when training begins.
        pairs: Comparisons of two texts.
        target: The file that the numbers go into in the end: a killed call goes on from its ``.part``.
        batch: Pairs at a time.
        progress: Told how far it is.

    Raises:
        UserError: a model of images: what a denoiser holds of them is not what this theory is about.
        DataError: candidates that are no texts, or rows that the model cannot read.
    """
    if not isinstance(policy, LanguagePolicy):
        raise UserError(
            f"CHES is defined by the states that predict tokens, and this model makes {policy.medium}s. "
            "For images ask `diffalign data separability`."
        )
    check_texts(pairs)
    progress_file = ProgressFile(
        target, {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "of": COLUMNS}
    )

    def find(part: list[Pair]) -> Mapping[str, Mapping[str, float]]:
        encoded = policy.encode([bare(pair) for pair in part])
        chosen, rejected = response_states(unwrap(policy.module), encoded)  # type: ignore[arg-type]
        columns = torch.stack(
            [
                ches(chosen.total, rejected.total),
                ln_ches(chosen.total, rejected.total, chosen.lengths, rejected.lengths),
                (chosen.last * rejected.last).sum(-1),
            ],
            dim=1,
        ).tolist()
        found = {}
        for pair, token_pair, (one, two, product) in zip(part, encoded.token_pairs, columns, strict=True):
            ids = [response.ids for response in token_pair.responses]
            values = (one, two, edit_distance(ids[0], ids[1]), product)
            found[pair.id] = dict(zip(COLUMNS, values, strict=True))
        return found

    return progress_file, progress_file.fill(pairs, find, what="pairs read", batch=batch, progress=progress)


def bare(pair: Pair) -> Pair:
    """The pair without further answers."""
    return replace(pair, further={}) if pair.further else pair


def check_texts(pairs: Sequence[Pair]) -> None:
    """Raises DataError unless every pair has two texts as answers to one prompt."""
    for pair in pairs:
        if pair.rejected is None or not is_text(pair.chosen) or pair.rejected_prompt is not None:
            raise DataError(f"{pair.source or pair.id}: two texts that answer one prompt are needed.")
