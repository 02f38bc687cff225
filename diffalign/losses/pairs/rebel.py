"""REBEL: regresses the margin of two answers to the gap of their rewards."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regression_loss


@checked
def rebel(logps: PairLogps, *, beta: float, relative: bool = False) -> Tensor:
    """Regression to relative rewards.

        loss_b = (m_b - (v_w - v_l) / beta)^2                relative: the same times beta^2

    with the margin ``m`` against the reference and the candidates' rewards ``v``.

    Args:
        logps: ``B`` pairs against a reference, with rewards of any sign and size. For texts log-probabilities are sums
            unless ``per_token: true`` is set.
        beta: Inverse temperature, > 0.
        relative: Measures distances in units of ``1 / beta``, so that the loss is of the rewards' own size.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: swapping the two candidates changes nothing, and so does a constant added to all rewards. It is least where
        the policy is the reference times ``exp(v / beta)`` up to a constant: the optimum of the rewards under a KL
        term. With win rates against the policy's own answers as rewards it is the online IPO of EGPO; with the policy
        at the round's beginning as the reference it is REBEL.

    Source: Gao et al. 2024 (arXiv 2404.16767), REBEL; Zhou et al. 2025 (arXiv 2503.08942), online IPO of EGPO, which
        takes log-probabilities per token.
    """
    reward = (logps.reward("chosen") - logps.reward("rejected")).to(logps.margin)
    return regression_loss(logps.margin, reward, beta=beta, relative=relative)


REBEL = Loss(
    name="rebel",
    function=rebel,
    takes="logps",
    needs=("reference", "rewards"),
    is_quadratic=True,
    scale_sensitive=True,
    per_token=False,
    summary="REBEL and online IPO: regresses the margin to the gap of the two candidates' rewards",
    formula="(m - (v_w - v_l) / beta)^2; relative: times beta^2",
    source="Gao et al. 2024, arXiv 2404.16767; Zhou et al. 2025, arXiv 2503.08942",
    papers=(
        Paper(
            "2404.16767",
            "Gao and Chang and others",
            2024,
            "REBEL: Reinforcement Learning via Regressing Relative Rewards",
        ),
        Paper(
            "2503.08942",
            "Zhou and Fazel and Du",
            2025,
            "Extragradient Preference Optimization (EGPO): Beyond Last-Iterate Convergence for Nash Learning from "
            "Human Feedback",
        ),
    ),
    advice="In rounds, on a model's own answers with scores or win rates (loss.rewards: score or win). EGPO takes "
    "beta 0.1, win rates and per_token: true. Set relative: true where an optimizer or gradient clipping cannot handle "
    "losses of thousands.",
    limits={"beta": BETA},
    at_zero=lambda h: None,
    aliases=("online_ipo",),
)
