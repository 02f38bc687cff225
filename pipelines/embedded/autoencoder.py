"""Trains the autoencoder: 64 px images to 4 x 16 x 16 latents and back.

    python -m pipelines.embedded.autoencoder --work build/embedded --minutes 16

The loss is L1 on pixels + half the L1 of their horizontal and vertical differences (edges) + a small KL to the normal.
For the first part, `CROPS` of the time, images are 32 px crops: more steps per second, and less plain background in
each. Whole images follow, because group norms have other statistics there. The learning rate follows the share of
`--minutes` used so far, counted over restarts. An interrupted command resumes from its last checkpoint.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.embedded import training_utils

CONFIG = {
    "sample_size": 64,
    "block_out_channels": (16, 32, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
    "mid_block_add_attention": False,
}


CROPS = 0.55


def edges(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns the mean L1 between the differences of neighbouring pixels."""
    d = x - y
    return (d[..., 1:, :] - d[..., :-1, :]).abs().mean() + (d[..., 1:] - d[..., :-1]).abs().mean()


def psnr(vae, images: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio of reconstructions from the posterior's mean, in dB, over all pixels."""
    with torch.no_grad():
        x = training_utils.to_tensor(images)
        y = torch.cat([vae(part).sample.float().clamp(-1, 1) for part in x.split(64)])
    return float(10 * torch.log10(4 / F.mse_loss(y, x)))


def train(work: Path, packages: Path | None, minutes: float, batch: int, lr: float, kl: float, count: int) -> None:
    """Trains and writes ``WORK/vae`` (a diffusers folder, 32-bit, with the scaling factor set)."""
    from diffusers import AutoencoderKL

    art = training_utils.load_art(work, packages)
    images, _ = training_utils.rendered(work, art, "scenes", count, seed=1)
    torch.manual_seed(1)
    vae = AutoencoderKL(**CONFIG)
    optimiser = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    ema = {name: value.clone() for name, value in vae.state_dict().items()}
    step, spent = 0, 0.0
    if state := training_utils.load_checkpoint(work / "vae.pt"):
        vae.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema, step, spent = state["ema"], state["step"], state["spent"]
    order = np.random.default_rng(100 + step)
    clock = training_utils.TrainingClock(minutes, spent)
    print(f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, step {step}, {spent:.0f} s spent")
    while clock.is_running:
        x = training_utils.to_tensor(images[np.sort(order.integers(0, len(images), batch))])
        if clock.spent < CROPS * clock.budget:
            x = torch.cat([x[..., i : i + 32, j : j + 32] for i, j in order.integers(2, 31, (2, 2))])
        for group in optimiser.param_groups:
            group["lr"] = lr * training_utils.warm_cosine(clock.share)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.mean + posterior.std * torch.randn_like(posterior.mean)).sample
        y = y.float()
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        divergence = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        loss = F.l1_loss(y, x) + 0.5 * edges(y, x) + kl * divergence
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        step += 1
        decay = min(0.998, step / (step + 10))
        with torch.no_grad():
            for name, value in vae.state_dict().items():
                ema[name].lerp_(value, 1 - decay)
        clock.tick()
        if step % 100 == 0:
            print(
                f"step {step} {clock.spent:.0f} s loss {loss.item():.4f} kl {divergence.item():.2f} "
                f"dB {10 * np.log10(4 / F.mse_loss(y, x).item()):.2f}",
                flush=True,
            )
        if clock.save_is_due():
            training_utils.save_checkpoint(
                work / "vae.pt",
                model=vae.state_dict(),
                optimiser=optimiser.state_dict(),
                ema=ema,
                step=step,
                spent=clock.spent,
            )
    vae.load_state_dict(ema)
    finish(vae.eval(), images, work)


@torch.no_grad()
def finish(vae, images: np.ndarray, work: Path) -> None:
    """Sets the scaling factor to 1 / std of the latents, saves the model, and prints its PSNR."""
    sample = torch.cat(
        [vae.encode(part).latent_dist.mean for part in training_utils.to_tensor(images[:1024]).split(64)]
    )
    vae.register_to_config(scaling_factor=round(float(1 / sample.std()), 4))
    vae.save_pretrained(work / "vae")
    probe = images[1024:1040]
    y = training_utils.to_images(vae(training_utils.to_tensor(probe)).sample)
    training_utils.sheet(np.concatenate([probe, y])).save(work / "vae.png")
    print(f"PSNR {psnr(vae, images[1024:1280]):.2f} dB, scaling factor {vae.config.scaling_factor}")


def main() -> None:
    """Trains the autoencoder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--minutes", type=float, default=16)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--kl", type=float, default=5e-5)
    parser.add_argument("--scenes", type=int, default=50_000)
    args = parser.parse_args()
    train(args.work, args.packages, args.minutes, args.batch, args.lr, args.kl, args.scenes)


if __name__ == "__main__":
    main()
