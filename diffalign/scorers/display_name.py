"""Names of scorers for reports, charts and cards: as papers write them, and never a path.

    pickscore                                  PickScore
    hpsv2.1:/data/HPS_v2.1_compressed.pt       HPSv2.1
    clip                                       CLIP L/14
    clip:assets/emoji/heldout                  held-out CLIP
    clip:models/judge                          CLIP judge
    label_hit:assets/emoji/recogniser          label_hit:recogniser

The weights' hash stands beside a name wherever numbers are kept, so a name needs not tell two files of one scorer apart
unless both occur.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from diffalign.sharing.public_name import public_name

FRAMES = "frames"
"""The scorer whose argument is another scorer."""
PUBLISHED = {
    "pickscore": "PickScore",
    "hpsv2": "HPSv2",
    "hpsv2.1": "HPSv2.1",
    "hpsv3": "HPSv3",
    "image_reward": "ImageReward",
    "mps": "MPS",
    "aesthetic": "LAION aesthetic",
    "video_reward": "VideoReward",
    "video_score": "VideoScore",
}
"""Scorers whose weights are one published file: a path only says where it lies."""
FAMILIES = {"clip": "CLIP", "clip_iqa": "CLIP-IQA", "xclip": "X-CLIP", "vqa": "VQAScore"}
"""Scorers whose argument chooses among many models."""
_KNOWN = {
    "clip": "CLIP L/14",
    "clip:openai/clip-vit-large-patch14": "CLIP L/14",
    "clip:open_clip:ViT-L-14/openai": "CLIP L/14",
    "clip:laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "CLIP H/14",
    "clip:open_clip:ViT-H-14/laion2b_s32b_b79k": "CLIP H/14",
}
_HELD_OUT = ("heldout", "held-out", "held_out")


def display_name(name: str) -> str:
    """Returns the name of a scorer as papers write it; others, such as a hub's, stay as they are."""
    return _title(_parts(name))


def display_names(names: Iterable[str]) -> dict[str, str]:
    """Returns the display name of each scorer; those of equal names get as many parts of their paths as tell them
    apart, or stay as they are.
    """
    short = {name: display_name(name) for name in names}
    found = dict(short)
    for name in short:
        alike = [other for other in short if short[other] == short[name]]
        if len(alike) > 1:
            lengths = range(1, len(Path(name).parts) + 1)
            tried = ([_title(_parts(other, length), apart=True) for other in alike] for length in lengths)
            distinct = next((titles for titles in tried if titles.count(titles[alike.index(name)]) == 1), alike)
            found[name] = distinct[alike.index(name)]
    taken = list(found.values())
    return {name: shown if taken.count(shown) == 1 else name for name, shown in found.items()}


def _parts(name: str, length: int = 1) -> list[tuple[str, bool]]:
    """Returns what stands between the colons of a name, each with whether it was a path, of which the last ``length``
    parts are left.
    """
    return [_shortened(part, length) for part in name.split(":")]


def _shortened(part: str, length: int) -> tuple[str, bool]:
    architecture, _, file = part.partition("/")
    if architecture and _is_path(file) and not _is_path(part):  # open_clip's ARCHITECTURE/FILE
        return f"{architecture}/{_shortened(file, length)[0]}", True
    if not _is_path(part):
        return part, False
    last = Path(part).parts[-length:]
    return public_name(part) if length == 1 and os.path.exists(part) else "/".join(last), True


def _title(parts: list[tuple[str, bool]], *, apart: bool = False) -> str:
    """Returns the display name of shortened parts; ``apart`` keeps the path that is left out of published scorers."""
    (kind, _), *arguments = parts
    whole = ":".join(text for text, _ in parts)
    if kind == FRAMES and arguments:
        inner = _title(arguments, apart=apart)
        return whole if f"{FRAMES}:{inner}" == whole else f"frame-mean {inner}"
    if whole in _KNOWN:
        return _KNOWN[whole]
    if kind in PUBLISHED:
        kept = [text for text, is_path in arguments if apart or not is_path]
        return " ".join([PUBLISHED[kind], *kept])
    if kind not in FAMILIES:
        return whole
    kept = [text for text, _ in arguments if text != "open_clip"]
    if not apart and len(kept) == 1 and kept[0] in _HELD_OUT:
        return f"held-out {FAMILIES[kind]}"
    return " ".join([FAMILIES[kind], *kept])


def _is_path(part: str) -> bool:
    return os.path.isabs(part) or (os.sep in part and os.path.exists(part))
