"""Scores of one pair, with what is known of it besides, for the tests of losses that read more than two log-ratios."""

from dataclasses import replace

import torch

from diffalign.losses import AnswerLogps, CandidateLogps
from tests.losses.logps import from_logps


def column(x):
    return torch.as_tensor([x] if isinstance(x, (int, float)) else x, dtype=torch.float64)


def answered(logp, reference=0.0, tokens=None):
    """A further answer."""
    lengths = None if tokens is None else torch.as_tensor([tokens])
    return AnswerLogps(
        CandidateLogps(column(logp), lengths=lengths), CandidateLogps(column(reference), lengths=lengths)
    )


def known(batch, further=None, previous=None, rewards=None, prompts=None):
    """The batch with further answers (numbers are logratios), the previous policy's log-probabilities of the two
    candidates, their rewards, and the prompts' logratios."""
    further = {r: a if isinstance(a, AnswerLogps) else answered(a) for r, a in (further or {}).items()}
    beside = {} if previous is None else {"previous": tuple(CandidateLogps(column(x)) for x in previous)}
    rewards = {} if rewards is None else dict(zip(("chosen", "rejected"), map(column, rewards), strict=True))
    sides = {}
    for side, gain in zip(("chosen", "rejected"), prompts or (), strict=False):
        sides[side] = replace(getattr(batch, side), prompts=column(gain) - 7.0)
        sides[f"reference_{side}"] = replace(getattr(batch, f"reference_{side}"), prompts=column(-7.0))
    return replace(batch, further=further, extra_models=beside, rewards=rewards, **sides)


def language(**besides):
    """The language pair of the golden numbers, margin 1.5: logratios 1 and -0.5, 8 and 12 tokens."""
    return known(from_logps([-12.0], [-15.0], [-13.0], [-14.5], tokens=([8], [12])), **besides)
