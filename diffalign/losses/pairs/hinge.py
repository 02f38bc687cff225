"""Hinge loss on a pair: a constant gradient until the margin reaches its target, then none."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


@checked
def hinge(margin: Tensor, *, beta: float) -> Tensor:
    """Hinge loss on paired preferences, against a reference.

        loss_b = max(0, 1 - beta m_b)

    Args:
        margin: ``(B,)``, as for the logistic loss.
        beta: Inverse temperature, > 0. From a margin of ``1 / beta`` on the gradient is 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at margin 0 the loss is 1 with slope ``-beta``; from ``1 / beta`` on it is 0.

    Sources: Liu et al. 2023 (arXiv 2309.06657), the hinge-norm loss of section 3; the same curve without a reference is
        Zhao et al. 2023 (arXiv 2305.10425), SLiC-HF.
    """
    return F.relu(1.0 - beta * upcast(margin))


HINGE = Loss(
    name="hinge",
    function=hinge,
    per_token=False,
    summary="RSO's hinge: a constant gradient until the margin reaches 1 / beta",
    formula="max(0, 1 - beta m)",
    source="Liu et al. 2023, arXiv 2309.06657, section 3 (hinge-norm); Zhao et al. 2023, arXiv 2305.10425",
    papers=(
        Paper(
            "2309.06657",
            "Liu and Zhao and others",
            2023,
            "Statistical Rejection Sampling Improves Preference Optimization",
        ),
        Paper(
            "2305.10425",
            "Zhao and Joshi and others",
            2023,
            "SLiC-HF: Sequence Likelihood Calibration with Human Feedback",
        ),
    ),
    advice="When easy pairs should have no gradient. The share of saturated pairs rises as training finishes.",
    limits={"beta": BETA},
    at_zero=lambda h: 1.0,
    slope_at_zero=lambda h: -h["beta"],
    optimum=lambda h: 1.0 / h["beta"],
)
