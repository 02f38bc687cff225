"""Fake policies of plain colours or words, and fake judges, with known results of comparisons."""

import math
from contextlib import nullcontext

import numpy as np
import torch
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.images.image_input import as_rgb


class PlainPolicy:
    """The aligned model's images are redder than its reference's by ``shift``; seeds differ in the blue channel."""

    medium = "image"

    def __init__(self, shift=40):
        self.shift, self.calls, self.drawn = shift, [], 0

    def fingerprint(self):
        return "plain"

    def state(self):
        return {"shift": torch.tensor([float(self.shift)])}

    def sampling(self):
        return nullcontext()

    def sample(self, prompts, seeds, *, reference=False, **settings):
        self.calls.append((list(prompts), list(seeds), reference, settings))
        self.drawn += len(prompts)
        red = 100 + (0 if reference else self.shift)
        return [Image.new("RGB", (16, 16), (red, len(p), 10 * s)) for p, s in zip(prompts, seeds, strict=True)]


class Redness:
    """Mean of the red channel in [0, 1]."""

    name, unit, range, license, paper, weights, medium = "redness", "share", (0.0, 1.0), "none", "none", "", "image"

    def __init__(self, sign=1.0, nan_at=()):
        self.sign, self.nan_at = sign, nan_at

    def score(self, prompts, images):
        values = [self.sign * float(np.asarray(as_rgb(x))[..., 0].mean()) / 255 for x in images]
        return torch.tensor([np.nan if i in self.nan_at else v for i, v in enumerate(values)])


class Counted(Redness):
    """Counts its images; raises KeyboardInterrupt where it should score more than ``until``."""

    def __init__(self, until=math.inf, sign=1.0, weights=""):
        super().__init__(sign)
        self.scored, self.until, self.weights = 0, until, weights

    def score(self, prompts, images):
        self.scored += len(images)
        if self.scored > self.until:
            raise KeyboardInterrupt
        return super().score(prompts, images)


class RedHit(Redness):
    """A hit is an image with a red channel above 120."""

    def scores_and_hits(self, prompts, images):
        scores = self.score(prompts, images)
        return scores, scores > 120 / 255


class TalkingPolicy(PlainPolicy):
    """The aligned model's texts have ``shift`` more "good" than its reference's; they end with the seed."""

    medium = "text"

    def sample(self, prompts, seeds, *, reference=False, **settings):
        self.calls.append((list(prompts), list(seeds), reference, settings))
        self.drawn += len(prompts)
        more = 0 if reference else self.shift
        return [f"{p}\r\nis {'good ' * (1 + more)}<{s}>" for p, s in zip(prompts, seeds, strict=True)]


class Praise:
    """Number of "good" in a text."""

    name, unit, range, license, paper, weights, medium = "praise", "words", (0.0, 9e9), "none", "none", "", "text"

    def __init__(self, sign=1.0):
        self.sign = sign

    def score(self, prompts, texts):
        return torch.tensor([self.sign * text.split().count("good") for text in texts])


class MovingPolicy(PlainPolicy):
    """A white square on a plain ground moves right, in the aligned model ``shift`` pixels a frame and in its reference
    not at all; its height depends on prompt and seed.
    """

    medium = "video"

    def __init__(self, shift=2, frames=8, fps=8.0, size=32):
        super().__init__(shift)
        self.frames, self.fps, self.size = frames, fps, size

    def sample(self, prompts, seeds, *, reference=False, **settings):
        self.calls.append((list(prompts), list(seeds), reference, settings))
        self.drawn += len(prompts)
        return [self.clip(len(p) + s, 0 if reference else self.shift) for p, s in zip(prompts, seeds, strict=True)]

    def clip(self, number, shift):
        frames = np.full((self.frames, self.size, self.size, 3), (20, 40, 60), np.uint8)
        top = number % (self.size - 8)
        for k, frame in enumerate(frames):
            frame[top : top + 8, k * shift : k * shift + 8] = 255
        return Clip(frames, self.fps)

    def format_prompt(self, prompt, **settings):
        return prompt


class Motion(Redness):
    """Mean change of a pixel from frame to frame, in [0, 1]."""

    name, unit, medium = "motion", "share", "video"

    def score(self, prompts, clips):
        frames = [as_clip(clip).frames.astype(float) for clip in clips]
        return torch.tensor([self.sign * float(np.abs(np.diff(f, axis=0)).mean()) / 255 for f in frames])
