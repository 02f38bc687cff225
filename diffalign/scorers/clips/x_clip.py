"""X-CLIP: how well a clip fits its prompt, by a dual encoder whose video branch exchanges messages between frames.

    score_b = <v(x_b), g(c_b, x_b)> / (|v(x_b)| |g(c_b, x_b)|)    v: of 8 frames; g: of the prompt, adapted to them

The frames are the middles of equal parts of the whole clip, as many as the model was trained on; a shorter clip repeats
frames evenly. Unlike a mean over frames the score can depend on their order, though weakly: the model was trained to
name actions, not to follow prompts.

Source: Ni et al. 2022 (arXiv 2208.02816), eq. 6 to 11; the model's own class in transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.errors import UserError
from diffalign.files.complete_weights import load_pretrained, one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import Preprocessing, load_preprocessing
from diffalign.scorers.scorer import check_prompt_count, state_hash

DEFAULT = "microsoft/xclip-base-patch32"


class XClip(ComparesByScore):
    """X-CLIP as a scorer.

    Args:
        model: ``XCLIPModel`` of transformers, already on its device.
        tokenizer: Its tokenizer.
        preprocess: Its preprocessing of a frame.
        name: Its name in reports.
    """

    medium = "video"
    unit = "cosine"
    range = (-1.0, 1.0)
    license = "see the model's page"
    paper = "arXiv 2208.02816"

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocessing, *, name: str = "xclip") -> None:
        self.model, self.tokenizer, self.preprocess = model.eval().requires_grad_(False), tokenizer, preprocess
        self.name = name
        self.rule = FrameRule("span", int(model.config.vision_config.num_frames), short="hold")
        self.preprocessing = str(preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> XClip:
        """Loads a folder or hub id; empty for the base model with patches of 32 pixels.

        Raises:
            UserError: The model is no X-CLIP, or cannot be loaded.
        """
        from transformers import AutoModel, AutoTokenizer

        source = argument or DEFAULT
        advice = (
            f"Expected a folder or a hub id with config.json, weights and a tokenizer, as in --scorer xclip:{DEFAULT}"
        )
        with one_sentence(f"Cannot load an X-CLIP from '{source}'", UserError, advice), quiet():
            model = load_pretrained(AutoModel, source, error=UserError, advice=advice, accept=_check_kind)
            tokenizer = AutoTokenizer.from_pretrained(source)
        return cls(model.float().to(device), tokenizer, load_preprocessing(source), name=f"xclip:{source}")

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    @torch.no_grad()
    def score(self, prompts: Sequence[str], clips: Sequence[Any]) -> Tensor:
        """Returns cosines, ``(B,)`` float32; one clip is in memory at a time. Long prompts are truncated."""
        check_prompt_count(prompts, clips)
        return torch.tensor([self._score(p, clip) for p, clip in zip(prompts, clips, strict=True)], dtype=torch.float32)

    def _score(self, prompt: str, sample: Any) -> float:
        device = self.model.logit_scale.device
        frames = as_clip(sample, scorer=self.name, rule=self.rule).frames
        positions = int(self.model.config.text_config.max_position_embeddings)
        length = min(int(self.tokenizer.model_max_length), positions)
        tokens = self.tokenizer([prompt], truncation=True, max_length=length, return_tensors="pt").to(device)
        pixels = self.preprocess(list(frames)).to(device)
        output = self.model(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels[None]
        )
        # both have unit length; the prompt's embedding depends on the clip: (clips, prompts, D)
        return float((output.video_embeds[0] * output.text_embeds[0, 0]).sum())


def _check_kind(model: Any) -> None:
    """Raises UserError unless a model is an X-CLIP."""
    if model.config.model_type != "xclip":
        raise UserError(
            f"'{model.config._name_or_path}' is a {type(model).__name__}, and xclip needs an XCLIPModel. For a dual "
            "encoder of images write frames:clip:FOLDER."
        )
