"""Comparisons: the probability that one sample beats another, by any scorer.

    P(a beats b) = s(k (score(c, a) - score(c, b))),      s = sigmoid,  k = logits_per_unit, 1 where it is None

For a scorer that was trained on choices between two samples, ``k`` is the scale of its training, and P is the
probability that it was trained to give. For all others ``logits_per_unit`` is None and P only keeps the order: above
1/2 exactly where the score of ``a`` is higher, at a distance that means nothing. (Two cosines differ by a few
hundredths, so their P stays near 1/2.)

A scorer that sees both samples at once, such as a generative judge, decides by its own ``compare``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from diffalign.errors import ConfigError
from diffalign.scorers.scorer import Scorer, SupportsCompare, check_prompt_count


class Judge(Scorer, SupportsCompare, Protocol):
    """What ``load_scorer`` returns: a scorer that also compares."""


class ComparesByScore:
    """A scorer that compares by the difference of its scores; a base class that the package's scorers share.

    A scorer need not derive from it: ``load_scorer`` adds what an object of another class lacks.
    """

    preprocessing: str = ""
    """What is done to a sample before the model sees it; empty where nothing is done."""

    reads_prompt: bool = True
    """Whether a score depends on the prompt; where it does not, samples without one are scored too."""

    logits_per_unit: float | None = None
    """Factor that makes the difference of two scores the logit of "the first is preferred", as trained; None where the
    scorer was not trained on choices."""

    def compare(self: Any, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> Tensor:
        """Returns the probability that ``a`` beats ``b``, ``(B,)`` float32."""
        return compare_by_score(self, prompts, a, b)


def compare(scorer: Scorer, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> Tensor:
    """Returns the probability that each sample of ``a`` beats its partner of ``b``, by any scorer.

    Args:
        scorer: It decides itself where it can (:class:`SupportsCompare`), otherwise by the difference of its scores.
        prompts: ``B`` prompts.
        a, b: ``B`` samples each, in the form that the scorer takes.

    Returns:
        ``(B,)`` float32 on the CPU, in [0, 1]; 1/2 for equal scores.

    Facts: ``compare(a, b) + compare(b, a)`` is exactly 1.
    """
    if isinstance(scorer, SupportsCompare):
        return scorer.compare(prompts, a, b)
    return compare_by_score(scorer, prompts, a, b)


def compare_by_score(scorer: Scorer, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> Tensor:
    """Returns :func:`compare` by the difference of two scores, ``(B,)`` float32; all samples are scored in one pass."""
    check_prompt_count(prompts, a)
    check_prompt_count(prompts, b)
    scores = scorer.score([*prompts, *prompts], [*a, *b])
    scale = getattr(scorer, "logits_per_unit", None)
    return probability_first_wins(scores[: len(prompts)], scores[len(prompts) :], 1.0 if scale is None else scale)


def probability_first_wins(first: Tensor, second: Tensor, logits_per_unit: float = 1.0) -> Tensor:
    """Returns the sigmoid of the scaled difference of two scores, ``(B,)`` float32.

    Facts: the probabilities of both orders sum to exactly 1, because the smaller one is 1 minus the larger one, which
    lies in [1/2, 1], where the subtraction is exact.
    """
    difference = torch.where(first == second, 0.0, logits_per_unit * (first.double() - second.double()))
    larger = torch.sigmoid(difference.abs()).float()
    return torch.where(difference >= 0, larger, 1.0 - larger)


def as_judge(scorer: Any) -> Judge:
    """Returns a scorer with the fields that it lacks: no preprocessing, and a comparison by its scores.

    Args:
        scorer: A scorer, such as a plugin's, that need not derive from :class:`ComparesByScore`.

    Raises:
        ConfigError: Its class admits no further fields (``__slots__``).
    """
    try:
        if not hasattr(scorer, "preprocessing"):
            scorer.preprocessing = ""
        if not isinstance(scorer, SupportsCompare):
            scorer.compare = partial(compare_by_score, scorer)
    except (AttributeError, TypeError) as error:
        raise ConfigError(
            f"{type(scorer).__name__} has no field 'preprocessing' or 'compare', and admits none. Derive it from "
            "diffalign.scorers.ComparesByScore, or remove its __slots__."
        ) from error
    judge: Judge = scorer
    return judge
