"""Trains a motion adapter and the words of motions on the frozen embedded image model.

    python -m pipelines.embedded_motion.train_motion --minutes 70

Trained are the temporal layers, whose last projections begin at zero, so that the model begins as the image model frame
by frame, and one embedding row for each motion. U-Net and text encoder stay as they are: image prompts keep their
states and images bit for bit, and the image model's folder serves both.

Temporal layers never see the text. A motion's word reaches them through what spatial cross-attention writes into the
frames. As in `pipelines.embedded.denoiser` the model predicts noise, most time steps come from the noisiest levels, and
a share of the inputs at the last level is noise alone: even there an object's way over the frames can be read from the
noisy latents, but a sampler starts from noise, so only the prompt can say where things go.

It counts minutes over restarts and resumes from its last checkpoint; a step's data depend on its number only.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch

from pipelines.embedded import noising, small_diffusion, training_utils, word_tokenizer
from pipelines.embedded_motion import clips, motions, render, words

ADAPTER = {
    "block_out_channels": (64, 128, 224),
    "motion_layers_per_block": 1,
    "motion_mid_block_layers_per_block": 1,
    "motion_num_attention_heads": 4,
    "motion_norm_num_groups": 16,
    "motion_max_seq_length": 32,
    "use_motion_mid_block": True,
}
NOISIEST, NOISIEST_SHARE = 700, 0.6
"""Share of the time steps that come from `NOISIEST` on; the others are uniform. Little noise is the image model's."""
PURE_NOISE = 0.35
"""Share of the inputs at the last level that are noise alone."""
EMPTY = 0.1
"""Share of the captions that are dropped."""
ROWS_RATE = 3.0
"""Learning rate of the words, as a multiple of the temporal layers'."""
SEED = 21


def new_adapter():
    """Returns an untrained adapter that changes nothing: the last projection of each temporal layer is zero."""
    from diffusers import MotionAdapter

    torch.manual_seed(SEED)
    adapter = MotionAdapter(**ADAPTER)
    with torch.no_grad():
        for name, p in adapter.named_parameters():
            if ".proj_out." in name:
                p.zero_()
    return adapter


def build(image_model: Path, tokenizer_folder: Path, adapter=None, rows: torch.Tensor | None = None):
    """Returns U-Net with temporal layers, text encoder with words, and tokenizer; temporal layers alone need gradients.

    Args:
        image_model: Folder of the image model.
        tokenizer_folder: Folder of a tokenizer of `words.write_tokenizer`.
        adapter: Temporal layers; untrained ones by default.
        rows: Embeddings of the motions; `words.first_rows` by default.
    """
    from diffusers import UNet2DConditionModel, UNetMotionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(image_model / "unet", torch_dtype=torch.float32)
    unet = UNetMotionModel.from_unet2d(unet, adapter if adapter is not None else new_adapter())
    unet.set_attn_processor(AttnProcessor())  # faster than fused attention for such narrow heads
    text = CLIPTextModel.from_pretrained(image_model / "text_encoder", torch_dtype=torch.float32)
    tokenizer = word_tokenizer.load(tokenizer_folder)
    text = words.with_words(text, tokenizer, words.first_rows(text, tokenizer) if rows is None else rows)
    text.requires_grad_(False)
    for name, p in unet.named_parameters():
        p.requires_grad_(".motion_modules." in name)
    return unet, text, tokenizer


class Captions:
    """States of captions, computed with gradients for the motions' words only.

    Args:
        text: The text encoder.
        tokenizer: Its tokenizer.
        rows: The trained embeddings of the motions.
    """

    def __init__(self, text, tokenizer, rows: torch.Tensor) -> None:
        self.text, self.tokenizer, self.rows = text, tokenizer, rows
        self.ids = torch.tensor(words.new_ids(tokenizer))
        self.table = text.get_input_embeddings().weight.detach()

    def states(self, prompts: list[str]) -> torch.Tensor:
        """Returns the last hidden states, ``(B, LENGTH, width)``."""
        table = self.table.index_copy(0, self.ids, self.rows)
        options = {"padding": "max_length", "max_length": word_tokenizer.LENGTH, "return_tensors": "pt"}
        ids = self.tokenizer(prompts, **options).input_ids
        name = "embeddings.token_embedding.weight"
        name = name if name in dict(self.text.named_parameters()) else f"text_model.{name}"
        return torch.func.functional_call(self.text, {name: table}, (ids,)).last_hidden_state


def add_noise(clean: torch.Tensor, alphas: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Returns noisy latents, time steps ``(B,)`` and the noise to predict; a share of the inputs holds no clip."""
    size, total = len(clean), len(alphas)
    t = torch.where(
        torch.rand(size) < NOISIEST_SHARE, torch.randint(NOISIEST, total, (size,)), torch.randint(0, total, (size,))
    )
    pure = torch.rand(size) < PURE_NOISE
    return noising.add_noise_at(clean, alphas, t, pure)


def batch_of(step: int, latents: np.ndarray, shots: list[motions.Shot], size: int) -> tuple[torch.Tensor, list[str]]:
    """Returns clean latents ``(size, 4, F, 16, 16)`` and captions of a step; the torch generator is seeded too."""
    rng = np.random.default_rng((SEED, step))
    torch.manual_seed(int(rng.integers(2**62)))
    rows = rng.integers(0, len(latents), size)
    mean, std = torch.from_numpy(latents[rows]).float().chunk(2, 1)
    captions = ["" if rng.random() < EMPTY else shots[i].prompt for i in rows]
    return mean + std * torch.randn_like(mean), captions


def train(args: argparse.Namespace) -> None:
    """Trains, and writes the averaged weights to ``WORK/motion.pt``."""
    from diffusers import AutoencoderKL

    work = args.work
    art = render.load_art(work, args.packages)
    vae = AutoencoderKL.from_pretrained(args.image_model / "vae", torch_dtype=torch.float32)
    latents, shots = clips.latents_of(work, art, vae, args.clips, SEED)
    words.write_tokenizer(args.image_model / "tokenizer", work / "tokenizer")
    unet, text, tokenizer = build(args.image_model, work / "tokenizer")
    rows = torch.nn.Parameter(text.get_input_embeddings().weight[words.new_ids(tokenizer)].detach().clone())
    captions = Captions(text, tokenizer, rows)
    modules = [p for p in unet.parameters() if p.requires_grad]
    parameters = [*modules, rows]
    groups = [{"params": modules, "factor": 1.0}, {"params": [rows], "factor": ROWS_RATE, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    average, step, spent = [p.detach().clone() for p in parameters], 0, 0.0
    if state := training_utils.load_checkpoint(work / "motion.pt"):
        with torch.no_grad():
            for p, value in zip(parameters, state["model"], strict=True):
                p.copy_(value)
        optimiser.load_state_dict(state["optimiser"])
        average, step, spent = state["average"], state["step"], state["spent"]
    alphas, weights = noising.levels_and_weights()
    clock, losses = training_utils.TrainingClock(args.minutes, spent, save_every=150), []
    print(f"{sum(p.numel() for p in parameters) / 1e6:.2f} M parameters, step {step}, {spent:.0f} s spent", flush=True)
    while clock.is_running:
        clean, said = batch_of(step, latents, shots, args.batch)
        noisy, t, target = add_noise(clean, alphas)
        for group in optimiser.param_groups:
            group["lr"] = args.lr * group["factor"] * training_utils.warm_cosine(clock.share)
        with clips.autocast():
            states = captions.states(said).repeat_interleave(motions.FRAMES, 0)
            guess = unet(noisy, t, states).sample
        loss = (weights[t] * (guess.float() - target).pow(2).mean((1, 2, 3, 4))).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        losses.append(loss.item())
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(0.995, step / (step + 10)))
        clock.tick()
        if step % 25 == 0:
            print(f"step {step} {clock.spent:.0f} s loss {np.mean(losses[-100:]):.4f}", flush=True)
        if clock.save_is_due():
            model = [p.detach() for p in parameters]
            kept = {"model": model, "average": average, "optimiser": optimiser.state_dict()}
            training_utils.save_checkpoint(work / "motion.pt", **kept, step=step, spent=clock.spent)


def export(args: argparse.Namespace) -> None:
    """Writes the adapter's folder, with tokenizer, text encoder and scheduler beside it, in 16 bits."""
    from diffusers import MotionAdapter

    average = training_utils.load_checkpoint(args.work / "motion.pt")["average"]
    unet, text, tokenizer = build(args.image_model, args.work / "tokenizer", rows=average[-1])
    names = [name for name, p in unet.named_parameters() if p.requires_grad]
    adapter = MotionAdapter(**ADAPTER)
    state = dict(zip(names, average[:-1], strict=True))
    adapter.load_state_dict({**adapter.state_dict(), **state})
    adapter.half().save_pretrained(args.out, safe_serialization=True)
    text.half().save_pretrained(args.out / "text_encoder", safe_serialization=True)
    small_diffusion.full_precision_by_default(args.out / "text_encoder")
    small_diffusion.add_key_prefix(args.out / "text_encoder" / "model.safetensors")
    for name in ("tokenizer", "scheduler"):
        source = args.work if name == "tokenizer" else args.image_model
        shutil.copytree(source / name, args.out / name, dirs_exist_ok=True)


def main() -> None:
    """Trains the motion adapter and writes its folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/motion"))
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--image-model", type=Path, default=Path("assets/emoji/model"))
    parser.add_argument("--out", type=Path, default=Path("assets/emoji/motion"))
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--clips", type=int, default=6000)
    args = parser.parse_args()
    train(args)
    export(args)


if __name__ == "__main__":
    main()
