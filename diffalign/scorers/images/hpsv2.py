"""HPSv2 and HPSv2.1: a CLIP H/14 trained on 798,000 human choices between images for one prompt.

    score_b = cos(x_b, c_b)            exp(logit_scale) (score_a - score_b) = logit of "the first is preferred"

Published tables print 100 times the score. The two versions are different weights on different scales: their numbers
are not comparable, and neither are scores of different prompts.

Source: Wu et al. 2023 (arXiv 2306.09341), section 4; raw prompt, no template; the preprocessing is
:class:`~diffalign.scorers.images.letterbox.Letterbox`. Weights: ``xswu/HPSv2``, revision main, one file a version.
"""

from __future__ import annotations

from pathlib import Path

from diffalign.errors import UserError
from diffalign.files.complete_weights import one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.images.dual_encoder import DualEncoder
from diffalign.scorers.images.encoders.open_clip_encoder import CONFIG, OpenClipEncoder
from diffalign.scorers.images.letterbox import Letterbox
from diffalign.scorers.images.published_weights import find_weights

HUB_ID = "xswu/HPSv2"
FILES = {"hpsv2": "HPS_v2_compressed.pt", "hpsv2.1": "HPS_v2.1_compressed.pt"}
ARCHITECTURE = "ViT-H-14"


class HPSv2(DualEncoder):
    """The dual encoder with the published preprocessing."""

    license = "Apache-2.0"
    paper = "arXiv 2306.09341"

    @classmethod
    def load(
        cls,
        argument: str = "",
        device: str = "cpu",
        *,
        name: str = "hpsv2",
        processor: str = "",
        antialias: bool = True,
    ) -> HPSv2:
        """Loads the published weights of a version, or a file of them.

        Args:
            argument: File, or folder of the file; empty for the published one. An ``open_clip_config.json`` beside it
                says another architecture than ViT-H-14.
            device: The device to load it on.
            name: The version, ``"hpsv2"`` or ``"hpsv2.1"``.
            processor: Not used: the tokenizer is that of the architecture.
            antialias: Whether the resize antialiases, see :class:`~diffalign.scorers.images.letterbox.Letterbox`.

        Raises:
            UserError: There is no such file, or its tensors are not those of the architecture.
        """
        weights = find_weights(argument, HUB_ID, FILES[name], scorer=name)
        architecture = f"local-dir:{weights.parent}" if (weights.parent / CONFIG).is_file() else ARCHITECTURE
        advice = f"Expected {FILES[name]} of {HUB_ID}, a {ARCHITECTURE} of open_clip."
        with one_sentence(f"Cannot load {name} from '{weights}'", UserError, advice), quiet():
            encoder = OpenClipEncoder.from_file(architecture, Path(weights), device)
        size = encoder.model.visual.image_size
        encoder.preprocess = Letterbox(size if isinstance(size, int) else size[0], antialias)
        scorer = cls(encoder, name=f"{name}:{argument}" if argument else name)
        scorer.logits_per_unit = encoder.logit_scale  # of the training, which the weights hold
        return scorer
