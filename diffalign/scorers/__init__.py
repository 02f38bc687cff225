"""Scorers of images, clips and texts, and their registry.

    scorer = load_scorer("clip:openai/clip-vit-large-patch14")
    scorer.score(["a fox on a blue background"], [image])          # (1,) float32, higher is better

A name may carry an argument after a colon: a model's folder or hub id, a colour, or another scorer.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.register_row import register_row
from diffalign.scorers.background_colour import Background
from diffalign.scorers.clips.flicker import Flicker
from diffalign.scorers.clips.flow_dynamic import FlowDynamic
from diffalign.scorers.clips.flow_motion import FlowMotion
from diffalign.scorers.clips.flow_smoothness import FlowSmoothness
from diffalign.scorers.clips.frame_mean import FrameMean
from diffalign.scorers.clips.neighbour_consistency import NeighbourConsistency
from diffalign.scorers.clips.still_blend import StillBlend
from diffalign.scorers.clips.x_clip import XClip
from diffalign.scorers.dual_encoder import DualEncoder
from diffalign.scorers.label_hit import LabelHit
from diffalign.scorers.pickscore import PickScore
from diffalign.scorers.polarity import Polarity
from diffalign.scorers.reward_model import Reward
from diffalign.scorers.scorer import Scorer, ScorerEntry
from diffalign.scorers.text_length import Length
from diffalign.scorers.vader_sentiment import Sentiment

__all__ = ["SCORERS", "Scorer", "ScorerEntry", "check_companions", "load_scorer", "register_scorer", "scorer_entry"]

MOTION = ("flow_dynamic", "flow_motion")
"""Scorers that rise with motion."""
STILLNESS = ("flicker", "still_blend", "neighbour_consistency")
"""Scorers that are highest for a clip that stands still."""

SCORERS: dict[str, ScorerEntry] = {
    "clip": ScorerEntry(
        DualEncoder.load,
        "folder or hub id of a dual encoder (CLIP, SigLIP, ...); OpenAI's CLIP L/14 without",
        "how well the image fits its prompt: cosine of two embeddings",
    ),
    "pickscore": ScorerEntry(
        PickScore.load,
        "folder of the weights; the published ones without",
        "which image people prefer for a prompt: logit",
    ),
    "label_hit": ScorerEntry(
        LabelHit.load,
        "folder or hub id of an image classifier",
        "whether a classifier recognises the subject of the prompt: probability of that class",
    ),
    "background": ScorerEntry(
        Background.load,
        "a colour, or 'prompt' for the colour that each prompt names",
        "share of the image's border in a colour: a preference that is easy to see",
    ),
    "flicker": ScorerEntry(
        Flicker.load,
        "nothing",
        "how little neighbouring frames differ (VBench's temporal flickering): 1 for a still clip",
        medium="video",
        beside=MOTION,
    ),
    "still_blend": ScorerEntry(
        StillBlend.load,
        "nothing",
        "how well a frame equals the mean of its neighbours: 1 for a still clip",
        medium="video",
        beside=MOTION,
    ),
    "flow_smoothness": ScorerEntry(
        FlowSmoothness.load,
        "nothing",
        "how well a frame lies between its neighbours, moved by optical flow: 1 for steady motion",
        medium="video",
        extra="flow",
    ),
    "flow_dynamic": ScorerEntry(
        FlowDynamic.load,
        "dis or farneback, the method of optical flow; dis without",
        "whether the clip moves: 1 or 0",
        medium="video",
        extra="flow",
    ),
    "flow_motion": ScorerEntry(
        FlowMotion.load,
        "dis or farneback, the method of optical flow; dis without",
        "how far the fastest parts of the clip move: share of the short side per step",
        medium="video",
        extra="flow",
    ),
    "neighbour_consistency": ScorerEntry(
        NeighbourConsistency.load,
        "folder or hub id of a dual encoder (CLIP, SigLIP, ...)",
        "how alike an encoder finds the frames of a clip: mean cosine, 1 for a still clip",
        medium="video",
    ),
    "frames": ScorerEntry(
        lambda argument, device: FrameMean.load(argument, device, load_scorer),
        "a scorer of images with its own argument, as in frames:clip:FOLDER",
        "a scorer of images on every frame, averaged: blind to the frames' order",
        medium="video",
    ),
    "xclip": ScorerEntry(
        XClip.load,
        "folder or hub id of an X-CLIP; its base model without",
        "how well the clip fits its prompt, by a dual encoder of videos: cosine",
        medium="video",
    ),
    "sentiment": ScorerEntry(
        Sentiment.load,
        "nothing",
        "how friendly the text is, by VADER's lexicon and rules: compound in [-1, 1]",
        medium="text",
        extra="text",
    ),
    "polarity": ScorerEntry(
        Polarity.load,
        "nothing",
        "how friendly the text's words are, by another lexicon (TextBlob's): mean in [-1, 1]",
        medium="text",
        extra="text",
    ),
    "length": ScorerEntry(
        Length.load,
        "folder or hub id of a tokenizer; words without",
        "how long the text is: a preference that is easy to see",
        medium="text",
    ),
    "reward": ScorerEntry(
        Reward.load,
        "folder or hub id of a sequence classifier with one label",
        "the score of a reward model: logit",
        medium="text",
    ),
}


_BUILT_IN = frozenset(SCORERS)


def register_scorer(name: str, entry: ScorerEntry, *, replace: bool = False) -> ScorerEntry:
    """Adds a scorer from outside the package, for `diffalign score`, `evaluate.scorers` and every other place.

    Args:
        name: Its name, before the colon.
        entry: How it is loaded, and what it takes and scores.
        replace: Whether it takes the place of a scorer of that name that was registered before.

    Returns:
        The entry.

    Raises:
        ConfigError: The name is taken, or the entry is none.
    """
    if not isinstance(entry, ScorerEntry):
        raise ConfigError(f"a scorer is registered as an entry, diffalign.ScorerEntry(load, ...); got {entry!r}.")
    register_row("scorer", SCORERS, name, entry, built_in=_BUILT_IN, replace=replace)
    return entry


def load_scorer(spec: str, device: str = "cpu") -> Scorer:
    """Loads ``"name"`` or ``"name:argument"``.

    Args:
        spec: A name of :data:`SCORERS`, with an optional argument after a colon.
        device: The device of a scorer with weights.

    Raises:
        UserError: The name is unknown, or the scorer does not accept the argument.
    """
    return scorer_entry(spec).load(spec.partition(":")[2], device)


def scorer_entry(spec: str) -> ScorerEntry:
    """Returns the entry of ``"name"`` or ``"name:argument"``; loads nothing. Raises UserError for an unknown name."""
    name = spec.partition(":")[0]
    if name not in SCORERS:
        raise UserError(
            f"There is no scorer '{name}'.{near_miss(name, SCORERS)} Known: "
            + "; ".join(f"{name} ({entry.argument})" for name, entry in SCORERS.items())
            + "."
        )
    return SCORERS[name]


def check_companions(specs: Sequence[str]) -> None:
    """Checks that no scorer is used alone that rewards a defect: `flicker` needs a measure of motion beside it.

    Args:
        specs: All scorers that are used together, as :func:`load_scorer` takes them.

    Raises:
        UserError: A scorer is unknown, or lacks its companion.
    """
    names = {spec.partition(":")[0] for spec in specs}
    for spec in specs:
        beside = scorer_entry(spec).beside
        if beside and not names & set(beside):
            raise UserError(
                f"{spec} alone prefers clips that stand still: use it with {' or '.join(beside)}. Add: --scorer "
                f"{beside[0]}"
            )
