"""SmPO-Diffusion (Lu et al. 2025, arXiv 2506.02698): smoothed preferences, at latents found by ReNoise inversion.

Two changes to Diffusion-DPO. The first is a beta for each pair: with rewards r of a scorer, min-max normalised over the
whole data set, a pair's log-ratios are multiplied by

    w = 2 alpha - gamma = gamma tanh((r_chosen - r_rejected) / 2),      alpha / gamma = sigmoid(r_chosen - r_rejected)

so that pairs of equal reward have no gradient. This is not label smoothing: w is inside the sigmoid. The second change
is where an image is evaluated: DDIM inversion with one ReNoise correction per step, evaluated at the step's target
time,

    loss = -log sigmoid(w u),      u = -(beta / 2) (d_chosen - d_rejected),      e = mean |eps(x_t, t, c) - tau_t|^2

Write the scores once: ``diffalign score DATA --scorer pickscore``, and name the file in ``data.scores``. The released
code ranks each pair by the scorer and uses the human vote only to drop ties; a signed w on the voted order is exactly
the same loss (``labels.source: scorer``). Scores are normalised by the smallest and largest of the data at hand, which
the scores file holds; ``labels.published_range`` takes those of the released script instead, PickScore's on Pick-a-Pic
v2: 0.11543526500463486 and 0.28201571106910706 as bare cosines.

Deviations. The released script evaluates the correction at the step's source time and averages, which on a Gaussian
gains nothing over a plain inversion; it has DDIM-InPO's inexact levels, and takes 5 steps for Stable Diffusion 1.5
where the paper's costs fit 10. ``latents.mode: released`` repeats it. The published Stable Diffusion 1.5 run starts
from a checkpoint fine-tuned on winners (``method: sft``). ``smpo_sdxl`` is the launcher for Stable Diffusion XL, which
starts from its base: beta 5000 and Adafactor (see ``diffusion_dpo_sdxl``), otherwise the same.

Each pair costs 30 forward passes of one latent; published runs see a twentieth of Diffusion-DPO's pairs.

``smpo_unit_noise`` is ours: the inverted noise is rescaled to the rms of 1 that every level has in training
(``latents.unit_noise: rescale``), because less noise teaches both candidates to predict less (docs/choosing.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffalign.methods.method import Method


def _defaults(beta: float, optimizer: str, **latents: Any) -> dict[str, Any]:
    return {
        "pairs": "dataset",
        "latents": {"name": "renoise", "steps": 10, "corrections": 1, **latents},  # released script for SDXL: 10 steps
        "labels": {"name": "score_scaled", "scorer": "pickscore", "gamma": 10.0},  # released script
        "loss": {"name": "logistic", "beta": beta},  # launchers
        "train": {
            "steps": 200,  # launcher
            "batch_size": 1024,  # launcher: 8 devices * 1 pair * 128 accumulated
            "micro_batch_size": 1,  # launcher
            "learning_rate": 1e-8,  # launcher: base rate ...
            "scale_lr": True,  # ... times the effective batch, 1.024e-5
            "schedule": "constant_with_warmup",  # launcher
            "warmup_steps": 100,  # launcher
            "optimizer": optimizer,  # launchers
            "betas": [0.9, 0.999],  # launcher
            "weight_decay": 1e-2,  # launcher
            "max_grad_norm": 1.0,  # launcher
        },
    }


PARTS = {"pairs": "dataset", "latents": "renoise", "labels": "score_scaled", "loss": "logistic"}
SOURCE = "Lu et al. 2025, arXiv 2506.02698; hyperparameters of the released launchers"

SMPO = Method(
    name="smpo",
    summary="a beta for each pair by its reward gap, at latents found by ReNoise inversion",
    source=SOURCE,
    parts=PARTS,
    defaults=_defaults(beta=2000.0, optimizer="adamw"),
    text=__doc__ or "",
)
SMPO_SDXL = replace(
    SMPO,
    name="smpo_sdxl",
    summary="the same as the released launcher trains Stable Diffusion XL (beta 5000, Adafactor)",
    defaults=_defaults(beta=5000.0, optimizer="adafactor"),
)
SMPO_UNIT_NOISE = replace(
    SMPO,
    name="smpo_unit_noise",
    summary="the same with inverted noise rescaled to what its level says; not published",
    source=f"diffalign; otherwise {SOURCE}",
    defaults=_defaults(beta=2000.0, optimizer="adamw", unit_noise="rescale"),
)
