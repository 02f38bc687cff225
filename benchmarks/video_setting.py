"""Setting of the video benchmark: the image benchmark's model with a random motion adapter, and pairs of random clips.

128 px (latents 16 x 16), a LoRA of rank 16 on the attention of the motion modules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import image_setting
from benchmarks.raw_video import BETA

SIDE = 128
FPS = 8.0
RANK = 16


def make_motion(folder: Path) -> None:
    """Writes a motion adapter with random weights for the model of `image_setting`."""
    from diffusers import MotionAdapter

    torch.manual_seed(1)
    MotionAdapter(
        block_out_channels=(64, 128, 256, 256),
        motion_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_max_seq_length=64,
        use_motion_mid_block=True,
    ).save_pretrained(folder)


def make_clips(folder: Path, count: int, frames: int) -> None:
    """Writes pairs of clips, each a smooth random image that moves sideways."""
    from diffalign.data.media.clips.clip import Clip
    from diffalign.data.media.clips.write_clip import write_clip

    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        row = {"prompt": f"a flat drawing of {number} things"}
        for role in ("chosen", "rejected"):
            row[f"{role}_file_name"] = f"{number}-{role}.webp"
            small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            still = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            moving = np.stack([np.roll(still, 2 * frame, axis=1) for frame in range(frames)])
            write_clip(folder / row[f"{role}_file_name"], Clip(moving, FPS))
        rows.append(row)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_recipe(root: Path, data: Path, frames: int, *, cache: Path, **model: Any) -> Any:
    """Returns a recipe with ``root/model`` and ``root/motion``, one pair a step.

    Args:
        root: Folder of the model and the adapter.
        data: Folder of :func:`make_clips`.
        frames: Frames of a clip.
        cache: Folder of the encoded clips.
        model: Further values of the model's section.
    """
    values = {
        "kind": "video",
        "motion": str(root / "motion"),
        "resolution": SIDE,
        "clip": {"frames": frames, "fps": FPS},
        "adapter": {"rank": RANK, "targets": "motion"},
        "cache": str(cache),
        **model,
    }
    loss = {"name": "logistic", "beta": BETA}
    recipe = image_setting.make_recipe(root, 1, model=values, train={"mixed_precision": "no"}, loss=loss)
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": str(data)})})
