"""Answers that a policy samples: tokens in a cache, not decoded and tokenised again, or the place of such an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from diffalign.data.records.pair import Media, Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.policies.language.tokens.token_pair import Response


def sampled_responses(pair: Pair, end: int) -> dict[int, Response]:
    """Returns the sampled answers to the pair's own prompt, by their place among its answers, with all tokens scored.

    Args:
        pair: The pair.
        end: A token; an answer that does not exist yet consists of as many of it as it may have tokens.
    """
    answers = [answer.candidate for answer in pair.answers.values() if answer.prompt is None]
    return {place: _response(media, end) for place, media in enumerate(answers) if _is_sampled(media)}


def written_answers(pair: Pair) -> Pair | None:
    """Returns the pair with only those of its answers that are texts; None where all answers to its prompt are sampled.

    The first text takes the place of the chosen answer. The others keep their roles, so that a chosen and a rejected
    answer that are both texts are still compared with each other.
    """
    if not any(_is_sampled(answer.candidate) for answer in pair.answers.values()):
        return pair
    texts = {role: answer for role, answer in pair.answers.items() if not _is_sampled(answer.candidate)}
    shared = [role for role, answer in texts.items() if answer.prompt is None]
    if not shared:
        return None
    first, *others = shared
    further = {role: answer for role, answer in texts.items() if role in others and role != "rejected"}
    rejected = pair.rejected if "rejected" in others else None
    return replace(pair, chosen=texts[first].candidate, rejected=rejected, rejected_prompt=None, further=further)


def insert(written: tuple[Response, ...], sampled: Mapping[int, Response]) -> tuple[Response, ...]:
    """Returns the responses of a pair in the order of its answers: sampled ones at their places, the others between."""
    rest = iter(written)
    return tuple(sampled[place] if place in sampled else next(rest) for place in range(len(written) + len(sampled)))


def _is_sampled(media: Media) -> bool:
    return isinstance(media, (CachedCandidate, ToSample))


def _response(media: Media, end: int) -> Response:
    if isinstance(media, ToSample):
        return Response((end,) * media.tokens, (True,) * media.tokens, to_sample=True)
    assert isinstance(media, CachedCandidate)  # as _is_sampled says
    ids = tuple(media.read()["ids"].tolist())
    return Response(ids, (True,) * len(ids))
