"""A hand-written Diffusion-DPO loop on an AnimateDiff UNet, the baseline of the video benchmark.

Clips and prompts are encoded before the first step. A step does the arithmetic of diffalign's: one level and one noise
``(C, F, h, w)`` per pair, policy and reference (the LoRA switched off) on the same input, the logistic loss on half the
gap of mean squared errors, clipping, AdamW.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BETA = 5000.0


def open_pipeline(root: Path) -> Any:
    """Returns the stock pipeline of ``root/model`` and ``root/motion``, with the levels of motion adapters."""
    from diffusers import AnimateDiffPipeline, DDIMScheduler, MotionAdapter

    pipeline = AnimateDiffPipeline.from_pretrained(
        root / "model", motion_adapter=MotionAdapter.from_pretrained(root / "motion")
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, beta_schedule="linear")
    return pipeline


class RawVideoLoop:
    """A training loop, stepped from outside.

    Args:
        pipeline: An AnimateDiffPipeline; a LoRA on the attention of its motion modules is trained.
        pixels: ``(N, 2, F, 3, H, W)`` clips of pairs, chosen first.
        prompts: N prompts.
        rank: Rank of the LoRA.
        checkpointing: Whether resnets and attention recompute activations, as far as diffusers does it.
    """

    def __init__(
        self, pipeline: Any, pixels: Tensor, prompts: list[str], *, rank: int, checkpointing: bool = False
    ) -> None:
        from peft import LoraConfig

        self.unet, self.levels, self.done = pipeline.unet.eval(), pipeline.scheduler.alphas_cumprod, 0
        with torch.no_grad():
            rows = [[pipeline.vae.encode(clip).latent_dist for clip in pair] for pair in pixels]
            self.mean, self.std = (
                torch.stack([torch.stack([getattr(clip, name) for clip in pair]) for pair in rows]).transpose(2, 3)
                for name in ("mean", "std")
            )
            tokens = pipeline.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")
            self.text = pipeline.text_encoder(tokens.input_ids)[0]
        del pipeline.vae, pipeline.text_encoder
        self.unet.requires_grad_(False)
        attention = r".*motion_modules\.\d+\.transformer_blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
        self.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=attention))
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
            self.unet.train()
        self.parameters = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, fused=True)

    def step(self) -> float:
        """Does one optimizer step on one pair and returns the loss."""
        row = self.done % len(self.mean)
        mean, std = self.mean[row], self.std[row]
        x0 = (mean + std * torch.randn_like(mean)) * 0.18215
        t = torch.randint(0, len(self.levels), (1,)).repeat(2)
        noise = torch.randn_like(x0[:1]).repeat(2, 1, 1, 1, 1)
        level = self.levels[t].view(-1, 1, 1, 1, 1)
        x_t = level.sqrt() * x0 + (1 - level).sqrt() * noise
        text = self.text[row : row + 1].repeat(2, 1, 1).repeat_interleave(x0.shape[2], 0)
        with torch.no_grad():
            self.unet.disable_adapters()
            reference = self.unet(x_t, t, text).sample
            self.unet.enable_adapters()
        policy = self.unet(x_t, t, text).sample
        (p_w, p_l), (r_w, r_l) = (
            (out.float() - noise).square().mean((1, 2, 3, 4)).chunk(2) for out in (policy, reference)
        )
        loss = -F.logsigmoid(-BETA / 2 * ((p_w - p_l) - (r_w - r_l))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return float(loss.detach())
