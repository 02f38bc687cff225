"""Generates samples for prompts x seeds into a folder that a Hub viewer can show and that an interrupted run resumes.

folder/a-fox-on-a-blue-background-1f0c92ab-s7.png        one per (prompt, seed); .txt for texts
folder/metadata.jsonl                                    {"file_name", "prompt", "seed"} per line; texts: "completion"
folder/made_by.json                                      model, weights and settings, the same for the whole folder
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
        folder: Folder of the samples.
        samples: In the order of prompts, then seeds.
        made_by: Contents of ``made_by.json``: model, weights and settings; empty for folders of other programs.
        medium: Kind of samples, a name in :data:`~diffalign.evaluation.samples.medium.MEDIA`.
    """

    folder: Path
    samples: tuple[Sample, ...]
    made_by: Mapping[str, Any]
    medium: str = "image"

    def contents(self) -> list[Any]:
        """Returns what scorers take, in the order of the samples: paths of images, or the texts themselves."""
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
    """Generates a sample for each prompt and seed; samples that the folder already holds are kept.

    Args:
        policy: The model, called as ``policy.sample(prompts, seeds, reference=..., **settings)``.
        prompts: Duplicates are used once.
        seeds: The same for every prompt, and the same for base and aligned, so that comparisons are paired.
        folder: Created if missing.
        stride: Added to the seeds with each further prompt. 0 starts all prompts from the same noises;
            ``len(seeds)`` gives each prompt its own noises, so that no single noise decides a comparison.
        reference: Whether to sample from the reference instead of the aligned model.
        batch_size: Samples generated at once; they do not depend on it.
        progress: Called as ``progress("images", done, total)``, with the plural of the policy's medium.
        settings: Sampling settings of the policy's kind, passed to the policy and recorded.

    Raises:
        UserError: No prompt, no seed, or a policy whose samples are not of its medium.
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
    _check_or_write_made_by(folder, made_by)
    prompt_seeds = [(prompt, seed + stride * number) for number, prompt in enumerate(prompts) for seed in seeds]
    samples = [Sample(folder / _file_name(prompt, seed, medium), prompt, seed) for prompt, seed in prompt_seeds]
    missing = [sample for sample in samples if not sample.path.exists()]
    done = len(samples) - len(missing)
    with policy.sampling():
        for start in range(0, len(missing), batch_size):
            part = missing[start : start + batch_size]
            _sample(policy, medium, part, reference, {"batch": batch_size, **settings})
            done += len(part)
            if progress is not None:
                progress(medium.plural, done, len(samples))
    rows = [_metadata_row(sample, medium) for sample in samples]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(folder / "metadata.jsonl", lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return Gallery(folder, tuple(samples), made_by, medium.name)


def _sample(
    policy: Policy, medium: Medium, part: Sequence[Sample], reference: bool, settings: Mapping[str, Any]
) -> None:
    contents = policy.sample([s.prompt for s in part], [s.seed for s in part], reference=reference, **settings)
    if len(contents) != len(part) or not all(map(medium.fits, contents)):
        raise UserError(
            f"Expected {len(part)} {medium.plural} from the model, got {len(contents)} of type "
            f"{type(contents[0]).__name__ if contents else 'nothing'}. A policy of the medium '{medium.name}' must "
            f"sample {medium.plural}."
        )
    for sample, content in zip(part, contents, strict=True):
        medium.write(content, sample.path)


def _metadata_row(sample: Sample, medium: Medium) -> dict[str, Any]:
    row = {"file_name": sample.path.name, "prompt": sample.prompt, "seed": sample.seed}
    return {**row, **medium.columns(medium.read(sample.path))}


def read_gallery(folder: Path) -> Gallery:
    """Reads a folder of samples with ``metadata.jsonl``, of :func:`generate` or of an ImageFolder (``text`` serves as
    ``prompt``).

    A row without a seed gets the number of earlier rows of its prompt, so that folders pair by position.

    Raises:
        DataError: No metadata, an unreadable line, or a missing file.
    """
    folder = Path(folder)
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise DataError(
            f"{folder} has no metadata.jsonl. Expected one JSON object per line with file_name, prompt and seed, in "
            "the folder of the samples. `diffalign generate` writes it."
        )
    samples: list[Sample] = []
    rows_of_prompt: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, prompt = str(row["file_name"]), str(row["prompt"] if "prompt" in row else row["text"])
            seed = int(row.get("seed", rows_of_prompt.get(prompt, 0)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path}, line {number}: expected an object with file_name and prompt, got {line[:80]!r}. "
                "Correct the line."
            ) from error
        if not (folder / name).is_file():
            raise DataError(f"{path}, line {number}: the file {name} is missing. Put it back, or remove the line.")
        rows_of_prompt[prompt] = rows_of_prompt.get(prompt, 0) + 1
        samples.append(Sample(folder / name, prompt, seed))
    made_by_file = folder / "made_by.json"
    made_by = json.loads(made_by_file.read_text("utf-8")) if made_by_file.is_file() else {}
    media = {medium_of_file(sample.path).name for sample in samples} or {"image"}
    if len(media) > 1:
        raise DataError(
            f"{path} names files of several media ({', '.join(sorted(media))}). Put each medium into its own folder."
        )
    return Gallery(folder, tuple(samples), made_by, media.pop())


def _file_name(prompt: str, seed: int, medium: Medium) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or medium.noun
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}-s{seed}{medium.suffix}"


def _made_by(policy: Policy, reference: bool, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns everything that decides the samples besides prompt and seed."""
    made_by = {
        "model": policy.fingerprint(),
        "weights": "reference" if reference else state_hash(policy.state()),
        "settings": {name: settings[name] for name in sorted(settings)},
    }
    return json.loads(json.dumps(made_by, default=str))


def _check_or_write_made_by(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Writes ``made_by.json``, or raises RunError if the folder holds samples of another model or other settings."""
    path = folder / "made_by.json"
    if path.is_file():
        recorded = json.loads(path.read_text("utf-8"))
        if recorded != made_by:
            other = ", ".join(sorted(key for key in made_by if recorded.get(key) != made_by[key]))
            raise RunError(
                f"{folder} holds samples that were made with another {other}. Give another folder, or delete this one "
                "to generate them again."
            )
        return
    text = json.dumps(made_by, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
