"""BCO: a classifier of good and bad answers whose logit is the implicit reward, shifted by where the two kinds meet."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.bco_pair import BCO_PAPER
from diffalign.losses.ranges import BETA
from diffalign.losses.singles.sides import gains


def bco(logps: PairLogps, *, beta: float) -> Tensor:
    """Binary classifier optimisation.

        loss_b = -log s(y_b beta (R_b - d)),      y = 1 where the example is desirable, else -1

    with the logratio ``R`` of the example and the shift ``d``, the midpoint of the two kinds' mean logratios.

    Args:
        logps: ``B`` single examples against a reference, with their ``desirable`` and, as the ``point``, the shift: a
            number of earlier steps, without gradient.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per example. A density ratio of undesirable prompts is a weight of the label.

    Raises:
        ValueError: The scores carry no point.

    Facts: at the shift an example costs log 2 and pulls with ``beta / 2``. A common gain of all examples and of the
        shift changes nothing. Of the two halves of a pair the sum is never below the logistic loss of their margin, for
        any shift, and nearest to it at the midpoint of the two rewards. Unlike KTO it never gives an example up.

    Source: Jung et al. 2024 (arXiv 2404.04656), sections 3 and 4. The mean of all rewards, which released code takes
        for the shift, is the midpoint only where the two kinds are equally many.
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
    summary="BCO: tells good answers from bad ones by the implicit reward, from a running midpoint of the two kinds",
    formula="-log s(y beta (R - d)), y = 1 desirable, -1 not, d the midpoint of the kinds' mean logratios so far",
    source="Jung et al. 2024, arXiv 2404.04656, sections 3 and 4",
    papers=(BCO_PAPER,),
    advice="Thumbs up and down without pairs, like kto, but no example is given up: take it where labels are clean. It "
    "needs no answers to other prompts, so a step costs less. Where the two kinds answer different prompts, weigh the "
    "undesirable ones: `diffalign data density`.",
    limits={"beta": BETA},
    at_zero=lambda h: math.log(2.0),
)
