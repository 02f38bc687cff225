"""Losses compiled from a logical form, which is a statement about the two candidates; see `losses.logic`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import Hyper, Value, checked, unchecked
from diffalign.losses.logic.model_counting import rho, rho_against
from diffalign.losses.logic.named_forms import TABLE
from diffalign.losses.logic.parse_structure import between, structure_of
from diffalign.losses.logic.structures import Structure, worlds
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.hinge import hinge
from diffalign.losses.pairs.ipo import ipo
from diffalign.losses.pairs.logistic import logistic
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range

LINKS = {name: unchecked(loss) for name, loss in (("logistic", logistic), ("hinge", hinge), ("squared", ipo))}
"""The losses that can be applied to rho in place of a margin."""


@checked
def structure(
    logps: PairLogps, *, beta: float = 1.0, form: str = "", top: str = "", bottom: str = "", link: str = "logistic"
) -> Tensor:
    """The loss of a structure over the two candidates' probabilities.

        loss_b = -log s(beta rho_b),      rho = log [ weight(top) / weight(bottom) ]

    with the weight of a set of worlds the sum over them of ``p`` where a candidate is valid times ``1 - p`` where it is
    not, ``p = exp(logp / number of tokens)``.

    Args:
        logps: ``B`` pairs; a reference is not read. The row takes means over tokens unless ``per_token: false`` is set:
            for a sum ``1 - p`` is 1. Log-probabilities are at most 0.
        beta: Inverse temperature, > 0. At 1, and without constraint and additive part, the loss is ``-log weight(P)``.
        form: The structure: a name ("cCPO"), or its statements ("M_l -> M_w given M_w or M_l").
        top: In place of a form, the worlds that count for the loss: "11,10", or a statement.
        bottom: The worlds that count against it.
        link: The loss of rho: logistic; hinge, ``max(0, 1 - beta rho)``; squared, ``(rho - 1 / (2 beta))^2``.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: Single candidates.

    Facts: CPO is ``-log s(beta (a_w - a_l))`` with log-probabilities ``a`` per token; CE is ``-a_w`` at beta 1; ORPO is
        the odds term of that loss. A structure whose top is a subset of another's and whose bottom is a superset of
        the other's never has a smaller loss.

    Source: Richardson et al. 2024 (arXiv 2412.17696); ``-log weight(P)`` is Xu et al. 2017 (arXiv 1711.11157). A
        denoiser's ``p = exp(logp_scale logp)``, a number between 0 and 1 as errors are not negative, is this project's
        own.
    """
    chosen, rejected = logps.pair
    log_odds = rho(_compiled(form, top, bottom), (upcast(chosen.logps), upcast(rejected.logps)))
    return LINKS[link](log_odds, beta=beta)


@checked
def structure_reference(
    logps: PairLogps, *, beta: float = 1.0, form: str = "", top: str = "", bottom: str = "", link: str = "logistic"
) -> Tensor:
    """The loss of a structure against a reference.

        loss_b = -log s(beta rho_b),      rho = log [ weight(top) r_l / (weight(bottom) r_w) ]

    or, where the structure contains propositions of the reference, ``rho = log [ weight(top) /
    weight(bottom) ]`` over all four.

    Args:
        logps: ``B`` pairs against a reference; means over tokens and log-probabilities as for :func:`structure`.
        beta: Inverse temperature, > 0.
        form: As there, and DPO.
        top: As there; worlds of the reference's propositions have four digits, M_w M_l R_w R_l.
        bottom: As there.
        link: As there.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: Single candidates, or no reference.

    Facts: CPO and DPO are the same structure here: the logistic loss with the same link and ``per_token``; likewise for
        the others. A reference with the same ``log r_w / r_l`` for all pairs is the target margin of SimPO.

    Source: Richardson et al. 2024 (arXiv 2412.17696), the forms with a reference.
    """
    chosen, rejected = (upcast(side.logps) for side in logps.pair)
    references = [upcast(side.logps).detach() for side in logps.reference_pair]
    return LINKS[link](rho_against(_compiled(form, top, bottom), (chosen, rejected), references), beta=beta)


def _compiled(form: str, top: str, bottom: str) -> Structure:
    return structure_of(form) if form else between(top, bottom)


def _check_form(text: Value) -> None:
    if not isinstance(text, str):
        raise ValueError(f"a form is text, such as 'cCPO' or 'M_l -> M_w given M_w or M_l'; got {text!r}")
    if text:
        structure_of(text)


def _check_worlds(text: Value) -> None:
    if not isinstance(text, str):  # YAML makes the number 1 of 01
        raise ValueError(f"worlds are text: put them into quotes, such as top: '11,10' and bottom: '01'; got {text!r}")
    if text:
        worlds(text, 4)


def _agree(hyper: Hyper, with_reference: bool) -> None:
    form, top, bottom = (str(hyper[name]) for name in ("form", "top", "bottom"))
    if bool(form) == bool(top or bottom) or bool(top) != bool(bottom):
        raise ValueError(
            f"a structure is a form, or a top and a bottom; got form {form!r}, top {top!r}, bottom {bottom!r}. Forms "
            f"with a name are {', '.join(TABLE)}; type for example form: cCPO, or top: '11,10' with bottom: '01'"
        )
    compiled = _compiled(form, top, bottom)
    if compiled.top == compiled.bottom:
        raise ValueError(
            f"top and bottom of '{form or top}' are the same worlds, so its loss would be the same for every model; "
            "its core must be true in some of the allowed worlds and false in others"
        )
    if compiled.count == 4 and not with_reference:
        raise ValueError(
            f"'{form or f'{top} / {bottom}'}' contains propositions of the reference (R_w, R_l). Type: name: "
            "structure_reference; without a reference DPO is form: CPO"
        )


_PAPER = Paper(
    "2412.17696",
    "Richardson and Srikumar and Sabharwal",
    2024,
    "Understanding the Logic of Direct Preference Alignment through Logic",
)
_BETA = Range(
    *(0.0, math.inf, False, False),
    meaning="the inverse temperature of rho",
    advice="Start at 1, where the loss is the logarithm of a probability; 2 to 10 as for other gaps per token.",
)
_CHOICES: Mapping[str, Sequence[str] | Callable[[Value], None]] = {
    "form": _check_form,
    "top": _check_worlds,
    "bottom": _check_worlds,
    "link": tuple(LINKS),
}
_SOURCE = "Richardson et al. 2024, arXiv 2412.17696"

STRUCTURE = Loss(
    name="structure",
    function=structure,
    takes="logps",
    needs=(),
    scale_sensitive=True,
    per_token=True,
    uses_absolute_logps=True,
    summary="a loss compiled from a statement about the two answers, without a reference: CE, ORPO, cCPO or a new one",
    formula="-log s(beta rho), rho = log [weight(top) / weight(bottom)], a world's weight: p or 1 - p per answer, "
    "p = exp(logp per token)",
    source=f"{_SOURCE}; the weight of a statement as a loss: Xu et al. 2017, arXiv 1711.11157",
    papers=(
        _PAPER,
        Paper(
            "1711.11157",
            "Xu and Zhang and others",
            2017,
            "A Semantic Loss Function for Deep Learning with Symbolic Knowledge",
        ),
    ),
    advice="To try a loss that has no name yet: `diffalign logic FORM` explains a form and whether it follows the "
    "label. The authors' search found cCPO as good as known losses. Nothing keeps the policy near its start: use a "
    "low learning rate. For a denoiser set logp_scale: 10, so that exp(-5 e) is a number between 0 and 1; without a "
    "reference the content of the two images counts as well.",
    limits={"beta": _BETA},
    choices=_CHOICES,
    agree=lambda h: _agree(h, with_reference=False),
    at_zero=None,
)

STRUCTURE_REFERENCE = Loss(
    name="structure_reference",
    function=structure_reference,
    takes="logps",
    scale_sensitive=True,
    per_token=True,
    uses_absolute_logps=True,
    summary="the same against a reference: any form minus log r_w / r_l, or one about the reference itself",
    formula="-log s(beta rho), rho = log [weight(top) r_l / (weight(bottom) r_w)]",
    source=f"{_SOURCE}, forms with a reference",
    papers=(_PAPER,),
    advice="As structure, where the policy should stay near its start: form: cCPO here is to DPO what cCPO is to CPO. "
    "form: DPO with per_token: false is logistic. For a denoiser set logp_scale: for forms with a 1 - p to 10, with a "
    "larger beta to keep the gap's weight; for DPO and CPO to 50000 with a beta of 0.1.",
    limits={"beta": _BETA},
    choices=_CHOICES,
    agree=lambda h: _agree(h, with_reference=True),
    at_zero=None,
)
