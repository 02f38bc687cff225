"""A scorer that says that it reads no prompt gives a sample one score under every prompt."""

import numpy as np
import pytest

from diffalign.data.media.clips.clip import Clip
from diffalign.scorers import load_scorer
from diffalign.scorers.scorer import reads_prompt
from tests.evaluation.fakes import Redness

RANDOM = np.random.default_rng(0)
SAMPLES = {
    "image": RANDOM.integers(0, 256, (16, 16, 3), dtype=np.uint8),
    "video": Clip(RANDOM.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), 8.0),
    "text": "It was wonderful, and long!",
}
WITHOUT = ["background:red", "flicker", "still_blend", "flow_motion", "frames:background:red", "length", "sentiment",
           "polarity"]  # fmt: skip


@pytest.mark.parametrize("spec", WITHOUT)
def test_the_prompt_changes_nothing(spec):
    scorer = load_scorer(spec)
    assert not reads_prompt(scorer)
    one, other = scorer.score(["", "a terrible red fox"], [SAMPLES[scorer.medium]] * 2).tolist()
    assert one == other


def test_scorers_read_the_prompt_unless_they_say_otherwise():
    assert reads_prompt(load_scorer("background:prompt")) and reads_prompt(Redness())
    assert reads_prompt(load_scorer("frames:background:prompt"))
