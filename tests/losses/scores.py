"""Scores for the tests of losses: made from margins, or drawn."""

import torch

from diffalign.losses import PairScores, Scores


def from_logps(chosen, rejected, reference_chosen, reference_rejected, dtype=torch.float64):
    """Four lists (or tensors) of log-probabilities as scores."""
    as_scores = lambda x: Scores(x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=dtype))
    return PairScores(*map(as_scores, (chosen, rejected, reference_chosen, reference_rejected)))


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


def from_errors(chosen, rejected, reference_chosen, reference_rejected):
    """Scores of a denoiser: a log-probability is minus half a squared error."""
    return from_logps(
        *(
            -torch.as_tensor(e, dtype=torch.float64) / 2
            for e in (chosen, rejected, reference_chosen, reference_rejected)
        )
    )
