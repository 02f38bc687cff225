"""Baselines for comparison with the methods; each is only a choice of parts.

``sft``: supervised fine-tuning on winners, the mean squared error itself. It is also the first stage of the published
Stable Diffusion 1.5 runs of DDIM-InPO and SmPO. In the Diffusion-DPO paper it helps Stable Diffusion 1.5 and harms XL,
whose own images are better than the data's.

``mapo`` (Hong et al. 2024, arXiv 2406.06424): no reference; fine-tuning on the winner and a bounded margin between the
two errors. Values of the released code, which multiplies errors inside the link where the paper's text may also be read
as an exponent.

``diffusion_ipo``: the squared loss on Diffusion-DPO's scaled margin, (u - 1/2)^2: margins have a target.
"""

from __future__ import annotations

from typing import Any

from diffalign.methods.diffusion_dpo import DIFFUSION_DPO_PAPER
from diffalign.methods.method import Method

SFT = Method(
    name="sft",
    summary="supervised fine-tuning on the chosen candidates: no rejected ones, no reference",
    source="the baseline of Wallace et al. 2023, arXiv 2311.12908, section 5.1",
    parts={"pairs": "winners", "latents": "forward", "labels": "hard", "loss": "sft"},
    defaults={
        "pairs": "winners",
        "latents": "forward",
        "labels": "hard",
        "loss": {"name": "sft", "scale": 2.0},  # the mean squared error; a log-probability is minus half of it
        "train": {
            **DIFFUSION_DPO_PAPER.defaults["train"],  # the same schedule
            "learning_rate": 1e-9,  # the paper's base rate, times the effective batch
        },
    },
    claims=("SD 1.5: preferred to its base in 55.5 % of prompts; SDXL gets worse at any rate (section 5.1)",),
    needs_reference=False,
    text=__doc__ or "",
)


def _mapo() -> dict[str, Any]:
    return {
        "pairs": "dataset",
        "latents": "forward",
        "labels": "hard",
        "loss": {"name": "mapo", "k": 0.5, "temperature": 1000.0, "weight": 0.1},  # released code
        "train": {
            "steps": 2000,  # released launcher, SDXL
            "batch_size": 128,  # 8 devices * 8 pairs * 2 accumulated
            "micro_batch_size": 8,
            "learning_rate": 1e-5,  # constant
            "schedule": "constant",
            "optimizer": "adamw",  # released: its 8-bit form, `train.optimizer: adamw8bit`
            "weight_decay": 1e-2,
            "max_grad_norm": 1.0,
        },
    }


MAPO = Method(
    name="mapo",
    summary="no reference: the winner's error, and a bounded margin to the loser's",
    source="Hong et al. 2024, arXiv 2406.06424; values of the released code for SDXL",
    parts={"pairs": "dataset", "latents": "forward", "labels": "hard", "loss": "mapo"},
    defaults=_mapo(),
    claims=("SDXL, Pick-a-Pic test prompts: aesthetic 6.34, HPSv2.1 31.2, PickScore 22.9 (the paper's table)",),
    needs_reference=False,
    text=__doc__ or "",
)

DIFFUSION_IPO = Method(
    name="diffusion_ipo",
    summary="Diffusion-DPO with the squared loss, which gives margins a target",
    source="Azar et al. 2023, arXiv 2310.12036, eq. 17, on the margin of Wallace et al. 2023, arXiv 2311.12908",
    parts={"pairs": "dataset", "latents": "forward", "labels": "hard", "loss": "ipo"},
    defaults={
        **DIFFUSION_DPO_PAPER.defaults,
        "loss": {"name": "ipo", "beta": 2000.0, "relative": True},  # Diffusion-DPO's beta; not published
    },
    text=__doc__ or "",
)
