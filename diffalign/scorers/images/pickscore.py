"""PickScore: a CLIP H/14 trained on half a million human choices between two images for one prompt.

    score_b = exp(logit_scale) cos(x_b, c_b)            difference of two scores = logit of "the first is preferred"

Three scales are in use under this name: this one (about 19 to 24), the cosine itself (about 0.21), and a division by
26. This one is the model's own: the softmax over the images of one prompt is its choice probability.

Source: Kirstain et al. 2023 (arXiv 2305.01569), section 3 and the model card; raw prompt, no template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.images.dual_encoder import DualEncoder

MODEL = "yuvalkirstain/PickScore_v1"
PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class PickScore(DualEncoder):
    """The dual encoder with its own logit scale."""

    unit = "logit"
    logits_per_unit = 1.0
    range = (-100.0, 100.0)
    license = "MIT"
    paper = "arXiv 2305.01569"

    @classmethod
    def load(
        cls, argument: str = "", device: str = "cpu", *, name: str = "pickscore", processor: str = ""
    ) -> PickScore:
        """Loads the published weights, or those in the folder ``argument``, which must also hold the processor."""
        scorer = super().load(argument or MODEL, device, name=name, processor=processor or argument or PROCESSOR)
        assert isinstance(scorer, cls)
        if scorer.encoder.logit_scale is None:
            raise UserError(
                f"'{argument}' is a {type(scorer.model).__name__} without a logit scale, so it cannot be a PickScore. "
                f"Omit the argument for {MODEL}, or score its cosine with clip:{argument}"
            )
        if not argument:
            scorer.name = name
        return scorer

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns scaled cosines, ``(B,)`` float32."""
        scale = self.encoder.logit_scale
        assert scale is not None  # `load` refuses a model without
        return super().score(prompts, images) * scale
