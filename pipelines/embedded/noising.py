"""The noise of the embedded models' training: Stable Diffusion's schedule, drawn levels, weights, and pure noise.

The loss at signal-to-noise ratio r is weighted by clamp(r, 0.3, 5) / r. The upper bound is min-SNR's; the lower one
makes the model follow prompts. The noisiest steps decide background and place, but they contribute little to a loss on
noise, and the image shines through them, so a model that reads it there ignores the prompt. So they are also drawn more
often.

**Pure noise.** Even at the last level of the schedule place and colour can be read from the noisy latents, but a
sampler starts from noise without any image. So a share of the inputs at the last level is noise n alone. Its target
follows from x = a x0 + s e, as for any input: e = (n - a x0) / s; the best guess is the mean of all images of the
prompt. Only the prompt can say where things are, so it is read.
"""

import torch

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}

NOISIEST = 750
NOISIEST_SHARE = 0.4
"""Share of the time steps that come from `NOISIEST` on; the others are uniform."""


def noise_levels(batch: int) -> torch.Tensor:
    """Returns time steps ``(batch,)``: uniform, except that a share of them comes from the noisiest quarter."""
    total = SCHEDULE["num_train_timesteps"]
    t = torch.randint(0, total, (batch,))
    return torch.where(torch.rand(batch) < NOISIEST_SHARE, torch.randint(NOISIEST, total, (batch,)), t)


def add_noise(clean: torch.Tensor, alphas: torch.Tensor, pure_share: float) -> tuple[torch.Tensor, ...]:
    """Returns noisy latents, time steps ``(batch,)`` and the noise to predict; a share of them holds no image."""
    t = noise_levels(len(clean))
    pure = torch.rand(len(clean)) < pure_share
    return add_noise_at(clean, alphas, t, pure)


def add_noise_at(
    clean: torch.Tensor, alphas: torch.Tensor, t: torch.Tensor, pure: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Returns noisy latents ``(B, ...)``, time steps and the noise to predict; rows in `pure` are noise alone, at the
    last level."""
    last = torch.full_like(t, len(alphas) - 1)
    t, shape = torch.where(pure, last, t), (-1, *[1] * (clean.ndim - 1))
    noise, a = torch.randn_like(clean), alphas[t].view(shape)
    noisy = torch.where(pure.view(shape), noise, a.sqrt() * clean + (1 - a).sqrt() * noise)
    return noisy, t, (noisy - a.sqrt() * clean) / (1 - a).sqrt()


def levels_and_weights() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the schedule's cumulated alphas, and the weight of each time step's loss."""
    from diffusers import DDIMScheduler

    alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
    ratio = alphas / (1 - alphas)
    return alphas, ratio.clamp(0.3, 5.0) / ratio
