"""Small data sets in the published formats, made on the fly."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def image(seed: int = 0, size: tuple[int, int] = (16, 16), format: str = "PNG") -> bytes:
    """An encoded image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), format)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def vote(number: int, label: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    """A row with all columns of Pick-a-Pic v2."""
    row = {
        "are_different": True,
        "best_image_uid": f"uid-{number}-0",
        "caption": f"an image of thing {number}",
        "has_label": label is not None,
        "image_0_uid": f"uid-{number}-0",
        "image_0_url": "",
        "image_1_uid": f"uid-{number}-1",
        "image_1_url": "",
        "jpg_0": image(2 * number, format="JPEG"),
        "jpg_1": image(2 * number + 1, format="JPEG"),
        "label_0": label,
        "label_1": None if label is None else 1.0 - label,
        "model_0": "dreamlike-art/dreamlike-photoreal-2.0",
        "model_1": "stabilityai/stable-diffusion-xl",
        "ranking_id": 1000 + number,
        "user_id": 7,
        "num_example_per_prompt": 1,
        "__index_level_0__": number,
    }
    return {**row, **changes}


def parquet(path: Path, rows: list[dict[str, Any]], row_group_size: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair_folder(folder: Path, count: int = 3, **columns: Any) -> Path:
    """A folder of images with a metadata file."""
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        for role, seed in (("chosen", 2 * number), ("rejected", 2 * number + 1)):
            (folder / f"{role}-{number}.png").write_bytes(image(seed))
        names = {f"{role}_file_name": f"{role}-{number}.png" for role in ("chosen", "rejected")}
        rows.append({**names, "prompt": f"thing {number}", **columns})
    jsonl(folder / "metadata.jsonl", rows)
    return folder


def turns(*contents: str, first: str = "user") -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    return [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]


def hh_rlhf() -> list[dict[str, Any]]:
    """Rows as HH-RLHF has them: transcripts that part at the last answer, or before it."""
    opening = "\n\nHuman: How do I bake bread?\n\nAssistant: With flour.\n\nHuman: And then?\n\nAssistant:"
    return [
        {"chosen": f"{opening} Knead it.\n\nLet it rest.", "rejected": f"{opening} I don't know."},
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: A joke?\n\nAssistant: Knock knock.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: What?\n\nHuman: Nothing.\n\nAssistant: Fine.",
        },
    ]


def ultrafeedback(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row with all columns of UltraFeedback binarized: the answers repeat the prompt."""
    prompt = f"What is {number} + {number}?"
    good, bad = turns(prompt, f"It is {2 * number}."), turns(prompt, f"It is {2 * number + 1}, I guess.")
    row = {"prompt": prompt, "prompt_id": f"{number:064x}", "chosen": good, "rejected": bad, "messages": good}
    return {**row, "score_chosen": 8.5, "score_rejected": 3.0, **changes}
