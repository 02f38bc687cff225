"""The scorers of images, one row each."""

from __future__ import annotations

from functools import partial

from diffalign.scorers.images.aesthetic import Aesthetic
from diffalign.scorers.images.background_colour import Background
from diffalign.scorers.images.clip_iqa import ClipIqa
from diffalign.scorers.images.dual_encoder import DualEncoder
from diffalign.scorers.images.hpsv2 import HPSv2
from diffalign.scorers.images.hpsv3 import HPSv3
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.images.image_reward import ImageReward
from diffalign.scorers.images.jpeg_size import JpegSize
from diffalign.scorers.images.label_hit import LabelHit
from diffalign.scorers.images.mps import Mps
from diffalign.scorers.images.pickscore import PickScore
from diffalign.scorers.images.text_match import TextMatch
from diffalign.scorers.images.vqa import Vqa
from diffalign.scorers.scorer import ScorerEntry
from diffalign.scorers.user_function import UserFunction

IMAGE_SCORERS: dict[str, ScorerEntry] = {
    "clip": ScorerEntry(
        DualEncoder.load,
        "folder or hub id of a dual encoder (CLIP, SigLIP, ...), or open_clip:ARCHITECTURE/WEIGHTS; OpenAI's CLIP L/14 "
        "without",
        "how well the image fits its prompt: cosine of two embeddings",
    ),
    "pickscore": ScorerEntry(
        PickScore.load,
        "folder of the weights; the published ones without",
        "which image people prefer for a prompt: logit",
    ),
    "hpsv2": ScorerEntry(
        partial(HPSv2.load, name="hpsv2"),
        "file of the weights, or its folder; the published ones without",
        "which image people prefer for a prompt: cosine; tables print 100 times it",
    ),
    "hpsv2.1": ScorerEntry(
        partial(HPSv2.load, name="hpsv2.1"),
        "file of the weights, or its folder; the published ones without",
        "the same, trained on better choices; not comparable with hpsv2",
    ),
    "hpsv3": ScorerEntry(
        HPSv3.load,
        "folder, hub id or file of the weights; the published ones without",
        "which image people prefer for a prompt, by a vision-language model of 7 billion parameters: logit",
    ),
    "image_reward": ScorerEntry(
        ImageReward.load,
        "file of the weights, or its folder; the published ones without",
        "which image people prefer for a prompt: reward in standard deviations",
    ),
    "mps": ScorerEntry(
        Mps.load,
        "file of the weights, after overall, aesthetics, quality or semantic and a colon where not overall",
        "which image people prefer for a prompt, overall or in one aspect: logit",
    ),
    "aesthetic": ScorerEntry(
        Aesthetic.load,
        "file of the head, or its folder, with the encoder in 'clip' beside it; v1:FILE for version 1; the published "
        "version 2 without",
        "how people who rate pictures like the image: points from 1 to 10; reads no prompt",
    ),
    "clip_iqa": ScorerEntry(
        ClipIqa.load,
        "a property (quality, sharpness, ...) or two descriptions A/B, and after a colon an encoder as clip takes it",
        "which of two opposite descriptions the image is closer to: probability; reads no prompt",
    ),
    "jpeg_compressibility": ScorerEntry(
        partial(JpegSize.load, large=False),
        "nothing",
        "how small the image's JPEG file is: kB, negative; reads no prompt",
    ),
    "jpeg_incompressibility": ScorerEntry(
        partial(JpegSize.load, large=True),
        "nothing",
        "how large the image's JPEG file is: kB; reads no prompt",
    ),
    "label_hit": ScorerEntry(
        LabelHit.load,
        "folder or hub id of an image classifier",
        "whether a classifier recognises the subject of the prompt: probability of that class",
    ),
    "ocr": ScorerEntry(
        TextMatch.load,
        "a reader of your own, FILE.py:FUNCTION or MODULE:FUNCTION, from an image to its text; RapidOCR without",
        "whether the text in the prompt's quotes stands in the image: share of its characters",
        extra="ocr",
    ),
    "vqa": ScorerEntry(
        Vqa.load,
        "folder or hub id of a model that answers questions about images (LLaVA, Qwen-VL, BLIP-2, ...)",
        "whether the image shows the prompt: probability that the model answers yes",
    ),
    "function": ScorerEntry(
        partial(UserFunction.load, prepare=as_rgb, medium="image", name="function"),
        "FILE.py:FUNCTION or MODULE:FUNCTION, which takes prompts and RGB images",
        "a function of your own: one number for each image",
    ),
    "background": ScorerEntry(
        Background.load,
        "a colour, or 'prompt' for the colour that each prompt names",
        "share of the image's border in a colour: a preference that is easy to see",
    ),
}
