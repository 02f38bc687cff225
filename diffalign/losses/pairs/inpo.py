"""INPO: the IPO loss against a mixture of a fixed reference and an earlier state of the policy."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.regression import regression_loss


@checked
def inpo(logps: PairLogps, *, beta: float, tau_over_eta: float = 1 / 3, relative: bool = False) -> Tensor:
    """Iterative Nash policy optimisation.

        loss_b = (m_b - 1 / (2 beta))^2,   m = q m_reference + (1 - q) m_previous        relative: the same times beta^2

    with the margins against the fixed reference and against the previous policy, and ``q = tau_over_eta``.

    Args:
        logps: ``B`` pairs against a reference, with the log-probabilities under the previous policy. For texts they
            are sums unless ``per_token: true`` is set.
        beta: Inverse temperature, > 0; the paper's eta. The target margin is ``1 / (2 beta)``.
        tau_over_eta: The share of the fixed reference, in [0, 1]; the rest is the previous policy's.
        relative: Measures the distance in units of ``1 / beta``.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: in the first round, where the previous policy is the reference, it is ``ipo`` with sums; with a share of
        1 in every round. On pairs that the previous policy sampled and a preference P labelled, the best policy is
        ``exp(P(y over previous) / beta) reference^q previous^(1 - q)``: one step of mirror descent towards the Nash
        policy, without an estimate of any win rate.

    Source: Zhang et al. 2024 (arXiv 2407.00617), its loss on pairs.
    """
    chosen, rejected = logps.pair
    gap = upcast(chosen.logps) - upcast(rejected.logps)
    previous_chosen, previous_rejected = logps.under("previous")
    previous_margin = gap - (upcast(previous_chosen.logps) - upcast(previous_rejected.logps)).detach()
    margin = tau_over_eta * logps.margin + (1.0 - tau_over_eta) * previous_margin
    return regression_loss(margin, 0.5, beta=beta, relative=relative)


INPO = Loss(
    name="inpo",
    function=inpo,
    takes="logps",
    needs=("reference", "previous"),
    is_quadratic=True,
    scale_sensitive=True,
    per_token=False,
    summary="INPO: the IPO loss against a mixture of the reference and an earlier state of the policy",
    formula="(q m_reference + (1 - q) m_previous - 1 / (2 beta))^2, q = tau_over_eta; relative: times beta^2",
    source="Zhang et al. 2024, arXiv 2407.00617",
    papers=(
        Paper(
            "2407.00617",
            "Zhang and Yu and others",
            2024,
            "Iterative Nash Policy Optimization: Aligning LLMs with General Preferences via No-Regret Learning",
        ),
    ),
    advice="In rounds, on a model's own answers with an order but no win rates. The reference stays the first policy "
    "throughout. Published: beta 0.0075 of sums, a third of the reference, three rounds.",
    limits={
        "beta": BETA,
        "tau_over_eta": Range(
            *(0.0, 1.0, True, True),
            meaning="the share of the fixed reference; the rest is the previous policy's",
            advice="Leave it at a third; 1 ignores the previous policy, 0 the reference.",
        ),
    },
    # In the first round: the previous policy is the reference.
    at_zero=lambda h: 0.25 if h["relative"] else 0.25 / h["beta"] ** 2,
)
