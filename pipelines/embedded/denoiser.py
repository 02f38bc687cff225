"""Trains the denoiser and its text encoder, a small Stable Diffusion, jointly on cached latents.

    python -m pipelines.embedded.denoiser --work build/embedded --minutes 65 --out assets/emoji/model
    python -m pipelines.embedded.denoiser --start-from assets/emoji/model --minutes 52 --place-minutes 46

Noise prediction with the levels and weights of `noising.py`; a tenth of the captions dropped; weights averaged. Place
appears late and suddenly, after hundreds of steps in which most scenes are single objects whose place is always said
(`--place-minutes`); without those it did not appear in 1,300 steps. The average of the weights begins after these
minutes.

Like the autoencoder it counts minutes over restarts and resumes from its last checkpoint. The effect of prompts appears
late: subjects look random for the first quarter of the training, backgrounds for the first half.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from pipelines.embedded import noising, scenes, small_diffusion, training_utils, word_tokenizer

PURE_NOISE = {"place": 0.4, "all": 0.25}
"""Share of the inputs at the last level that are noise alone, while single objects show places, and afterwards."""
SINGLE_SHARE = 0.75
"""Share of scenes with one object, besides those that chance draws, during the minutes for places."""
PLACE_UNSAID = 0.1
"""Share of the captions that leave the place unsaid, after the minutes of single objects."""


def latents_of(work: Path, vae, images: np.ndarray) -> np.ndarray:
    """Returns posterior mean and standard deviation of every image, scaled: ``(N, 8, 16, 16)`` float16, cached."""
    path = work / "latents.npz"
    if not path.exists():
        parts = []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for i in range(0, len(images), 100):
                posterior = vae.encode(training_utils.to_tensor(images[i : i + 100])).latent_dist
                both = torch.cat([posterior.mean, posterior.std], 1) * vae.config.scaling_factor
                parts.append(both.half().numpy())
        training_utils.save_arrays(path, latents=np.concatenate(parts))
    return np.load(path)["latents"]


def caption(scene: scenes.Scene, rng: np.random.Generator, place_unsaid: float) -> scenes.Scene:
    """Returns what a caption says of a scene: style and background as `scenes.unsay`, the place with its own share."""
    return scenes.replace(scenes.unsay(scene, rng), place=None if rng.random() < place_unsaid else scene.place)


def train(args: argparse.Namespace) -> None:
    """Trains, and writes the averaged weights to ``WORK/denoiser.pt``."""
    work, batch = args.work, args.batch
    from diffusers import AutoencoderKL

    art = training_utils.load_art(work, args.packages)
    images, drawn = training_utils.rendered(work, art, "scenes", args.scenes, seed=1)
    latents = latents_of(work, AutoencoderKL.from_pretrained(work / "vae"), images)
    tokenizer = word_tokenizer.load(work / "tokenizer")
    torch.manual_seed(2)
    unet, text = small_diffusion.build(tokenizer)
    parameters = [*unet.parameters(), *text.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    if args.start_from:
        with torch.no_grad():
            for p, value in zip(parameters, small_diffusion.exported(args.start_from), strict=True):
                p.copy_(value)
    average = [p.detach().clone() for p in parameters]
    step, averaged, spent = 0, 0, 0.0
    if state := training_utils.load_checkpoint(work / "denoiser.pt"):
        with torch.no_grad():
            for p, value in zip(parameters, state["model"], strict=True):
                p.copy_(value)
        optimiser.load_state_dict(state["optimiser"])
        average, step, averaged, spent = (state[key] for key in ("average", "step", "averaged", "spent"))
    alphas, weights = noising.levels_and_weights()
    single = np.array([i for i, scene in enumerate(drawn) if scene.count == 1])
    rng = np.random.default_rng(200 + step)
    clock, previewed, losses = training_utils.TrainingClock(args.minutes, spent, save_every=150), spent, []
    print(f"{sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, step {step}, {spent:.0f} s spent", flush=True)
    while clock.is_running:
        place_first = clock.spent < 60 * args.place_minutes
        rows = rng.integers(0, len(latents), batch)
        if place_first:
            rows = np.where(rng.random(batch) < SINGLE_SHARE, rng.choice(single, batch), rows)
        said = [caption(drawn[i], rng, 0.0 if place_first else PLACE_UNSAID) for i in rows]
        prompts = ["" if rng.random() < 0.1 else scene.prompt for scene in said]
        ids = tokenizer(prompts, padding="max_length", max_length=word_tokenizer.LENGTH, return_tensors="pt").input_ids
        mean, std = torch.from_numpy(latents[rows]).float().chunk(2, 1)
        clean = mean + std * torch.randn_like(mean)
        noisy, t, target = noising.add_noise(clean, alphas, PURE_NOISE["place" if place_first else "all"])
        for group in optimiser.param_groups:
            group["lr"] = args.lr * training_utils.warm_cosine(clock.share)
        with torch.autocast("cpu", torch.bfloat16):
            guess = unet(noisy, t, text(ids).last_hidden_state).sample
        loss = (weights[t] * (guess.float() - target).pow(2).mean((1, 2, 3))).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.item())
        averaged = 0 if place_first else averaged + 1  # weights that know no places stay out of the average
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.998, averaged / (averaged + 10)))
        clock.tick()
        if step % 50 == 0:
            print(f"step {step} {clock.spent:.0f} s loss {np.mean(losses[-200:]):.4f}", flush=True)
        if clock.save_is_due():
            model = [p.detach() for p in parameters]
            training_utils.save_checkpoint(
                work / "denoiser.pt",
                model=model,
                average=average,
                optimiser=optimiser.state_dict(),
                step=step,
                averaged=averaged,
                spent=clock.spent,
            )
        if clock.spent - previewed > 300:
            previewed = clock.spent
            small_diffusion.save_preview(work, average, work / f"look-{int(clock.spent / 60):03d}.png")


def main() -> None:
    """Trains the denoiser and writes the pipeline's folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/embedded"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--out", type=Path, default=Path("assets/emoji/model"))
    parser.add_argument("--minutes", type=float, default=65)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--scenes", type=int, default=24_000)
    parser.add_argument("--start-from", type=Path, help="model folder whose weights the first step starts from")
    parser.add_argument("--place-minutes", type=float, default=0.0, help="minutes until which single objects are drawn")
    args = parser.parse_args()
    train(args)
    small_diffusion.export(args.work, args.out)


if __name__ == "__main__":
    main()
