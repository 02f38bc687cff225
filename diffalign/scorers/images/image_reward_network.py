"""ImageReward's network: BLIP's vision transformer, a BERT that attends to the image, and a linear head on its first
token; built from the published file, on transformers' classes for BLIP.

    ImageReward.pt               here
    blip.visual_encoder.*        vision.*     (``BlipVisionModel``; names of timm, epsilon 1e-6)
    blip.text_encoder.*          text.*       (``BlipTextModel``; the same names)
    mlp.layers.*                 head.*
    blip.vision_proj.*, blip.text_proj.*      not used by the reward

Sizes of the vision transformer are those of the tensors (heads of 64 channels, as in BLIP's base and large); those of
the text half are in ``med_config.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import UserError
from diffalign.scorers.images.linear_head import linear_head
from diffalign.scorers.images.published_weights import load_state

UNUSED = ("blip.vision_proj.", "blip.text_proj.", "text.embeddings.position_ids")
TEXT = {"vocab_size": 30524, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
"""Sizes of the published text half, where no ``med_config.json`` says others."""
_KEPT = (*TEXT, "intermediate_size", "max_position_embeddings", "layer_norm_eps", "hidden_act", "pad_token_id")
_NAMES = (
    (r"blip\.text_encoder\.", "text."),
    (r"mlp\.layers\.", "head."),
    (r"blip\.visual_encoder\.cls_token", "vision.embeddings.class_embedding"),
    (r"blip\.visual_encoder\.pos_embed", "vision.embeddings.position_embedding"),
    (r"blip\.visual_encoder\.patch_embed\.proj\.", "vision.embeddings.patch_embedding."),
    (r"blip\.visual_encoder\.norm\.", "vision.post_layernorm."),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision.encoder.layers.\1.layer_norm\2."),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.attn\.qkv\.", r"vision.encoder.layers.\1.self_attn.qkv."),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision.encoder.layers.\1.self_attn.projection."),
    (r"blip\.visual_encoder\.blocks\.(\d+)\.mlp\.", r"vision.encoder.layers.\1.mlp."),
)


class ImageRewardNetwork(nn.Module):
    """The network.

    Args:
        state: The tensors of ``ImageReward.pt``.
        text: ``med_config.json``; empty for the published sizes.
        what: The file, for messages.

    Raises:
        UserError: Tensors are missing, left over, or do not fit each other.
    """

    def __init__(self, state: Mapping[str, Tensor], text: Mapping[str, Any], what: str) -> None:
        from transformers import BlipTextConfig, BlipVisionConfig
        from transformers.models.blip.modeling_blip import BlipVisionModel
        from transformers.models.blip.modeling_blip_text import BlipTextModel

        super().__init__()
        state = {_renamed(name): value for name, value in state.items()}
        vision = _vision_sizes(state, what)
        ends = {"bos_token_id": None, "sep_token_id": None, "eos_token_id": None}
        sizes: dict[str, Any] = {**TEXT, **{key: text[key] for key in _KEPT if key in text}, **ends}
        sizes["encoder_hidden_size"] = vision["hidden_size"]
        eager: dict[str, Any] = {"attn_implementation": "eager"}  # the class adds its mask to the scores
        self.image_size: int = vision["image_size"]
        self.vision = BlipVisionModel(BlipVisionConfig(**vision, layer_norm_eps=1e-6, **eager))
        self.text = BlipTextModel(BlipTextConfig(**sizes, **eager), add_pooling_layer=False)
        prefix = "head."
        self.head = linear_head({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, what)
        load_state(self, state, what, unused=UNUSED)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Returns the head's numbers, ``(B,)``, of images ``(B, 3, H, W)`` and tokens with their mask, ``(B, L)``."""
        image = self.vision(pixel_values=pixels).last_hidden_state
        text = self.text(
            input_ids=tokens,
            attention_mask=mask,
            encoder_hidden_states=image,
            encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long, device=image.device),
            is_decoder=False,  # every token sees every other
        ).last_hidden_state
        numbers: Tensor = self.head(text[:, 0].float())[:, 0]
        return numbers


def _renamed(name: str) -> str:
    for pattern, new in _NAMES:
        renamed, count = re.subn(rf"^{pattern}", new, name)
        if count:
            return renamed
    return name


def _vision_sizes(state: Mapping[str, Tensor], what: str) -> dict[str, Any]:
    """Returns the sizes of the vision transformer that the tensors have."""
    try:
        width, _, patch, _ = state["vision.embeddings.patch_embedding.weight"].shape
        patches = state["vision.embeddings.position_embedding"].shape[1] - 1
        inner = state["vision.encoder.layers.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{what} holds no vision transformer of BLIP under the names of ImageReward ({error}). Expected "
            "ImageReward.pt."
        ) from None
    layers = {int(m[1]) for name in state if (m := re.match(r"vision\.encoder\.layers\.(\d+)\.", name))}
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // 64),
        "patch_size": patch,
        "image_size": round(patches**0.5) * patch,
    }
