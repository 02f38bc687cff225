"""A hand-written Diffusion-DPO loop on a UNet, the baseline of the image benchmarks.

``RawLoop`` does the same arithmetic as diffalign's step: stack chosen and rejected, one level and one noise per pair,
policy and reference on the same input, the logistic loss on half the gap of mean squared errors, clipping, AdamW.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BETA = 5000.0


class RawLoop:
    """A training loop, stepped from outside.

    Args:
        pipeline: A StableDiffusionPipeline; its UNet is trained.
        pixels: ``(N, 2, 3, H, W)`` images of pairs, chosen first.
        prompts: N prompts.
        batch: Pairs per step.
        cached: Whether to encode images and prompts once before the first step instead of at every step.
        lora: Rank of a LoRA on attention, with the disabled adapter as reference; None trains every weight.
        bf16: Whether networks compute under bfloat16 autocast.
        checkpointing: Whether to recompute activations in the backward pass.
    """

    def __init__(
        self,
        pipeline: Any,
        pixels: Tensor,
        prompts: list[str],
        *,
        batch: int,
        cached: bool,
        lora: int | None = None,
        bf16: bool = False,
        checkpointing: bool = False,
    ) -> None:
        self.vae, self.text, self.tokenizer = pipeline.vae.eval(), pipeline.text_encoder.eval(), pipeline.tokenizer
        self.unet = pipeline.unet.eval()
        self.pixels, self.prompts, self.batch, self.lora = pixels, prompts, batch, lora
        self.levels = pipeline.scheduler.alphas_cumprod
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
        if lora is None:
            self.reference = copy.deepcopy(self.unet).requires_grad_(False)
        else:
            from peft import LoraConfig

            self.unet.requires_grad_(False)
            self.unet.add_adapter(
                LoraConfig(r=lora, lora_alpha=lora, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
            )
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        self.parameters = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, fused=True)
        self.cache = self._encode(slice(None)) if cached else None
        if cached:
            del self.vae, self.text, pipeline.vae, pipeline.text_encoder
        self.done = 0

    @torch.no_grad()
    def _encode(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        posteriors = [self.vae.encode(pair).latent_dist for pair in self.pixels[rows]]
        mean, std = (torch.stack([getattr(p, name) for p in posteriors]) for name in ("mean", "std"))
        tokens = self.tokenizer(self.prompts[rows], padding="max_length", truncation=True, return_tensors="pt")
        return mean, std, self.text(tokens.input_ids)[0]

    def step(self) -> float:
        """Does one optimizer step and returns the loss."""
        first = self.done * self.batch % len(self.pixels)
        rows = slice(first, first + self.batch)
        mean, std, text = [t[rows] for t in self.cache] if self.cache else self._encode(rows)
        x0 = ((mean + std * torch.randn_like(mean)) * 0.18215).transpose(0, 1).flatten(0, 1)
        t = torch.randint(0, len(self.levels), (self.batch,)).repeat(2)
        noise = torch.randn_like(x0[: self.batch]).repeat(2, 1, 1, 1)
        level = self.levels[t].view(-1, 1, 1, 1)
        x_t, text = level.sqrt() * x0 + (1 - level).sqrt() * noise, text.repeat(2, 1, 1)
        with torch.no_grad(), self.autocast():
            if self.lora is None:
                reference = self.reference(x_t, t, text).sample
            else:
                self.unet.disable_adapters()
                reference = self.unet(x_t, t, text).sample
                self.unet.enable_adapters()
        with self.autocast():
            policy = self.unet(x_t, t, text).sample
        e_policy, e_reference = ((p.float() - noise).square().mean((1, 2, 3)) for p in (policy, reference))
        (p_w, p_l), (r_w, r_l) = e_policy.chunk(2), e_reference.chunk(2)
        loss = -F.logsigmoid(-BETA / 2 * ((p_w - p_l) - (r_w - r_l))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return float(loss.detach())
