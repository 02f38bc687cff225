"""Scores for the tests of losses: made from margins, or drawn."""

from dataclasses import fields, replace

import torch

from diffalign.losses import PairScores, Scores
from tests.losses.plain import PLAIN, Example

SIDES = ("chosen", "rejected", "reference_chosen", "reference_rejected")


def from_logps(chosen, rejected, reference_chosen, reference_rejected, dtype=torch.float64, tokens=None):
    """Four lists (or tensors) of log-probabilities as scores; ``tokens`` are lists of lengths, chosen and rejected."""
    lengths = [None if tokens is None else torch.tensor(tokens[k % 2]) for k in range(4)]
    as_tensor = lambda x: x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=dtype)
    given = (chosen, rejected, reference_chosen, reference_rejected)
    return PairScores(*(Scores(as_tensor(x), lengths=n) for x, n in zip(given, lengths, strict=True)))


def from_margins(margins, dtype=torch.float64):
    """Scores whose margins are exactly these: the chosen candidate carries all of it."""
    margins = torch.as_tensor(margins, dtype=dtype)
    zeros = torch.zeros_like(margins)
    return PairScores(*map(Scores, (margins, zeros, zeros, zeros)))


def drawn(count, seed=0, dtype=torch.float64, scale=1.0):
    """``count`` pairs of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    rows = scale * torch.randn(4, count, generator=generator, dtype=torch.float64)
    return PairScores(*(Scores(row.to(dtype)) for row in rows))


def fit(loss, scores, point=0.25):
    """The scores with what a loss needs besides: log-probabilities of its own range; for one on single examples
    judgements in turn and a point, in units of 1 / beta."""
    below = PLAIN[loss.name].below
    if below is not None:
        scores = with_logps(scores, lambda x: below - x.abs())
    if not loss.loss.both_sides:
        return scores
    logps = scores.chosen.logps
    desirable = torch.arange(len(logps)) % 3 != 1
    return replace(scores, desirable=desirable, point=torch.tensor(point / loss.beta, dtype=logps.dtype))


def taken(scores, rows):
    """The scores of some rows, everything that goes with them too."""
    pick = lambda x: x if x is None or x.dim() == 0 else x[rows]
    one = lambda s: Scores(*(pick(getattr(s, f.name)) for f in fields(Scores)))
    given = {f.name: getattr(scores, f.name) for f in fields(PairScores)}
    return PairScores(**{k: v if v is None else one(v) if isinstance(v, Scores) else pick(v) for k, v in given.items()})


def with_logps(scores, change):
    """The scores with each candidate's log-probabilities changed by a function."""
    return replace(
        scores, **{side: replace(getattr(scores, side), logps=change(getattr(scores, side).logps)) for side in SIDES}
    )


def examples(scores):
    """The rows as plain examples."""
    found = []
    for k in range(len(scores.chosen.logps)):
        tokens = lambda s: 1 if s.lengths is None else int(s.lengths[k])  # noqa: B023
        found.append(
            Example(
                *(getattr(scores, side).logps[k].item() for side in SIDES),
                tokens(scores.chosen),
                tokens(scores.rejected),
                True if scores.desirable is None else bool(scores.desirable[k]),
                0.0 if scores.point is None else scores.point.item(),
            )
        )
    return found


def with_tokens(count=6, tokens=5, seed=1, scale=1.0, reference_lengths=True):
    """Scores that are sums of token log-probabilities, of answers of several lengths; zero behind each end."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, tokens + 1, (2, count), generator=generator)
    mask = torch.arange(tokens) < lengths[..., None]
    parts = -scale * torch.rand(2, 2, count, tokens, generator=generator, dtype=torch.float64) * mask
    sides = [
        Scores(p.sum(1), p, n if reference_lengths or k < 2 else None)
        for k, (p, n) in enumerate((parts[i, j], lengths[j]) for i in range(2) for j in range(2))
    ]
    return PairScores(*sides)


def from_errors(chosen, rejected, reference_chosen, reference_rejected):
    """Scores of a denoiser: a log-probability is minus half a squared error."""
    return from_logps(
        *(
            -torch.as_tensor(e, dtype=torch.float64) / 2
            for e in (chosen, rejected, reference_chosen, reference_rejected)
        )
    )
