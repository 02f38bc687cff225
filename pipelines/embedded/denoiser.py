"""Trains the denoiser and its text encoder, a small Stable Diffusion, jointly on cached latents.

    python -m pipelines.embedded.denoiser --work build/embedded --minutes 65 --out assets/emoji/model
    python -m pipelines.embedded.denoiser --start-from assets/emoji/model --minutes 52 --place-minutes 46

Noise prediction on Stable Diffusion's schedule; a tenth of the captions dropped; weights averaged. The loss at
signal-to-noise ratio r is weighted by clamp(r, 0.3, 5) / r. The upper bound is min-SNR's; the lower one makes the model
follow prompts. The noisiest steps decide background and place, but they contribute little to a loss on noise, and the
image shines through them, so a model that reads it there ignores the prompt. So they are also drawn more often.

**Pure noise.** Even at the last level of the schedule place and colour can be read from the noisy latents, but a
sampler starts from noise without any image. So a share of the inputs at the last level is noise n alone. Its target
follows from x = a x0 + s e, as for any input: e = (n - a x0) / s; the best guess is the mean of all images of the
prompt. Only the prompt can say where things are, so it is read. Place still appears late and suddenly, after hundreds
of steps in which most scenes are single objects whose place is always said (`--place-minutes`); without those it did
not appear in 1,300 steps. The average of the weights begins after these minutes.

Like the autoencoder it counts minutes over restarts and resumes from its last checkpoint. The effect of prompts appears
late: subjects look random for the first quarter of the training, backgrounds for the first half.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from pipelines.embedded import scenes, training_utils, word_tokenizer

UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 224),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,  # the number of heads, by the library's old naming
    "norm_num_groups": 16,
    "cross_attention_dim": 128,
}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 128,
}
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
PURE_NOISE = {"place": 0.4, "all": 0.25}
"""Share of the inputs at the last level that are noise alone, while single objects show places, and afterwards."""
SINGLE_SHARE = 0.75
"""Share of scenes with one object, besides those that chance draws, during the minutes for places."""
PLACE_UNSAID = 0.1
"""Share of the captions that leave the place unsaid, after the minutes of single objects."""


def build(tokenizer):
    """Returns untrained U-Net and text encoder, with plain attention, which is faster for such narrow heads."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel(**UNET)
    unet.set_attn_processor(AttnProcessor())
    text = CLIPTextModel(word_tokenizer.text_config(tokenizer, **TEXT))
    return unet, text


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


def pipeline(work: Path, unet, text):
    """Returns the parts as an unmodified `StableDiffusionPipeline`."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae"),
        text_encoder=text,
        tokenizer=word_tokenizer.load(work / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


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


def caption(scene: scenes.Scene, rng: np.random.Generator, place_unsaid: float) -> scenes.Scene:
    """Returns what a caption says of a scene: style and background as `scenes.unsay`, the place with its own share."""
    return scenes.replace(scenes.unsay(scene, rng), place=None if rng.random() < place_unsaid else scene.place)


def exported(folder: Path) -> list[torch.Tensor]:
    """Returns the parameters of an exported model, in the order in which they are trained."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    return [p.detach() for p in (*unet.parameters(), *text.parameters())]


def train(args: argparse.Namespace) -> None:
    """Trains, and writes the averaged weights to ``WORK/denoiser.pt``."""
    work, batch = args.work, args.batch
    from diffusers import AutoencoderKL

    art = training_utils.load_art(work, args.packages)
    images, drawn = training_utils.rendered(work, art, "scenes", args.scenes, seed=1)
    latents = latents_of(work, AutoencoderKL.from_pretrained(work / "vae"), images)
    tokenizer = word_tokenizer.load(work / "tokenizer")
    torch.manual_seed(2)
    unet, text = build(tokenizer)
    parameters = [*unet.parameters(), *text.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    if args.start_from:
        with torch.no_grad():
            for p, value in zip(parameters, exported(args.start_from), strict=True):
                p.copy_(value)
    average = [p.detach().clone() for p in parameters]
    step, averaged, spent = 0, 0, 0.0
    if state := training_utils.load_checkpoint(work / "denoiser.pt"):
        with torch.no_grad():
            for p, value in zip(parameters, state["model"], strict=True):
                p.copy_(value)
        optimiser.load_state_dict(state["optimiser"])
        average, step, averaged, spent = (state[key] for key in ("average", "step", "averaged", "spent"))
    alphas, weights = levels_and_weights()
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
        noisy, t, target = add_noise(clean, alphas, PURE_NOISE["place" if place_first else "all"])
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
            save_preview(work, average, work / f"look-{int(clock.spent / 60):03d}.png")


PREVIEW_PROMPTS = [
    "a flat drawing of a fox on a blue background, in the center", "a noto drawing of a frog on a white background",
    "a glossy drawing of a rocket on a yellow background", "two pandas on a red background", "three flat apples",
    "a drawing of a penguin on a pink background, on the left", "three noto doughnuts on a green background",
    "one flat banana on a purple background, at the top", "a noto drawing of a dolphin on a black background",
    "two glossy strawberries on a white background, at the bottom", "a flat drawing of a crown", "three cactuses",
]  # fmt: skip


def averaged_pipeline(work: Path, average: list[torch.Tensor]):
    """Returns the pipeline with the averaged weights."""
    unet, text = build(word_tokenizer.load(work / "tokenizer"))
    with torch.no_grad():
        for p, value in zip([*unet.parameters(), *text.parameters()], average, strict=True):
            p.copy_(value)
    pipe = pipeline(work, unet.eval(), text.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_preview(work: Path, average: list[torch.Tensor], path: Path) -> None:
    """Samples a contact sheet with the averaged weights."""
    pipe = averaged_pipeline(work, average)
    with torch.autocast("cpu", torch.bfloat16):
        images = pipe(
            PREVIEW_PROMPTS * 2,
            num_inference_steps=15,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            height=64,
            width=64,
        ).images
    training_utils.sheet(np.stack([np.asarray(image) for image in images]), 12, 1).save(path)


def export(work: Path, out: Path) -> None:
    """Writes the pipeline's folder with 16-bit weights that load as 32-bit by default."""
    pipe = averaged_pipeline(work, training_utils.load_checkpoint(work / "denoiser.pt")["average"])
    pipe.vae.register_to_config(_name_or_path="")  # removes the path on this machine
    pipe.to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)
    word_tokenizer.save(out / "tokenizer")
    (out / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)  # the two files of the older format are sufficient
    full_precision_by_default(out / "text_encoder")
    add_key_prefix(out / "text_encoder" / "model.safetensors")


def add_key_prefix(path: Path) -> None:
    """Adds ``text_model.`` to the text encoder's keys. transformers 4 needs it; 5 reads both and writes none."""
    from safetensors.torch import load_file, save_file

    weights = {"text_model." + key.removeprefix("text_model."): value for key, value in load_file(path).items()}
    training_utils.write_atomically(path, lambda temporary: save_file(weights, temporary, metadata={"format": "pt"}))


def full_precision_by_default(folder: Path) -> None:
    """Sets 32 bits as the default precision in a transformers config, independent of the stored precision."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")


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
    export(args.work, args.out)


if __name__ == "__main__":
    main()
