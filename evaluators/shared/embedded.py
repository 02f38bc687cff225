"""Answers on images of the embedded model, whose truth can be read off: what a detector and a VQA model are elsewhere.

detect      objects on the background by their pixels, each named by the recogniser of subjects
answer      yes or no to the questions of assets/emoji/prompts/questions.csv
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np

from diffalign.quiet import quiet
from diffalign.scorers.images.dual_encoder import DualEncoder
from diffalign.scorers.images.image_input import as_rgb
from evaluators.shared.options import ASSETS
from pipelines.embedded import measure, scenes

RECOGNISER = ASSETS / "scorers" / "recogniser"
_NUMBERS = {word: number for number, word in scenes.COUNTS.items()}
_NOUNS = {noun: subject.word for subject in scenes.SUBJECTS for noun in (subject.word, subject.plural)}


def detect(path: Path) -> dict[str, list[tuple[tuple[float, float, float, float], float]]]:
    """Returns the objects of an image by class: boxes (x0, y0, x1, y1) in pixels, each with its confidence.

    All objects of an embedded image are of one subject, so the recogniser looks at the whole image.
    """
    pixels = _pixels(str(path))
    boxes = [(float(x0), float(y0), float(x1), float(y1)) for y0, y1, x0, x1 in measure.object_boxes(pixels)]
    return {_subject(str(path)): [(box, 1.0) for box in boxes]} if boxes else {}


def answer(path: Path, question: str) -> str:
    """Returns ``"yes"`` or ``"no"``. Raises ValueError for a question of another form."""
    found = detect(path)
    if match := re.fullmatch(r"Is the background (\w+)\?", question):
        return _word(scenes.nearest_background(_pixels(str(path))) == match[1])
    if match := re.fullmatch(r"(?:Is|Are) there exactly (\w+) (\w+)\?", question):
        return _word(len(found.get(_NOUNS[match[2]], ())) == _NUMBERS[match[1]])
    if match := re.fullmatch(r"Is there an? (\w+)\?", question):
        return _word(bool(found.get(_NOUNS[match[1]])))
    if match := re.fullmatch(r"(?:Is|Are) the \w+ ((?:on|at|in) the \w+)\?", question):
        return _word(scenes.PLACES[measure.place_of(measure.object_boxes(_pixels(str(path))))] == match[1])
    raise ValueError(f"no question of the embedded images: {question!r}")


def _word(right: bool) -> str:
    return "yes" if right else "no"


@lru_cache(maxsize=64)
def _pixels(path: str) -> np.ndarray:
    return np.array(as_rgb(path))


@lru_cache(maxsize=64)
def _subject(path: str) -> str:
    with quiet():
        return measure.recognise(RECOGNISER, _pixels(path)[None])[0]


def clip_features(frames: np.ndarray, fps: float) -> np.ndarray:
    """Returns the features of a clip: the mean over its frames of the held-out judge's embeddings, and of how they
    change from frame to frame. They stand in for a video network's; their distance is no FVD of any paper.
    """
    features = _encoder().image_features(list(frames)).numpy().astype(np.float64)
    return np.concatenate([features.mean(0), np.abs(np.diff(features, axis=0)).mean(0)])


@lru_cache(maxsize=1)
def _encoder() -> DualEncoder:
    return DualEncoder.load(str(ASSETS / "scorers" / "heldout"))
