"""DOVE: the logistic loss on prompts and answers together, for pairs with two different prompts."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps, upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


@checked
def dove(logps: PairLogps, *, beta: float) -> Tensor:
    """Joint preference optimisation.

        loss_b = -log s(beta (J_w - J_l)),      J = logratio of the prompt + logratio of the answer

    Args:
        logps: ``B`` pairs against a reference, with the log-probabilities of their prompts. Denoisers have none: the
            term is then 0, and two images of different captions are compared, each under its own caption.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at equal policy and reference it is log 2. Where both candidates have the same prompt its terms cancel: then
        it is the logistic loss.

    Source: Bansal et al. 2024 (arXiv 2404.00530), DOVE; the images' form is ours.
    """
    chosen, rejected = logps.pair
    prompts = _prompt_logratio(chosen, logps.reference_chosen) - _prompt_logratio(rejected, logps.reference_rejected)
    return -F.logsigmoid(beta * (logps.margin + prompts))


def _prompt_logratio(policy: CandidateLogps, reference: CandidateLogps | None) -> Tensor | float:
    """Returns the prompt's logratio; 0 where it has none."""
    if policy.prompts is None or reference is None or reference.prompts is None:
        return 0.0
    return upcast(policy.prompts) - upcast(reference.prompts).detach()


DOVE = Loss(
    name="dove",
    function=dove,
    takes="logps",
    needs=("reference", "prompts"),
    summary="DOVE: prompts and answers compared together, where the two answer different prompts",
    formula="-log s(beta (J_w - J_l)), J = logratio of prompt and answer together",
    source="Bansal et al. 2024, arXiv 2404.00530",
    papers=(
        Paper(
            "2404.00530",
            "Bansal and Suvarna and others",
            2024,
            "Comparing Bad Apples to Good Oranges: Aligning Large Language Models via Joint Preference Optimization",
        ),
    ),
    advice="When people ranked answers to different prompts against each other (a column rejected_prompt). With one "
    "prompt for both it equals logistic and costs more.",
    limits={"beta": BETA},
    at_zero=lambda h: math.log(2.0),
)
