"""Scorers of images and texts, and their registry.

    scorer = load_scorer("clip:openai/clip-vit-large-patch14")
    scorer.score(["a fox on a blue background"], [image])          # (1,) float32, higher is better

A name may carry an argument after a colon: a model's folder or hub id, or a colour.
"""

from __future__ import annotations

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.register_row import register_row
from diffalign.scorers.background_colour import Background
from diffalign.scorers.dual_encoder import DualEncoder
from diffalign.scorers.label_hit import LabelHit
from diffalign.scorers.pickscore import PickScore
from diffalign.scorers.polarity import Polarity
from diffalign.scorers.reward_model import Reward
from diffalign.scorers.scorer import Scorer, ScorerEntry
from diffalign.scorers.text_length import Length
from diffalign.scorers.vader_sentiment import Sentiment

__all__ = ["SCORERS", "Scorer", "ScorerEntry", "load_scorer", "register_scorer", "scorer_entry"]

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
