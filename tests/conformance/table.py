"""Losses of TRL, and the settings with which ours are the same.

A loss of ours in none of these tables has no counterpart in TRL.
"""

from __future__ import annotations

from typing import Any

Row = tuple[dict[str, Any], str, dict[str, Any]]
"""Our loss, TRL's trainer, its options."""


def dpo(kind: str, loss: dict[str, Any], **options: Any) -> Row:
    """A loss type of TRL's ``DPOTrainer`` at our loss's beta."""
    return loss, "DPO", {"loss_type": [kind], "beta": loss["beta"], **options}


def cpo(kind: str, loss: dict[str, Any], **options: Any) -> Row:
    """A loss type of TRL's ``CPOTrainer`` at our loss's beta, without its term for the likelihood."""
    return loss, "CPO", {"loss_type": kind, "beta": loss["beta"], "cpo_alpha": 0.0, **options}


def tpo(kind: str, loss: dict[str, Any], **options: Any) -> Row:
    """A loss type of TRL's ``TPOTrainer`` at our loss's beta and weight of the gold answer."""
    return loss, "TPO", {"loss_type": kind, "beta": loss["beta"], "tpo_alpha": loss["alpha"], **options}


SAME: dict[str, Row] = {
    "sigmoid": dpo("sigmoid", {"name": "logistic", "beta": 0.2}),
    "sigmoid_norm": dpo("sigmoid_norm", {"name": "logistic", "beta": 2.0, "per_token": True}),
    "hinge": dpo("hinge", {"name": "hinge", "beta": 0.2}),
    "robust": dpo("robust", {"name": "robust", "beta": 0.2, "flip": 0.2}, label_smoothing=0.2),
    "ipo": dpo("ipo", {"name": "ipo", "beta": 0.5}),
    "exo_pair": dpo("exo_pair", {"name": "exo_pair", "beta": 0.2, "flip": 0.01}, label_smoothing=0.01),
    "nca_pair": dpo("nca_pair", {"name": "nca_pair", "beta": 0.2}),
    "bco_pair": dpo("bco_pair", {"name": "bco_pair", "beta": 0.2}),
    # Times beta squared: the gradient of a plain square of sums is ten times as large as float32 can hold to 1e-5.
    "sppo_hard": dpo("sppo_hard", {"name": "sppo_hard", "beta": 0.1, "relative": True}, loss_weights=[0.01]),
    "aot": dpo("aot", {"name": "aot", "beta": 0.2, "flip": 0.1}, label_smoothing=0.1),
    "aot_unpaired": dpo("aot_unpaired", {"name": "aot_unpaired", "beta": 0.2}),
    "apo_zero": dpo("apo_zero", {"name": "apo_zero", "beta": 0.2}),
    "apo_down": dpo("apo_down", {"name": "apo_down", "beta": 0.2}),
    "discopop": dpo("discopop", {"name": "discopop", "beta": 0.2, "temperature": 0.08}, discopop_tau=0.08),
    "simpo": cpo("simpo", {"name": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.3}, simpo_gamma=0.6),
    "cpo": cpo("sigmoid", {"name": "cpo", "beta": 0.2, "weight": 0.0}),
    "tpo": tpo("sigmoid", {"name": "tpo", "beta": 0.2, "alpha": 0.0}),
    "tpo-l": tpo("tpo-l", {"name": "tpo-l", "beta": 2.0, "gamma": 0.6, "alpha": 0.0}, tpo_l_gamma=0.6),
}
"""By TRL's name. KTO has a test of its own, for its batches have an order."""

ON_EVERY_KIND = ("sigmoid", "sigmoid_norm", "hinge", "robust", "ipo", "aot", "simpo", "tpo")
"""Those that are compared on conversations and under an adapter as well; the others are other curves of the same."""


def bent(kind: str, ours: str, theirs: str, loss: dict[str, Any], alpha: float = 0.5, **options: Any) -> Row:
    """A loss type under another divergence."""
    loss = {**loss, "f_divergence": ours, "f_alpha": alpha}
    return dpo(kind, loss, f_divergence_type=theirs, f_alpha_divergence_coef=1.0 - alpha, **options)


SETTINGS: dict[str, Row] = {
    "forward KL": bent("sigmoid", "forward_kl", "forward_kl", {"name": "logistic", "beta": 0.05}),
    "JS": bent("sigmoid", "js", "js_divergence", {"name": "logistic", "beta": 0.2}),
    "alpha": bent("sigmoid", "alpha", "alpha_divergence", {"name": "logistic", "beta": 0.2}, alpha=0.3),
    "alpha, hinge": bent("hinge", "alpha", "alpha_divergence", {"name": "hinge", "beta": 0.05}, alpha=0.7),
    "JS, robust": bent(
        "robust", "js", "js_divergence", {"name": "robust", "beta": 0.2, "flip": 0.1}, label_smoothing=0.1
    ),
    "JS, EXO": bent(
        "exo_pair", "js", "js_divergence", {"name": "exo", "beta": 0.2, "flip": 0.01}, label_smoothing=0.01
    ),
    "alpha, DiscoPOP": bent(
        *("discopop", "alpha", "alpha_divergence", {"name": "discopop", "beta": 0.05, "temperature": 0.5}),
        discopop_tau=0.5,
    ),
    "LD": dpo("sigmoid", {"name": "logistic", "beta": 0.2, "ld_alpha": 0.4}, ld_alpha=0.4),
    "LD, hinge": dpo("hinge", {"name": "hinge", "beta": 0.2, "ld_alpha": 0.0}, ld_alpha=0.0),
    "LD, NCA": dpo("nca_pair", {"name": "nca", "beta": 0.2, "ld_alpha": 0.5}, ld_alpha=0.5),
    "LD, AOT": dpo("aot", {"name": "aot", "beta": 0.2, "ld_alpha": 0.5}, ld_alpha=0.5),
    "LD, JS": bent("sigmoid", "js", "js_divergence", {"name": "logistic", "beta": 0.2, "ld_alpha": 0.5}, ld_alpha=0.5),
}
"""Settings that all of ours share, with TRL's beside them: its coefficient of the alpha divergence is 1 minus ours.

Small betas where a logratio is an exponent: what float32 leaves of a sum of some hundred nats is multiplied there."""

OTHER = {"sft", "rpo", "orpo"}
"""Our losses that count tokens otherwise than TRL's."""

ONLY_TRL = {
    "CPO": {"hinge", "ipo", "alphapo"},
    "TPO": {"hinge", "ipo"},
}
"""Loss types of TRL, by trainer, that none of our losses is. They stand on the page."""
