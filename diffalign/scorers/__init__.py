"""Scorers of images, clips and texts, and their registry.

    scorer = load_scorer("clip:openai/clip-vit-large-patch14")
    scorer.score(["a fox on a blue background"], [image])          # (1,) float32, higher is better
    scorer.compare(prompts, images, others)                        # (B,) probability that the first one wins

A name may carry an argument after a colon: a model's folder or hub id, a colour, or another scorer.
"""

from diffalign.scorers.clips.rows import MOTION, STILLNESS
from diffalign.scorers.compare import ComparesByScore, Judge, compare
from diffalign.scorers.registry import (
    SCORERS,
    check_companions,
    load_scorer,
    register_scorer,
    scorer_entry,
    scorer_medium,
)
from diffalign.scorers.scorer import Scorer, ScorerEntry, SupportsCompare

__all__ = [
    "MOTION",
    "SCORERS",
    "STILLNESS",
    "ComparesByScore",
    "Judge",
    "Scorer",
    "ScorerEntry",
    "SupportsCompare",
    "check_companions",
    "compare",
    "load_scorer",
    "register_scorer",
    "scorer_entry",
    "scorer_medium",
]
