"""Samples for prompts x seeds, in a folder that a Hub viewer shows and that a killed run goes on filling.

folder/a-fox-on-a-blue-background-1f0c92ab-s7.png        one per (prompt, seed); .txt for texts
folder/metadata.jsonl                                    {"file_name", "prompt", "seed"} per line; "completion" of texts
folder/made_by.json                                      model, weights and settings: other ones need another folder
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.errors import DataError, RunError, UserError
from diffalign.evaluation.samples.medium import MEDIA, Medium, find_medium, medium_of_file
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.scorer import state_hash
from diffalign.sharing.atomic import write_atomically


@dataclass(frozen=True)
class Sample:
    """One generated sample on disk."""

    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class Gallery:
    """The samples of one model.

    Args:
        folder: Where they lie.
        samples: In the order of prompts, then seeds.
        made_by: What made them, as told by ``made_by.json``; empty for a folder from elsewhere.
        medium: What they are, a name in :data:`~diffalign.evaluation.samples.medium.MEDIA`.
    """

    folder: Path
    samples: tuple[Sample, ...]
    made_by: Mapping[str, Any]
    medium: str = "image"

    def contents(self) -> list[Any]:
        """What scorers take, in the order of the samples: paths of images, texts themselves."""
        return [MEDIA[self.medium].read(sample.path) for sample in self.samples]


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
    """Makes a sample for each prompt and seed; those that the folder already holds are kept.

    Args:
        policy: What answers: ``policy.sample(prompts, seeds, reference=..., **settings)``.
        prompts: Duplicates are made once.
        seeds: The same for every prompt, and the same for base and aligned: that is what makes comparisons paired.
        folder: Made when missing.
        stride: Added to the seeds with each further prompt. 0 starts all prompts from the same noises;
            ``len(seeds)`` gives each prompt noises of its own, so that no single noise decides a comparison.
        reference: Whether the reference answers instead of the aligned model.
        batch_size: Samples made at once; they do not depend on it.
        progress: Called as ``progress("images", done, total)``, or as what its samples are.
        settings: Sampling settings of the policy's kind, handed to the policy and noted.

    Raises:
        UserError: No prompt, no seed, or a policy that returns something else than it says.
        RunError: The folder holds samples of other weights or settings.
    """
    prompts, seeds = list(dict.fromkeys(prompts)), list(dict.fromkeys(int(seed) for seed in seeds))
    if not prompts or not seeds:
        raise UserError(
            f"There is nothing to generate from {len(prompts)} prompts and {len(seeds)} seeds. "
            "Give at least one of each."
        )
    folder, medium = Path(folder), find_medium(policy.medium)
    made_by = _made_by(policy, reference, settings)
    _claim(folder, made_by)
    asked = [(prompt, seed + stride * number) for number, prompt in enumerate(prompts) for seed in seeds]
    samples = [Sample(folder / _file_name(prompt, seed, medium), prompt, seed) for prompt, seed in asked]
    missing = [sample for sample in samples if not sample.path.exists()]
    done = len(samples) - len(missing)
    with policy.sampling():
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            _make(policy, medium, part, reference, {"batch": batch_size, **settings})
            done += len(part)
            if progress is not None:
                progress(medium.plural, done, len(samples))
    rows = [_row(sample, medium) for sample in samples]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(folder / "metadata.jsonl", lambda beside: beside.write_text(text, encoding="utf-8"))
    return Gallery(folder, tuple(samples), made_by, medium.name)


def _make(policy: Policy, medium: Medium, part: Sequence[Sample], reference: bool, settings: Mapping[str, Any]) -> None:
    made = policy.sample([s.prompt for s in part], [s.seed for s in part], reference=reference, **settings)
    if len(made) != len(part) or not all(map(medium.fits, made)):
        raise UserError(
            f"Expected {len(part)} {medium.plural} from the model, got {len(made)} of type "
            f"{type(made[0]).__name__ if made else 'nothing'}. A policy of the medium '{medium.name}' samples "
            f"{medium.plural}."
        )
    for sample, content in zip(part, made, strict=True):
        medium.write(content, sample.path)


def _row(sample: Sample, medium: Medium) -> dict[str, Any]:
    row = {"file_name": sample.path.name, "prompt": sample.prompt, "seed": sample.seed}
    return {**row, **medium.columns(medium.read(sample.path))}


def read_gallery(folder: Path) -> Gallery:
    """Reads a folder of samples with ``metadata.jsonl``, ours or an ImageFolder's (``text`` serves as ``prompt``).

    A row without a seed gets the number of earlier rows of its prompt, so that folders pair by position.

    Raises:
        DataError: No metadata, an unreadable line, a file that is not there.
    """
    folder = Path(folder)
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise DataError(
            f"{folder} has no metadata.jsonl. Expected one JSON object per line with file_name, prompt and seed beside "
            "the samples; diffalign's own generated folders have it."
        )
    samples: list[Sample] = []
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
            raise DataError(f"{path}, line {number}: the file {name} is not there. Put it back, or remove the line.")
        seen[prompt] = seen.get(prompt, 0) + 1
        samples.append(Sample(folder / name, prompt, seed))
    note = folder / "made_by.json"
    made_by = json.loads(note.read_text("utf-8")) if note.is_file() else {}
    media = {medium_of_file(sample.path).name for sample in samples} or {"image"}
    if len(media) > 1:
        raise DataError(f"{path} names files of several media ({', '.join(sorted(media))}). Give each a folder.")
    return Gallery(folder, tuple(samples), made_by, media.pop())


def _file_name(prompt: str, seed: int, medium: Medium) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or medium.noun
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}-s{seed}{medium.suffix}"


def _made_by(policy: Policy, reference: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the samples besides prompt and seed."""
    made_by = {
        "model": policy.fingerprint(),
        "weights": "reference" if reference else state_hash(policy.state()),
        "settings": {name: settings[name] for name in sorted(settings)},
    }
    return json.loads(json.dumps(made_by, default=str))


def _claim(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Notes what makes the folder's samples, and refuses to mix two makers in one folder."""
    note = folder / "made_by.json"
    if note.is_file():
        before = json.loads(note.read_text("utf-8"))
        if before != made_by:
            other = ", ".join(sorted(key for key in made_by if before.get(key) != made_by[key]))
            raise RunError(
                f"{folder} holds samples that were made with another {other}. Give another folder, or delete this one "
                "to make them anew."
            )
        return
    write_atomically(note, lambda beside: beside.write_text(json.dumps(made_by, indent=2) + "\n", encoding="utf-8"))
