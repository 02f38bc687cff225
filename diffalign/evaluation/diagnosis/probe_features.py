"""Features of a frozen model for a linear probe: hidden states of answers, or embeddings of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from diffalign.data.check.candidate_facts import is_text
from diffalign.data.records.pair import Pair
from diffalign.data.records.progress_file import Progress
from diffalign.data.separability.study import Features
from diffalign.errors import DataError, UserError
from diffalign.evaluation.diagnosis.ches import check_texts, without_further_answers
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.policies.language.scoring.hidden_states import response_states
from diffalign.policies.module_utils import unwrap
from diffalign.scorers.scorer import Scorer, SupportsImageFeatures


def hidden_states(policy: Any, pairs: Sequence[Pair], *, batch: int = 8, progress: Progress | None = None) -> Features:
    """Returns the mean last hidden state over each answer's tokens, given its prompt: ``(N, D)`` for each side.

    Args:
        policy: A language policy, in its current state.
        pairs: Comparisons of two texts.
        batch: Pairs per forward pass.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        UserError: The model generates images.
        DataError: Candidates that are not texts.
    """
    if not isinstance(policy, LanguagePolicy):
        raise UserError(
            f"Hidden states are those of a language model, and this model generates {policy.medium}s. "
            "Give an image encoder: --scorer clip:MODEL."
        )
    check_texts(pairs)
    sides: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        encoded = policy.encode([without_further_answers(pair) for pair in part])
        both_states = response_states(unwrap(policy.module), encoded)  # type: ignore[arg-type]
        for side, states in zip(sides, both_states, strict=True):
            side.append(states.mean.float().cpu())
        if progress is not None:
            progress("pairs read", min(start + batch, len(pairs)), len(pairs))
    chosen, rejected = (np.asarray(torch.cat(side)) for side in sides)
    return chosen, rejected


def image_embeddings(encoder: Scorer, pairs: Sequence[Pair]) -> Features:
    """Returns embeddings of unit length of each side's images, ``(N, D)``.

    Args:
        encoder: A scorer that embeds images (a dual encoder such as CLIP).
        pairs: Comparisons of two images.

    Raises:
        UserError: A scorer without image embeddings.
        DataError: Candidates that are not images.
    """
    if not isinstance(encoder, SupportsImageFeatures):
        raise UserError(
            f"The scorer {encoder.name} has no image embeddings. Give a dual encoder: --scorer clip:FOLDER."
        )
    if any(is_text(pair.chosen) for pair in pairs):
        raise DataError("The candidates are texts, and --scorer embeds images. Give a language model with --model.")
    chosen = np.asarray(encoder.image_features([pair.chosen for pair in pairs]))
    return chosen, np.asarray(encoder.image_features([pair.rejected for pair in pairs]))
