"""Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908): direct preference optimization of a denoiser.

One noise level t and one noise tensor are drawn per pair and shared by both candidates. With e the mean squared error
of the denoiser's prediction, over all latent elements, and d = e_policy - e_reference,

    loss = -log sigmoid(u),      u = -(beta / 2) (d_chosen - d_rejected)

This is equation 14 in the convention of the released training script: the mean instead of the sum over latent
elements, the factor 1/2 of supplement S4, and the weight and the number of levels folded into beta. It is the logistic
loss on the margin of log-probabilities ``-e/2``.

Paper and released launcher disagree, and a preset follows one of them as a whole: ``diffusion_dpo`` the launcher
(beta 5000, warm-up 500 of 2000 steps), ``diffusion_dpo_paper`` the paper's main runs (beta 2000, warm-up over a
quarter of the steps). Both take the launcher's learning rate: the paper's formula, 2000 / beta * 2.048e-8, is about a
thousand times smaller, and under Adam such a rate can hardly move a weight in 2000 steps.

The effective batch of 2048 pairs was 16 devices * 1 pair * 128 accumulated. The learning rate is 1e-8 times the
effective batch (``train.scale_lr``), so a smaller batch lowers it by itself: 2.048e-5 at 2048 pairs. An
adapter wants a larger one: 1e-5 to 1e-4, constant, with ``train.scale_lr: false``.

``diffusion_dpo_sdxl`` is the launcher for Stable Diffusion XL: Adafactor with the recipe's rate (no relative step, no
scaling by the parameter's size, its own clipping at 1 besides that of the gradients), 200 warm-up steps, beta 5000. It
trains every weight in fp16 with activations computed twice: ``configs/sdxl/dpo_paper.yaml``.

The launcher for SDXL-Turbo draws the four levels of a distilled model instead, without dropped captions:
``configs/sdxl/turbo_dpo.yaml``.

At equal policy and reference the loss is log 2 while the gradient is not zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffalign.methods.method import Method

PARTS = {"pairs": "dataset", "latents": "forward", "labels": "hard", "loss": "logistic"}
CLAIMS = (
    "Stable Diffusion XL, PartiPrompts, five human raters: preferred to the base in 70.0 % of prompts (section 5.1)",
    "Stable Diffusion XL, HPSv2 prompts: preferred to the base in 64.7 % (section 5.1)",
    "implicit reward accuracy on Pick-a-Pic v2 validation pairs: 60.8 % (SD 1.5), 72.0 % (SDXL) (section 5.3)",
)


def _defaults(beta: float, optimizer: str = "adamw", warmup_steps: int = 500) -> dict[str, Any]:
    return {
        "latents": "forward",  # section 4: x_t of the forward process
        "labels": "hard",  # section 4: a vote counts fully; ties are dropped (section 5.1)
        "loss": {"name": "logistic", "beta": beta},  # eq. 14; 5000 in the launcher, 2000 in section 5.1
        "train": {
            "steps": 2000,  # launcher
            "batch_size": 2048,  # section 5.1: effective, in pairs
            "micro_batch_size": 1,  # launcher: one pair per device
            "learning_rate": 1e-8,  # launcher: base rate ...
            "scale_lr": True,  # ... times the effective batch, 2.048e-5
            "schedule": "constant_with_warmup",  # section 5.1
            "warmup_steps": warmup_steps,  # launchers: 500 and 200; 500 is the 25 % of the steps in section 5.1
            "optimizer": optimizer,  # section 5.1: AdamW for SD 1.5, Adafactor for SDXL
            "betas": [0.9, 0.999],  # launcher
            "weight_decay": 1e-2,  # launcher
            "max_grad_norm": 1.0,  # launcher
        },
    }


DIFFUSION_DPO = Method(
    name="diffusion_dpo",
    summary="logistic loss on the denoising errors of a pair, as the released launcher runs it (beta 5000)",
    source="Wallace et al. 2023, arXiv 2311.12908, eq. 14",
    parts=PARTS,
    defaults=_defaults(beta=5000.0),
    claims=CLAIMS,
    text=__doc__ or "",
)
DIFFUSION_DPO_PAPER = replace(
    DIFFUSION_DPO,
    name="diffusion_dpo_paper",
    summary="the same with the beta of the paper's main runs (2000)",
    source="Wallace et al. 2023, arXiv 2311.12908, eq. 14 and section 5.1",
    defaults=_defaults(beta=2000.0),
)
DIFFUSION_DPO_SDXL = replace(
    DIFFUSION_DPO,
    name="diffusion_dpo_sdxl",
    summary="the same as the released launcher trains Stable Diffusion XL (beta 5000, Adafactor)",
    source="Wallace et al. 2023, arXiv 2311.12908, eq. 14 and section 5.1",
    defaults=_defaults(beta=5000.0, optimizer="adafactor", warmup_steps=200),
)
