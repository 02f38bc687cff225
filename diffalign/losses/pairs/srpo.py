"""SRPO: one model learns from the same pairs to answer and to revise an answer."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range

ROLES = ("chosen_after_rejected", "rejected_after_chosen", "chosen_after_chosen", "rejected_after_rejected")
"""An answer given the other one, or itself, as a draft in its prompt."""


@checked
def srpo(logps: PairLogps, *, beta: float, mix: float = 0.5) -> Tensor:
    """Self-improving robust preference optimisation.

        loss_b  = mix joint_b + (1 - mix) reviser_b
        joint   = (beta [R_w + R_{w|l} - R_l - R_{l|w}] - 1)^2
        reviser = [ (beta (R_{w|l} - R_{l|l}) - 1/2)^2 + (beta (R_{w|w} - R_{l|w}) - 1/2)^2 ] / 2

    with the logratios ``R`` of the answers to the prompt, and ``R_{a|b}`` of answer ``a`` to the prompt that contains
    ``b`` as a draft.

    Args:
        logps: ``B`` pairs against a reference with four further answers, :data:`ROLES`.
        beta: Inverse temperature, > 0.
        mix: Share of the joint term, in [0, 1]. 0 trains the reviser only; 1 leaves the split between the two
            undetermined.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at equal policy and reference it is ``mix + (1 - mix) / 4``. Without revisions (all four 0) the joint term is
        the squared loss with target ``1 / beta``, relative. The best reviser is its reference times ``exp(P(answer over
        draft) / beta)``, and the best answers those that need the least revision: the same whatever policy sampled the
        pairs.

    Source: Choi et al. 2024 (arXiv 2406.01660), both terms derived from its game; mix and beta are ours.
    """
    chosen, rejected = logps.logratios
    revised, spoiled, kept_chosen, kept_rejected = (logps.answer(role).logratio for role in ROLES)
    joint = (beta * (chosen + revised - rejected - spoiled) - 1.0) ** 2
    from_rejected = (beta * (revised - kept_rejected) - 0.5) ** 2
    from_chosen = (beta * (kept_chosen - spoiled) - 0.5) ** 2
    return mix * joint + (1.0 - mix) * 0.5 * (from_rejected + from_chosen)


SRPO = Loss(
    name="srpo",
    function=srpo,
    takes="logps",
    roles=ROLES,
    is_quadratic=True,
    media=("text",),  # the prompt contains a draft, which an image cannot be
    summary="SRPO: learns answers and revisions of answers from the same pairs",
    formula="mix (beta [R_w + R_{w|l} - R_l - R_{l|w}] - 1)^2 + (1 - mix) [(beta (R_{w|l} - R_{l|l}) - 1/2)^2 + "
    "(beta (R_{w|w} - R_{l|w}) - 1/2)^2] / 2, a|b: a given b as a draft",
    source="Choi et al. 2024, arXiv 2406.01660",
    papers=(
        Paper("2406.01660", "Choi and Ahmadian and others", 2024, "Self-Improving Robust Preference Optimization"),
    ),
    advice="When the model may revise its answers in use, or prompts will differ from those of the data. Set pairs: "
    "drafts, which writes the prompts with drafts; each pair has six answers instead of two.",
    limits={
        "beta": BETA,
        "mix": Range(
            *(0.0, 1.0, True, True),
            meaning="the share of the joint term of answers and revisions",
            advice="Leave it at 0.5.",
        ),
    },
    at_zero=lambda h: h["mix"] + (1.0 - h["mix"]) / 4.0,
)
