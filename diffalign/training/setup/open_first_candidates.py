"""Decodes the first candidates as training will, so that what is wrong with them is said before a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.find_problem import decode_candidate
from diffalign.data.records.pair import Media, Pair
from diffalign.errors import DataError
from diffalign.policies.diffusion.encoding.encode_media import advice_on_bad_media

OPENED = 8
"""Pairs whose candidates are decoded: a fault of a whole data set is in these, and each is decoded again later."""
APART = 1.1
"""Ratio of the speeds of a pair's clips from which the model could learn the speed."""


def open_first_candidates(pairs: Sequence[Pair], rule: FrameRule | None) -> list[str]:
    """Decodes the images or clips of the first pairs; texts and tensors pass.

    Args:
        pairs: The pairs to train on.
        rule: Which frames of clips are taken; None for images.

    Returns:
        A warning where a rule shows the clips of a pair at different speeds, as their lengths differ; else nothing.

    Raises:
        DataError: A candidate cannot be read, or a clip is too short for the rule; the message names pair and file.
    """
    uneven: list[str] = []
    for pair in islice(pairs, OPENED):
        rates = []
        for answer in pair.answers.values():
            with advice_on_bad_media():
                opened = _open(answer.candidate, rule, pair)
            if isinstance(opened, Clip):
                rates.append(opened.fps)
        if rates and max(rates) > APART * min(rates):
            shown = " and ".join(f"{rate:.3g}" for rate in rates)
            uneven.append(f"{pair.source or pair.id} ({shown} frames per second)")
    if not uneven or rule is None:
        return []
    others = f", and {len(uneven) - 1} more of the first {OPENED} pairs" if uneven[1:] else ""
    return [
        f"the clips of a pair are of different lengths, and the rule {rule.kind} shows them at different speeds, which"
        f" the model would learn: {uneven[0]}{others}. For one speed type: --set model.clip.rule=rate"
    ]


def _open(media: Media, rule: FrameRule | None, pair: Pair) -> object:
    try:
        return decode_candidate(media, rule)
    except DataError as error:
        raise DataError(f"{pair.source or pair.id}: {error}") from error
