"""Supervised fine-tuning: the likelihood of the chosen candidate."""

from __future__ import annotations

import math

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.logistic import DIFFUSION_DPO_PAPER
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


@checked
def sft(logps: PairLogps, *, scale: float = 1.0) -> Tensor:
    """Negative log-likelihood of the chosen candidate.

        loss_b = -scale log pi(x_w,b | c_b)

    Args:
        logps: ``B`` examples; only the chosen candidates under the policy are read. For texts the row takes means over
            tokens unless ``per_token: false`` is set, so that each answer has the same weight.
        scale: Factor on the loss, > 0. A denoiser's log-probability is ``-e/2``, so 2 gives the mean squared error.

    Returns:
        ``(B,)``, one loss per example.

    Facts: it uses neither a reference nor a rejected candidate. It is no limit of the losses on pairs: for a small beta
        these follow the difference of the two candidates' gradients, never the chosen one's only.

    Source: Ho et al. 2020 (arXiv 2006.11239), eq. 14, for a denoiser with scale 2; as the baseline and first stage of
        preference training Wallace et al. 2023 (arXiv 2311.12908), section 5.
    """
    return -scale * upcast(logps.chosen.logps)


SFT = Loss(
    name="sft",
    function=sft,
    takes="logps",
    kind="single",
    needs=(),
    per_token=True,
    uses_absolute_logps=True,
    summary="supervised fine-tuning on the chosen candidates only",
    formula="-scale logp_w; for a denoiser scale e_w / 2",
    source="Ho et al. 2020, arXiv 2006.11239, eq. 14; as a baseline: Wallace et al. 2023, arXiv 2311.12908",
    papers=(
        Paper("2006.11239", "Ho and Jain and Abbeel", 2020, "Denoising Diffusion Probabilistic Models"),
        DIFFUSION_DPO_PAPER,
    ),
    advice="Before preference training, where the model does not yet generate what the pairs contain; and as the "
    "baseline that a preference loss has to beat. It learns the chosen candidates, not why they were preferred. "
    "Learning rates of the mean squared error apply with scale: 2; for texts each answer's mean over tokens has the "
    "same weight.",
    limits={
        "scale": Range(
            *(0.0, math.inf, False, False),
            meaning="the factor on the negative log-likelihood",
            advice="Leave it at 1; 2 makes a denoiser's loss the mean squared error itself.",
        )
    },
    at_zero=None,
)
