"""Pictures for prompts x seeds, in a folder that a Hub viewer shows and that a killed run goes on filling.

folder/a-fox-on-a-blue-background-1f0c92ab-s7.png        one per (prompt, seed)
folder/metadata.jsonl                                    {"file_name", "prompt", "seed"} per line
folder/made_by.json                                      model, weights and settings: other ones need another folder
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffalign.errors import DataError, RunError, UserError
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.scorer import state_hash
from diffalign.sharing.atomic import write_atomically


@dataclass(frozen=True)
class Picture:
    """One generated picture on disk."""

    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class Gallery:
    """The pictures of one model.

    Args:
        folder: Where they lie.
        pictures: In the order of prompts, then seeds.
        made_by: What made them, as told by ``made_by.json``; empty for a folder from elsewhere.
    """

    folder: Path
    pictures: tuple[Picture, ...]
    made_by: Mapping[str, Any]


def generate(
    policy: Policy,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    reference: bool = False,
    stride: int = 0,
    batch_size: int = 8,
    progress: Progress | None = None,
    **settings: Any,
) -> Gallery:
    """Makes a picture for each prompt and seed; those that the folder already holds are kept.

    Args:
        policy: What draws: ``policy.sample(prompts, seeds, reference=..., **settings)``.
        prompts: Duplicates are made once.
        seeds: The same for every prompt, and the same for base and aligned: that is what makes comparisons paired.
        folder: Made when missing.
        stride: Added to the seeds with each further prompt. 0 starts all prompts from the same noises;
            ``len(seeds)`` gives each prompt noises of its own, so that no single noise decides a comparison.
        reference: Whether the reference draws instead of the aligned model.
        batch_size: Pictures made at once; they do not depend on it.
        progress: Called as ``progress("pictures", done, total)``.
        settings: Steps, guidance and the like, handed to the policy and noted.

    Raises:
        UserError: No prompt, no seed, or a policy that returns something else than pictures.
        RunError: The folder holds pictures of other weights or settings.
    """
    prompts, seeds = list(dict.fromkeys(prompts)), list(dict.fromkeys(int(seed) for seed in seeds))
    if not prompts or not seeds:
        raise UserError(
            f"There is nothing to generate from {len(prompts)} prompts and {len(seeds)} seeds. "
            "Give at least one of each."
        )
    folder = Path(folder)
    made_by = _made_by(policy, reference, settings)
    _claim(folder, made_by)
    drawn = [(prompt, seed + stride * number) for number, prompt in enumerate(prompts) for seed in seeds]
    pictures = [Picture(folder / _file_name(prompt, seed), prompt, seed) for prompt, seed in drawn]
    missing = [picture for picture in pictures if not picture.path.exists()]
    done = len(pictures) - len(missing)
    with policy.sampling():
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            _draw(policy, part, reference, {"batch": batch_size, **settings})
            done += len(part)
            if progress is not None:
                progress("pictures", done, len(pictures))
    rows = [{"file_name": p.path.name, "prompt": p.prompt, "seed": p.seed} for p in pictures]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(folder / "metadata.jsonl", lambda beside: beside.write_text(text, encoding="utf-8"))
    return Gallery(folder, tuple(pictures), made_by)


def _draw(policy: Policy, part: Sequence[Picture], reference: bool, settings: Mapping[str, Any]) -> None:
    images = policy.sample([p.prompt for p in part], [p.seed for p in part], reference=reference, **settings)
    if len(images) != len(part) or not all(hasattr(image, "save") for image in images):
        raise UserError(
            f"Expected {len(part)} pictures from the model, got {len(images)} of type "
            f"{type(images[0]).__name__ if images else 'nothing'}. Only image models can be compared by pictures."
        )
    for picture, image in zip(part, images, strict=True):
        write_atomically(picture.path, partial(image.save, format="PNG"))


def read_gallery(folder: Path) -> Gallery:
    """Reads a folder of pictures with ``metadata.jsonl``, ours or an ImageFolder's (``text`` serves as ``prompt``).

    A row without a seed gets the number of earlier rows of its prompt, so that folders pair by position.

    Raises:
        DataError: No metadata, an unreadable line, a picture that is not there.
    """
    folder = Path(folder)
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise DataError(
            f"{folder} has no metadata.jsonl. Expected one JSON object per line with file_name, prompt and seed beside "
            "the pictures; diffalign's own generated folders have it."
        )
    pictures: list[Picture] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, prompt = str(row["file_name"]), str(row["prompt"] if "prompt" in row else row["text"])
            seed = int(row.get("seed", seen.get(prompt, 0)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: expected an object with file_name and prompt, got {line[:80]!r}. "
                "Mend the line."
            ) from error
        if not (folder / name).is_file():
            raise DataError(f"{path}, line {number}: the picture {name} is not there. Put it back, or remove the line.")
        seen[prompt] = seen.get(prompt, 0) + 1
        pictures.append(Picture(folder / name, prompt, seed))
    made_by = folder / "made_by.json"
    return Gallery(folder, tuple(pictures), json.loads(made_by.read_text("utf-8")) if made_by.is_file() else {})


def _file_name(prompt: str, seed: int) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or "picture"
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}-s{seed}.png"


def _made_by(policy: Policy, reference: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the pixels besides prompt and seed."""
    made_by = {
        "model": policy.fingerprint(),
        "weights": "reference" if reference else state_hash(policy.state()),
        "settings": {name: settings[name] for name in sorted(settings)},
    }
    return json.loads(json.dumps(made_by, default=str))


def _claim(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Notes what makes the folder's pictures, and refuses to mix two makers in one folder."""
    note = folder / "made_by.json"
    if note.is_file():
        before = json.loads(note.read_text("utf-8"))
        if before != made_by:
            other = ", ".join(sorted(key for key in made_by if before.get(key) != made_by[key]))
            raise RunError(
                f"{folder} holds pictures that were made with another {other}. Give another folder, or delete this one "
                "to make them anew."
            )
        return
    write_atomically(note, lambda beside: beside.write_text(json.dumps(made_by, indent=2) + "\n", encoding="utf-8"))
