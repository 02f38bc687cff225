"""A batch of pairs in tokens: answers to a shared prompt, those to one of their own, what the policy wrote itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.policies.answer_roles import own_prompt_answers, roles_of
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.scoring.score import EncodedTexts
from diffalign.policies.language.tokens.token_pair import Response
from diffalign.policies.language.tokens.tokenize import Tokens


def encode_pairs(tokens: Tokens, pairs: Sequence[Pair], device: torch.device, *, prompts: bool = False) -> EncodedTexts:
    """Tokens of a batch, on the device.

    Args:
        tokens: The rules.
        pairs: The batch.
        device: Where to.
        prompts: Score the prompts' tokens as well.

    Raises:
        DataError: for pairs with other answers than the batch's first, and as ``tokens.questions``.
    """
    roles = roles_of(pairs)
    made = [pair.rejected if isinstance(pair.rejected, CachedCandidate) else None for pair in pairs]
    read = [replace(pair, rejected=None) if kept else pair for pair, kept in zip(pairs, made, strict=True)]
    questions = [
        question if kept is None else tokens.beside(question, _own(kept), pair.id)
        for question, kept, pair in zip(tokens.questions(read), made, pairs, strict=True)
    ]
    apart = [own_prompt_answers(pair) for pair in pairs]
    questions += tokens.questions([aside for row in apart for aside in row.values()])
    return EncodedTexts(tuple(questions), lay_out(questions, device, prompts=prompts), _seats(roles, apart))


def _seats(roles: Sequence[str], apart: Sequence[Mapping[str, Any]]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each pair and role: in which question, and which of its responses. Those apart stand behind the others."""
    seats, behind = [], len(apart)
    for index, others in enumerate(apart):
        own = iter(range(len(roles)))
        far = iter(range(behind, behind + len(others)))
        seats.append(tuple((next(far), 0) if role in others else (index, next(own)) for role in roles))
        behind += len(others)
    return tuple(seats)


def _own(candidate: CachedCandidate) -> Response:
    """What the policy wrote itself, all of it scored."""
    ids = tuple(candidate.read()["ids"].tolist())
    return Response(ids, (True,) * len(ids))
