"""Hidden features: what a frozen model holds of answers or images, for a probe to look at."""

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
from diffalign.evaluation.diagnosis.ches import bare, check_texts
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.policies.language.scoring.hidden_states import response_states
from diffalign.policies.module_utils import unwrap
from diffalign.scorers.scorer import Scorer, SupportsImageFeatures


def hidden_states(policy: Any, pairs: Sequence[Pair], *, batch: int = 8, progress: Progress | None = None) -> Features:
    """Mean last hidden state over each answer's tokens, given its prompt: ``(N, D)`` of each side.

    Args:
        policy: A language policy; its weights are asked as they are.
        pairs: Comparisons of two texts.
        batch: Pairs at a time.
        progress: Told how far it is.

    Raises:
        UserError: a model of images.
        DataError: candidates that are no texts.
    """
    if not isinstance(policy, LanguagePolicy):
        raise UserError(
            f"hidden states are read of texts; this model makes {policy.medium}s. Give --scorer clip:MODEL."
        )
    check_texts(pairs)
    sides: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for start in range(0, len(pairs), batch):
        part = pairs[start : start + batch]
        found = response_states(unwrap(policy.module), policy.encode([bare(pair) for pair in part]))  # type: ignore[arg-type]
        for side, states in zip(sides, found, strict=True):
            side.append(states.mean.float().cpu())
        if progress is not None:
            progress("pairs read", min(start + batch, len(pairs)), len(pairs))
    chosen, rejected = (np.asarray(torch.cat(side)) for side in sides)
    return chosen, rejected


def embeddings(encoder: Scorer, pairs: Sequence[Pair]) -> Features:
    """Embeddings of unit length of each side's images, ``(N, D)``.

    Args:
        encoder: A scorer that embeds images (a dual encoder such as CLIP).
        pairs: Comparisons of two images.

    Raises:
        UserError: a scorer that embeds nothing.
        DataError: candidates that are no images.
    """
    if not isinstance(encoder, SupportsImageFeatures):
        raise UserError(f"the scorer {encoder.name} embeds no images. Give a dual encoder: --scorer clip:FOLDER.")
    if any(is_text(pair.chosen) for pair in pairs):
        raise DataError("the candidates are texts, and --scorer embeds images. Give a language model with --model.")
    chosen = np.asarray(encoder.image_features([pair.chosen for pair in pairs]))
    return chosen, np.asarray(encoder.image_features([pair.rejected for pair in pairs]))
