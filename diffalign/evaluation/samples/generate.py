"""Generates samples for prompts x seeds into a folder that a Hub viewer can show and that an interrupted run resumes.

folder/a-fox-on-a-blue-background-1f0c92ab-s7.png     one per (prompt, seed); .webp for clips, .txt for texts
folder/metadata.jsonl                                 a line each: {"file_name", "prompt", "seed"}, and of clips
                                                      {"frames", "fps"}, of texts {"completion"}; {"categories"} of
                                                      the prompt where it comes from a suite
folder/made_by.json                                   model, weights and settings, the same for the whole folder
folder/latents.safetensors                            on request: the clean latent of every image or clip, by file name
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.suites.suite import Categories
from diffalign.devices.processes import ALONE, Processes
from diffalign.errors import RunError, UserError
from diffalign.evaluation.samples.gallery import MADE_BY, METADATA, Gallery, Sample, read_made_by
from diffalign.evaluation.samples.latents_beside import LatentsBeside
from diffalign.evaluation.samples.medium import Medium, find_medium
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import write_json_lines
from diffalign.policies.policy import Policy, Progress, SupportsKeptLatents
from diffalign.scorers.scorer import chunks, state_hash


def generate(
    policy: Policy,
    prompts: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    *,
    reference: bool = False,
    stride: int = 0,
    batch_size: int = 8,
    keep_latents: bool = False,
    categories: Mapping[str, Categories] | None = None,
    processes: Processes = ALONE,
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
        keep_latents: Keep the latent of every image or clip in ``latents.safetensors``. Those that were drawn without
            it are drawn again.
        categories: Categories of prompts in their suites, as `read_categories` returns them; kept in the metadata.
        processes: The processes that share the work: each generates every n-th batch, and the first writes what belongs
            to the folder as a whole. The samples are those of one process, bit for bit.
        progress: Called as ``progress("images", done, total)``, with the plural of the policy's medium.
        settings: Sampling settings of the policy's kind, passed to the policy and recorded.

    Raises:
        UserError: No prompt, no seed, a policy whose samples are not of its medium, or one without latents to keep.
        RunError: The folder holds samples of other weights or settings, or the processes see different folders.
    """
    prompts, seeds = list(dict.fromkeys(prompts)), list(dict.fromkeys(int(seed) for seed in seeds))
    if not prompts or not seeds:
        raise UserError(
            f"There is nothing to generate from {len(prompts)} prompts and {len(seeds)} seeds. "
            "Give at least one of each."
        )
    folder, medium = Path(folder), find_medium(policy.medium)
    made_by = _made_by(policy, reference, settings)
    processes.from_main(lambda: _check_or_write_made_by(folder, made_by))
    prompt_seeds = [(prompt, seed + stride * number) for number, prompt in enumerate(prompts) for seed in seeds]
    known = categories or {}
    samples = [
        Sample(folder / _file_name(prompt, seed, medium), prompt, seed, known.get(prompt, {}))
        for prompt, seed in prompt_seeds
    ]
    kept = _latents_beside(policy, folder) if keep_latents else None
    missing = [s for s in samples if not s.path.exists() or (kept is not None and s.path.name not in kept)]
    own = processes.share(chunks(missing, batch_size))
    total = len(samples) if processes.count == 1 else sum(map(len, own))
    done = total - sum(map(len, own))
    processes.wait()  # all have seen what is missing before one adds to it
    with policy.sampling():
        for part in own:
            _sample(policy, medium, part, reference, {"batch": batch_size, **settings}, kept)
            done += len(part)
            if progress is not None:
                progress(medium.plural, done, total)
    processes.wait()
    processes.from_main(lambda: _finish(policy, folder, samples, medium, keep_latents))
    return Gallery(folder, tuple(samples), made_by, medium.name)


def _finish(policy: Policy, folder: Path, samples: Sequence[Sample], medium: Medium, keep_latents: bool) -> None:
    """Writes ``metadata.jsonl`` and the file of latents, once all processes have made their samples."""
    if lost := [sample for sample in samples if not sample.path.exists()]:
        raise RunError(
            f"{len(lost)} of {len(samples)} samples are not in '{folder}' although every process has made its part: "
            "they must all see the same folder. Put it on a shared disk and run the same command again."
        )
    if keep_latents:
        _latents_beside(policy, folder).finish([sample.path.name for sample in samples])
    write_json_lines(folder / METADATA, [_metadata_row(sample, medium) for sample in samples])


def _latents_beside(policy: Policy, folder: Path) -> LatentsBeside:
    if not isinstance(policy, SupportsKeptLatents):
        raise UserError(
            f"latents are those of images and clips, but this model makes {find_medium(policy.medium).plural}. Leave "
            "out keep_latents (--latents)."
        )
    return LatentsBeside(folder, policy.latent_space())


def _sample(
    policy: Policy,
    medium: Medium,
    part: Sequence[Sample],
    reference: bool,
    settings: Mapping[str, Any],
    kept: LatentsBeside | None = None,
) -> None:
    prompts, seeds = [s.prompt for s in part], [s.seed for s in part]
    if kept is not None and isinstance(policy, SupportsKeptLatents):
        contents, latents = policy.sample_with_latents(prompts, seeds, reference=reference, **settings)
        kept.add({sample.path.name: latent for sample, latent in zip(part, latents, strict=True)})
    else:
        contents = policy.sample(prompts, seeds, reference=reference, **settings)
    if len(contents) != len(part) or not all(map(medium.fits, contents)):
        raise UserError(
            f"Expected {len(part)} {medium.plural} from the model, got {len(contents)} of type "
            f"{type(contents[0]).__name__ if contents else 'nothing'}. A policy of the medium '{medium.name}' must "
            f"sample {medium.plural}."
        )
    for sample, content in zip(part, contents, strict=True):
        medium.write(content, sample.path)


def _metadata_row(sample: Sample, medium: Medium) -> dict[str, Any]:
    row: dict[str, Any] = {"file_name": sample.path.name, "prompt": sample.prompt, "seed": sample.seed}
    if sample.categories:
        row["categories"] = {column: list(values) for column, values in sample.categories.items()}
    return {**row, **medium.columns(medium.read(sample.path))}


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
    path = folder / MADE_BY
    if path.is_file():
        recorded = read_made_by(folder)
        if recorded != made_by:
            words = {"model": "another model", "weights": "other weights", "settings": "other settings"}
            other = " and ".join(text for key, text in words.items() if recorded.get(key) != made_by[key])
            raise RunError(
                f"{folder} holds samples that were made with {other}. Give another folder, or delete this one "
                "to generate them again."
            )
        return
    text = json.dumps(made_by, indent=2) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
