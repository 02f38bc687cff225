"""SePPO (Zhang et al. 2024, arXiv 2410.05255): semi-policy preference optimization, from winners only.

No rejected candidates are needed: they are samples of an earlier checkpoint of the policy, which is also the reference.
Every 30 updates the policy is added to a pool, and one checkpoint of the pool, drawn uniformly, samples the candidates
of the next round. A sample of the reference may be better than one of the policy, so a gate decides for each pair. With
d = e_policy - e_reference,

    g = sign(-d_winner),      loss = -log sigmoid(u),      u = -(beta / 2) (d_winner - g d_sample)

If the policy explains the winner better than the reference does (g = 1), the sample is pushed away, as in DPO;
otherwise (g = -1) the reference seems the better model and its sample is learned. ``labels.kind: indicator`` drops such
samples instead. At an exact tie, and so at the first update, only the winner has a gradient. The vote is on one noise,
as published; ``labels.noises: N`` lets it be on a mean of d_winner over N, at 2 (N - 1) forward passes more.

No training code was released. Beta, learning rate and warm-up are Diffusion-DPO's here, and the sampler's settings are
those of the paper's evaluation script. Winner and sample share their noise here, which the paper leaves open. A sample
stays a latent and cannot be mirrored, so images are not flipped (``pairs.roundtrip: samples`` lifts that).

With ``pairs.select: latest`` and ``labels: hard`` this is SPIN-Diffusion (Yuan et al. 2024, arXiv 2402.10210). A pair
costs 108 forward passes of one latent, 100 of them for sampling, which is a separate stage.
"""

from __future__ import annotations

from typing import Any

from diffalign.methods.method import Method


def _defaults() -> dict[str, Any]:
    return {
        "model": {"flip": "none"},  # not published; latents of samples have no mirrored view
        "pairs": {
            "name": "checkpoint",
            "every": 30,  # as the paper's reviews report: a checkpoint each 30 updates ...
            "select": "uniform",  # ... and one of them at random; the best of three strategies there
            "steps": 50,  # evaluation script: the pipeline's default
            "guidance": 7.5,  # evaluation script for SD 1.5; 5 for others
            "sampler": "ddim",  # not published
        },
        "latents": "forward",  # not published; the code that the authors build on
        "labels": {"name": "seppo_gate", "kind": "sign", "tie": 0},  # as reported; tie: the mathematical sign
        "loss": {"name": "logistic", "beta": 2000.0},  # not published
        "train": {
            "steps": 210,  # as reported: 7 checkpoints of 30 updates
            "batch_size": 2048,  # as reported: 8 devices * 1 * 256 accumulated
            "micro_batch_size": 1,  # as reported
            "learning_rate": 1e-8,  # not published: Diffusion-DPO's launcher ...
            "scale_lr": True,  # ... times the effective batch, 2.048e-5
            "schedule": "constant_with_warmup",  # not published
            "warmup_steps": 21,  # not published: a tenth
            "optimizer": "adamw",  # not published
            "betas": [0.9, 0.999],
            "weight_decay": 1e-2,
            "max_grad_norm": 1.0,
        },
    }


SEPPO = Method(
    name="seppo",
    summary="winners against samples of an earlier checkpoint, gated by how well the winner is explained",
    source="Zhang et al. 2024, arXiv 2410.05255; no training code was released",
    parts={"pairs": "checkpoint", "latents": "forward", "labels": "seppo_gate", "loss": "logistic"},
    defaults=_defaults(),
    text=__doc__ or "",
)
