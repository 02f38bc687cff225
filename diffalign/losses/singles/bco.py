"""BCO: a classifier of good and bad answers whose logit is the implicit reward minus a running midpoint of both."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.bco_pair_and_nca import BCO_PAPER
from diffalign.losses.ranges import BETA
from diffalign.losses.singles.sides import gains


@checked
def bco(logps: PairLogps, *, beta: float) -> Tensor:
    """Binary classifier optimisation.

        loss_b = -log s(y_b beta (R_b - d)),      y = 1 where the example is desirable, else -1

    with the logratio ``R`` of the example and the shift ``d``, the midpoint of the two classes' mean logratios.

    Args:
        logps: ``B`` single examples against a reference, with ``desirable`` and, as the ``baseline``, the shift: a
            running mean of earlier steps, without gradient.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per example. The density ratio of undesirable prompts is the label's weight.

    Raises:
        ValueError: There is no baseline.

    Facts: at the shift an example costs log 2 with slope ``beta / 2``. A constant added to all logratios and to the
        shift changes nothing. For a pair, the sum of its two losses is never below the logistic loss of their margin,
        for any shift, and nearest to it at the midpoint of the two rewards. Unlike in KTO the gradient of an example
        never vanishes.

    Source: Jung et al. 2024 (arXiv 2404.04656), sections 3 and 4. The mean of all rewards, which released code uses
        for the shift, is the midpoint only where the two classes are equally large.
    """
    gain, _ = gains(logps, baseline="running shift")
    return -F.logsigmoid(beta * gain)


BCO = Loss(
    name="bco",
    function=bco,
    takes="logps",
    kind="single",
    accepts_undesirable=True,
    needs=("reference", "bco_shift"),
    summary="BCO: classifies good and bad answers by the implicit reward minus a running midpoint of both",
    formula="-log s(y beta (R - d)), y = 1 desirable, -1 not, d the running midpoint of the classes' mean logratios",
    source="Jung et al. 2024, arXiv 2404.04656, sections 3 and 4",
    papers=(BCO_PAPER,),
    advice="For thumbs up and down without pairs, like kto, but hard examples keep their gradient: choose it where "
    "labels are clean. It needs no answers to other prompts, so a step costs less. Where the two classes have "
    "different prompts, weight the undesirable ones: `diffalign data density`.",
    limits={"beta": BETA},
    at_zero=lambda h: math.log(2.0),
)
