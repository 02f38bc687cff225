"""VideoDPO (Liu et al. 2024, arXiv 2412.14167): Diffusion-DPO on clips that the model made, and rare pairs count more.

For each prompt several clips are sampled from the model itself; the best is chosen and the worst rejected by a sum of
scorers (``diffalign data make`` with several ``--scorer``). With e the mean squared error over all elements of a clip's
latent, one level and one noise shared by both clips,

    loss = -f log sigmoid(u),      u = -(beta / 2) (d_chosen - d_rejected),      f = (max p / p)^alpha

The factor f is outside the sigmoid, a weight of the pair, and p is how common the pair's two scores are. The released
configuration of VideoCrafter2 sets alpha 0 (``dupbeta``): f is 1. For another alpha write the weights with
``diffalign data rarity PAIRS --alpha 0.5``, name its file under ``data.scores``, and set
``labels: {name: column, weight: weight}``.

Released configuration (VideoCrafter2): beta 5000, AdamW at 6e-6, constant, every weight, 1 pair * 4 devices * 2
accumulated, 16 frames, every 4th frame of a file. Not published: the number of steps (up to 10 epochs, of which the
authors took a checkpoint), warm-up, weight decay and clipping. Ours: clips are not mirrored, and start at the beginning
of their file. An adapter wants a larger rate, such as 1e-4 in ``configs/video/video_dpo.yaml``.

Beta per element. D = 4 * 16 * 40 * 64 = 163,840 numbers are in a latent of 320 x 512 pixels, so beta / D is 0.031;
Diffusion-DPO's 2000 at 16,384 is 0.12. The header of a run on clips prints it.

Deviations. The released code reduces errors over axes 1 to 3 of five: the width survives, and the sigmoid is applied
to each column of a latent (64 of 2,560 elements, beta / D 1.95). Chosen and rejected get a level and a noise each. The
model, VideoCrafter2, noises a rescaled latent, x_t = sqrt(ab) s_t x0 + sqrt(1 - ab) eps with s_t from 1 to 0.7. A clip
that cannot be read is replaced by the next of the list, so that its pair compares two prompts. Here a clip has one
error, a pair shares level and noise, the model's own schedule holds, and a clip that cannot be read is named.
"""

from __future__ import annotations

from diffalign.methods.diffusion_dpo import PARTS
from diffalign.methods.method import Method

VIDEO_DPO = Method(
    name="video_dpo",
    summary="Diffusion-DPO on clips with the values of VideoDPO (beta 5000, rate 6e-6)",
    source="Liu et al. 2024, arXiv 2412.14167; values of the released configuration for VideoCrafter2",
    parts=PARTS,
    defaults={
        "model": {
            "kind": "video",
            "flip": "none",  # prompts and motions name left and right
            "clip": {"frames": 16, "rule": "stride", "stride": 4},  # released configuration; 1 for short clips
        },
        "latents": "forward",
        "labels": "hard",  # released configuration: dupbeta 0, every factor is 1
        "loss": {"name": "logistic", "beta": 5000.0},  # released configuration
        "train": {
            "steps": 2000,  # not published: up to 10 epochs
            "batch_size": 8,  # released scripts: 4 devices * 1 pair * 2 accumulated
            "micro_batch_size": 1,  # released scripts
            "learning_rate": 6e-6,  # released configuration
            "schedule": "constant",  # released configuration
            "warmup_steps": 0,  # released configuration
            "optimizer": "adamw",  # released code
            "betas": [0.9, 0.999],  # not published: PyTorch's defaults
            "weight_decay": 1e-2,  # not published: PyTorch's default
            "max_grad_norm": 1.0,  # not published
        },
    },
    text=__doc__ or "",
)
