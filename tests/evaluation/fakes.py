"""Fake policies of plain colours or words, and fake judges, with known results of comparisons."""

from contextlib import nullcontext

import numpy as np
import torch
from PIL import Image


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
        values = [self.sign * float(np.asarray(Image.open(x).convert("RGB"))[..., 0].mean()) / 255 for x in images]
        return torch.tensor([np.nan if i in self.nan_at else v for i, v in enumerate(values)])


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
