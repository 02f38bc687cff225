"""Scorers of images, clips and texts, and their registry.

    scorer = load_scorer("clip:openai/clip-vit-large-patch14")
    scorer.score(["a fox on a blue background"], [image])          # (1,) float32, higher is better

A name may carry an argument after a colon: a model's folder or hub id, a colour, or another scorer.
"""

from diffalign.scorers.clips.rows import MOTION, STILLNESS
from diffalign.scorers.registry import SCORERS, check_companions, load_scorer, register_scorer, scorer_entry
from diffalign.scorers.scorer import Scorer, ScorerEntry

__all__ = [
    "MOTION",
    "SCORERS",
    "STILLNESS",
    "Scorer",
    "ScorerEntry",
    "check_companions",
    "load_scorer",
    "register_scorer",
    "scorer_entry",
]
