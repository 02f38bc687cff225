"""The network of MPS: a CLIP H/14 whose image tokens attend to the words of the prompt that a condition selects.

    model.*                     ``CLIPModel`` of transformers
    cross_model.layers.N.0.fn   image tokens attend to words, beside a feed-forward layer
    cross_model.layers.N.1.fn   image tokens attend to each other, beside a feed-forward layer

In both, all heads share one key and one value (heads of 64 channels), the layer norm has no bias, and the feed-forward
layer is gated by SiLU. The names are those of the authors' state, so that it loads as it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD = 64
"""Channels of a head."""
THRESHOLD = 0.3
"""Share of the largest similarity to the condition from which on a word is seen."""


class _Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.register_buffer("bias", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias)  # type: ignore[arg-type]


class _Inner(nn.Module):
    """Holds a layer under the name ``fn``, as the published state does."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.fn = layer


class _WordAttention(nn.Module):
    """``x + attention(norm(x), words) + feed_forward(norm(x))``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD
        self.norm, self.heads = _Norm(width), heads
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * HEAD, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.ff = nn.Sequential(
            nn.Linear(width, 8 * width, bias=False), nn.Identity(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, x: Tensor, words: Tensor, seen: Tensor) -> Tensor:
        normed = self.norm(x)
        key, value = self.to_kv(words).chunk(2, dim=-1)
        attended = _attend(self.to_q(normed), key, value, self.heads, seen)
        return x + self.to_out(attended) + self.ff[2](_gated(self.ff[0](normed)))


class _SelfAttention(nn.Module):
    """``x + attention(norm(x)) + feed_forward(norm(x))``, with rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = _Norm(width), heads
        self.sizes = [heads * HEAD, HEAD, HEAD, 8 * width]
        self.fused_attn_ff_proj = nn.Linear(width, sum(self.sizes), bias=False)
        self.attn_out = nn.Linear(heads * HEAD, width, bias=False)
        self.ff_out = nn.Sequential(nn.Identity(), nn.Linear(4 * width, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value, inner = self.fused_attn_ff_proj(self.norm(x)).split(self.sizes, dim=-1)
        turned = _rotate(query.unflatten(-1, (self.heads, HEAD)).transpose(1, 2)).transpose(1, 2).flatten(2)
        attended = _attend(turned, _rotate(key), value, self.heads)
        return x + self.attn_out(attended) + self.ff_out[1](_gated(inner))


class _Layers(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        pairs = ((_WordAttention(width, heads), _SelfAttention(width, heads)) for _ in range(layers))
        self.layers = nn.ModuleList(nn.ModuleList([_Inner(one), _Inner(other)]) for one, other in pairs)


class MpsNetwork(nn.Module):
    """The network.

    Args:
        config: ``CLIPConfig`` of its CLIP.
        layers: Pairs of layers after it.
        heads: Their heads.
    """

    def __init__(self, config: Any, *, layers: int, heads: int) -> None:
        from transformers import CLIPModel

        super().__init__()
        self.model: Any = CLIPModel(config)
        self.cross_model = _Layers(int(config.projection_dim), layers, heads)

    def words(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the projected states of all tokens, ``(B, L, D)``, and that of the end token, ``(B, D)``."""
        output = self.model.text_model(input_ids=tokens)
        project = self.model.text_projection
        return project(output.last_hidden_state), project(output.pooler_output)

    def forward(self, pixels: Tensor, tokens: Tensor, condition: Tensor) -> Tensor:
        """Returns the logits, ``(B,)``, of images ``(B, 3, H, W)``, prompts ``(B, L)`` and one condition ``(1, L)``."""
        words, end = self.words(tokens)
        similarity = torch.einsum("bid,jd->bij", words, self.words(condition)[0][0]).amax(-1)
        seen = similarity / similarity.amax(-1, keepdim=True) > THRESHOLD
        image = self.model.visual_projection(self.model.vision_model(pixel_values=pixels).last_hidden_state)
        for layer in self.cross_model.layers:
            image = layer[1].fn(layer[0].fn(image, words, seen))  # type: ignore[index]
        cosine = F.cosine_similarity(image[:, 0], end, dim=-1)
        logits: Tensor = self.model.logit_scale.exp() * cosine
        return logits


def _gated(x: Tensor) -> Tensor:
    values, gate = x.chunk(2, dim=-1)
    return F.silu(gate) * values


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, seen: Tensor | None = None) -> Tensor:
    """Returns the attention of the heads of ``query``, ``(B, N, heads * 64)``, to one key and value, ``(B, M, 64)``;
    ``seen``, ``(B, M)``, says to which.
    """
    queries = query.unflatten(-1, (heads, HEAD)).transpose(1, 2)
    mask = None if seen is None else seen[:, None, None]
    attended = F.scaled_dot_product_attention(queries, key[:, None], value[:, None], attn_mask=mask)
    return attended.transpose(1, 2).flatten(2)


def _rotate(x: Tensor) -> Tensor:
    """Returns states with rotary positions along the last but one axis (Su et al. 2021, arXiv 2104.09864)."""
    frequencies = 1.0 / (10000 ** (torch.arange(0, HEAD, 2, device=x.device).float() / HEAD))
    angles = torch.arange(x.shape[-2], device=x.device).float()[:, None] * frequencies
    angles = torch.cat([angles, angles], -1).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()
