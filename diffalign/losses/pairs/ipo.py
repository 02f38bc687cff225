"""IPO: regresses the margin of a pair to a fixed target instead of increasing it without bound."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regression_loss


@checked
def ipo(margin: Tensor, *, beta: float, relative: bool = False) -> Tensor:
    """Identity preference optimisation (IPO).

        loss_b = (m_b - 1 / (2 beta))^2                   relative: (beta m_b - 1/2)^2, the same times beta^2

    Args:
        margin: ``(B,)``, as for the logistic loss. For texts the row takes the margin of log-probabilities *per token*
            unless ``per_token: false`` is set: a target for a sum would be a smaller one per token for longer answers.
            The paper's equation has sums; its authors confirmed the means to the makers of TRL.
        beta: Inverse temperature, > 0. The target margin is ``1 / (2 beta)``.
        relative: Measures the distance in units of ``1 / beta``. The minimum and the direction of each gradient stay;
            the size becomes of order one. At a denoiser's beta of thousands the plain gradient is near ``1e-4`` times
            that of an error, where an Adam epsilon of 1e-8 already damps the steps.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at margin 0 the loss is ``1 / (4 beta^2)`` with slope ``-1 / beta`` (relative: 1/4 and ``-beta``); it is zero
        at ``1 / (2 beta)`` and grows on both sides.

    Source: Azar et al. 2023 (arXiv 2310.12036), eq. 17.
    """
    return regression_loss(upcast(margin), 0.5, beta=beta, relative=relative)


IPO = Loss(
    name="ipo",
    function=ipo,
    per_token=True,
    is_quadratic=True,
    summary="IPO: a target margin of 1 / (2 beta), in place of an ever larger one",
    formula="(m - 1 / (2 beta))^2; relative: (beta m - 1/2)^2",
    source="Azar et al. 2023, arXiv 2310.12036, eq. 17",
    papers=(
        Paper(
            "2310.12036",
            "Azar and Rowland and others",
            2023,
            "A General Theoretical Paradigm to Understand Learning from Human Preferences",
        ),
    ),
    advice="When few pairs are seen many times: margins stop growing at the target. For denoisers set relative: true, "
    "or an optimizer with a smaller epsilon, because the plain loss is beta^2 times smaller. For texts the "
    "margin is of means over tokens, as the authors confirmed; per_token: false is the equation as printed.",
    limits={"beta": BETA},
    of_beta_margin=lambda h: bool(h["relative"]),
    at_zero=lambda h: 0.25 if h["relative"] else 0.25 / h["beta"] ** 2,
    slope_at_zero=lambda h: -h["beta"] if h["relative"] else -1.0 / h["beta"],
    skew=lambda h: -2.0 * h["beta"] if h["relative"] else -2.0 / h["beta"],
    optimum=lambda h: 0.5 / h["beta"],
    aliases=("squared",),
)
