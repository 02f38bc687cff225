"""Scenes of the embedded model, with their prompts and images, and the combinations that are held out.

A *scene* is a subject, its count, and three attributes that a prompt may omit: style, background and place.
`Scene.prompt` and `parse` are inverse to each other; `render` draws the omitted attributes at random.

A *combination* is (subject, background, count). `held_out` selects about 12 % of them by a hash. Their images are never
rendered for any training, so prompts for them measure composition instead of memory.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from diffalign.scorers.images.background_colour import PALETTE

SIDE = 64  # pixels


@dataclass(frozen=True)
class Subject:
    """An object to draw: its nouns and its name in the icon sets."""

    word: str
    plural: str
    icon: str

    @property
    def article(self) -> str:
        """ "an" before a vowel; the list of subjects holds no exception ("umbrella" is not one)."""
        return "an" if self.word[0] in "aeiou" else "a"


def _subject(word: str, plural: str = "", icon: str = "") -> Subject:
    return Subject(word, plural or word + "s", icon or word)


SUBJECTS = (
    _subject("fox", "foxes"),
    _subject("panda"),
    _subject("frog"),
    _subject("penguin"),
    _subject("octopus", "octopuses"),
    _subject("fish", "fish", "tropical-fish"),
    _subject("turtle"),
    _subject("ladybug", icon="lady-beetle"),
    _subject("dolphin"),
    _subject("owl"),
    _subject("sunflower"),
    _subject("cactus", "cactuses"),
    _subject("mushroom"),
    _subject("apple", icon="red-apple"),
    _subject("banana"),
    _subject("watermelon"),
    _subject("pineapple"),
    _subject("strawberry", "strawberries"),
    _subject("carrot"),
    _subject("eggplant"),
    _subject("pizza"),
    _subject("hamburger"),
    _subject("doughnut"),
    _subject("balloon"),
    _subject("rocket"),
    _subject("umbrella"),
    _subject("crown"),
    _subject("snowman", "snowmen"),
)
BY_WORD = {subject.word: subject for subject in SUBJECTS}
STYLES = ("noto", "flat", "glossy")
BACKGROUNDS = PALETTE  # so that the scorer of backgrounds and the images mean the same colours
PLACES = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "center": "in the center",
}
COUNTS = {1: "one", 2: "two", 3: "three"}
PLACES_OF_COUNT = {1: tuple(PLACES), 2: ("top", "bottom", "center"), 3: ()}  # three of them fill the image
COUNT_WEIGHTS = (0.5, 0.27, 0.23)


@dataclass(frozen=True)
class Scene:
    """The attributes of a prompt or an image; `None` if omitted. `drawing` selects one of two forms of sentence."""

    subject: str
    count: int = 1
    style: str | None = None
    background: str | None = None
    place: str | None = None
    drawing: bool = True

    @property
    def prompt(self) -> str:
        """ "a flat drawing of a fox on a blue background, on the left" or "three glossy foxes on a blue background"."""
        subject = BY_WORD[self.subject]
        noun = subject.word if self.count == 1 else subject.plural
        if self.drawing:
            number = subject.article if self.count == 1 else COUNTS[self.count]
            text = f"a {self.style} drawing" if self.style else "a drawing"
            text += f" of {number} {noun}"
        else:
            text = f"{COUNTS[self.count]} {self.style} {noun}" if self.style else f"{COUNTS[self.count]} {noun}"
        if self.background:
            text += f" on a {self.background} background"
        return text + (f", {PLACES[self.place]}" if self.place else "")

    @property
    def combination(self) -> tuple[str, str | None, int]:
        """The attributes that decide the split: (subject, background, count)."""
        return self.subject, self.background, self.count


_PATTERN = re.compile(
    rf"^(?:a (?:(?P<style>{'|'.join(STYLES)}) )?(?P<drawing>drawing) of )?"
    rf"(?P<number>an?|one|two|three) (?:(?P<other>{'|'.join(STYLES)}) )?(?P<noun>[a-z]+)"
    rf"(?: on a (?P<background>{'|'.join(BACKGROUNDS)}) background)?"
    rf"(?:, (?P<place>{'|'.join(PLACES.values())}))?$"
)


def parse(prompt: str) -> Scene:
    """Returns the scene of a prompt; raises `ValueError` for a sentence outside the grammar."""
    match = _PATTERN.match(prompt)
    if match is None:
        raise ValueError(f"not a sentence of the grammar: {prompt!r}")
    count = {"two": 2, "three": 3}.get(match["number"], 1)
    words = {subject.word if count == 1 else subject.plural: subject.word for subject in SUBJECTS}
    place = next((name for name, phrase in PLACES.items() if phrase == match["place"]), None)
    if match["noun"] not in words:
        raise ValueError(f"no such subject: {match['noun']!r} in {prompt!r}")
    scene = Scene(
        words[match["noun"]],
        count,
        match["style"] or match["other"],
        match["background"],
        place,
        bool(match["drawing"]),
    )
    if scene.prompt != prompt:
        raise ValueError(f"not a sentence of the grammar: {prompt!r} (nearest: {scene.prompt!r})")
    return scene


def vocabulary() -> list[str]:
    """Returns every word of the grammar, sorted; each becomes one token."""
    words = {"a", "an", "of", "on", "drawing", "background", *COUNTS.values(), *STYLES, *BACKGROUNDS}
    words |= {word for phrase in PLACES.values() for word in phrase.split()}
    words |= {word for subject in SUBJECTS for word in (subject.word, subject.plural)}
    return sorted(words)


def held_out(subject: str, background: str | None, count: int) -> bool:
    """Returns whether this combination is held out for measurements."""
    digest = hashlib.sha256(f"{subject}|{background}|{count}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < 12


def draw(rng: np.random.Generator, *, holdout: bool = False) -> Scene:
    """Returns a random scene with all attributes, from the training or the held-out combinations."""
    while True:
        subject = SUBJECTS[rng.integers(len(SUBJECTS))].word
        count = int(rng.choice(3, p=COUNT_WEIGHTS)) + 1
        background = str(rng.choice(list(BACKGROUNDS)))
        if held_out(subject, background, count) == holdout:
            break
    places = PLACES_OF_COUNT[count]
    place = str(rng.choice(places)) if places else None
    return Scene(subject, count, str(rng.choice(STYLES)), background, place, bool(rng.random() < 0.6))


def unsay(scene: Scene, rng: np.random.Generator, share: float = 0.3) -> Scene:
    """Returns the scene of a prompt that omits style, background and place, each with probability `share`."""
    omitted = rng.random(3) < share
    style, background, place = (
        None if omit else said for omit, said in zip(omitted, (scene.style, scene.background, scene.place), strict=True)
    )
    return replace(scene, style=style, background=background, place=place)


def _corners(scene: Scene, rng: np.random.Generator) -> tuple[int, list[tuple[int, int]]]:
    """Returns the size of the sprites and the upper left corner of each."""
    if scene.count == 1:
        size = int(rng.choice((40, 43, 46)))
        middle, far = (SIDE - size) // 2, SIDE - size - 1
        x = {"left": 1, "right": far}.get(scene.place or "", middle)
        y = {"top": 1, "bottom": far}.get(scene.place or "", middle)
        return size, [(x, y)]
    if scene.count == 2:
        y = {"top": 2, "bottom": SIDE - 32}.get(scene.place or "", (SIDE - 30) // 2)
        return 30, [(1, y), (33, y)]
    if rng.random() < 0.5:
        return 27, [(3, 3), (34, 3), (18, 34)]
    return 27, [(18, 3), (3, 34), (34, 34)]


class Sprites(Protocol):
    """Rasterised icons: ``sprites[style, icon, size]`` is ``(size, size, 4)`` uint8 with straight alpha."""

    @property
    def sprites(self) -> Mapping[tuple[str, str, int], np.ndarray]:
        """The icons."""


def render(scene: Scene, art: Sprites, rng: np.random.Generator) -> np.ndarray:
    """Returns the image of a scene as ``(64, 64, 3)`` uint8; omitted attributes are drawn at random."""
    if scene.place is None and scene.count < 3:
        scene = replace(scene, place=str(rng.choice(PLACES_OF_COUNT[scene.count])))
    style = scene.style or str(rng.choice(STYLES))
    colour = np.array(BACKGROUNDS[scene.background or str(rng.choice(list(BACKGROUNDS)))], np.float32)
    image = np.empty((SIDE, SIDE, 3), np.float32)
    image[:] = np.clip(colour + rng.uniform(-5, 5, 3), 0, 255)
    size, corners = _corners(scene, rng)
    sprite = art.sprites[style, BY_WORD[scene.subject].icon, size].astype(np.float32)
    alpha = sprite[..., 3:] / 255
    for x, y in corners:
        x, y = (int(np.clip(v + rng.integers(-1, 2), 0, SIDE - size)) for v in (x, y))
        patch = image[y : y + size, x : x + size]
        patch[:] = alpha * sprite[..., :3] + (1 - alpha) * patch
    return image.round().astype(np.uint8)


def nearest_background(image: np.ndarray) -> str:
    """Returns the named colour nearest to the median colour of the image's rim, which subjects touch but never fill."""
    rim = np.concatenate(
        [
            image[:2].reshape(-1, 3),
            image[-2:].reshape(-1, 3),
            image[:, :2].reshape(-1, 3),
            image[:, -2:].reshape(-1, 3),
        ]
    )
    median = np.median(rim.astype(np.float32), axis=0)
    return min(BACKGROUNDS, key=lambda name: float(((median - BACKGROUNDS[name]) ** 2).sum()))
