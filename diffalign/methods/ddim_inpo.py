"""DDIM-InPO (Lu et al. 2025, arXiv 2503.18454): preferences at latents that the model itself finds for an image.

Diffusion-DPO evaluates an image at random noise. Here x_t comes from running DDIM backwards from the image, with the
policy as it is at that step, the pair's own caption and no guidance. With ``tau_t = (x_t - a_t x0) / s_t``, the noise
that would have led there, and e the mean squared error against it,

    loss = -log sigmoid(u),      u = -(beta / 2) (d_chosen - d_rejected),      e = mean |eps(x_t, t, c) - tau_t|^2

No weight by t appears: with a variance of (s_t / a_t)^2 for the one-step prediction of x0 it cancels. x_t and tau_t are
constants, no gradient runs through the inversion. A pair shares its level t and needs no noise.

Deviations. The released script stops its inversion at the next multiple of 100 above t, yet treats the result as level
t; it evaluates the network at time -99 first, adds a tenth of a step's noise, and uses the first pair's depth for a
whole batch. Here each pair is inverted to exactly its own level, without noise; ``latents.mode: released`` repeats the
script. The published Stable Diffusion 1.5 run starts from a checkpoint that was fine-tuned on winners (``method: sft``
makes one) and takes beta 2000. ``ddim_inpo_sdxl`` is the launcher for Stable Diffusion XL, which starts from its base:
beta 5000 and Adafactor (see ``diffusion_dpo_sdxl``), otherwise the same.

Each pair costs 19 forward passes of one latent instead of 8; published runs see a tenth of Diffusion-DPO's pairs. With
``latents.inverter: reference`` the latents of the frozen reference can be stored (``latents.store``): this is not the
published method, but close to it if the policy changes little.

``ddim_inpo_unit_noise`` is ours: the inverted noise is rescaled to the rms of 1 that every level has in training
(``latents.unit_noise: rescale``), because less noise teaches both candidates to predict less (docs/choosing.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffalign.methods.method import Method


def _defaults(beta: float, optimizer: str, **latents: Any) -> dict[str, Any]:
    return {
        "pairs": "dataset",
        "latents": {"name": "ddim_inversion", "steps": 10, **latents},  # released script: 10 steps
        "labels": "hard",
        "loss": {"name": "logistic", "beta": beta},  # launchers
        "train": {
            "steps": 400,  # launcher
            "batch_size": 1024,  # launcher: 8 devices * 1 pair * 128 accumulated
            "micro_batch_size": 1,  # launcher
            "learning_rate": 1e-8,  # launcher: base rate ...
            "scale_lr": True,  # ... times the effective batch, 1.024e-5
            "schedule": "constant_with_warmup",  # launcher
            "warmup_steps": 200,  # launcher
            "optimizer": optimizer,  # launchers
            "betas": [0.9, 0.999],  # launcher
            "weight_decay": 1e-2,  # launcher
            "max_grad_norm": 1.0,  # launcher
        },
    }


PARTS = {"pairs": "dataset", "latents": "ddim_inversion", "labels": "hard", "loss": "logistic"}
SOURCE = "Lu et al. 2025, arXiv 2503.18454; hyperparameters of the released launchers"
CLAIMS = (
    "SD 1.5 against its base, HPDv2 prompts: win rate 85.84 % by PickScore, 90.22 % by HPS (authors' poster)",
    "SD 1.5 against Diffusion-DPO, HPDv2 prompts: 74.94 % by PickScore, 84.06 % by HPS (authors' poster)",
    "SDXL against its base, HPDv2 prompts: 79.25 % by PickScore, 85.38 % by HPS (authors' poster)",
    "about 57 GPU-hours for SD 1.5, 3.6 times fewer than Diffusion-DPO (authors' poster)",
)

DDIM_INPO = Method(
    name="ddim_inpo",
    summary="Diffusion-DPO at latents found by DDIM inversion with the policy",
    source=SOURCE,
    parts=PARTS,
    defaults=_defaults(beta=2000.0, optimizer="adamw"),
    claims=CLAIMS,
    text=__doc__ or "",
)
DDIM_INPO_SDXL = replace(
    DDIM_INPO,
    name="ddim_inpo_sdxl",
    summary="the same as the released launcher trains Stable Diffusion XL (beta 5000, Adafactor)",
    defaults=_defaults(beta=5000.0, optimizer="adafactor"),
)
DDIM_INPO_UNIT_NOISE = replace(
    DDIM_INPO,
    name="ddim_inpo_unit_noise",
    summary="the same with inverted noise rescaled to what its level says; not published",
    source=f"diffalign; otherwise {SOURCE}",
    defaults=_defaults(beta=2000.0, optimizer="adamw", unit_noise="rescale"),
    claims=(),
)
