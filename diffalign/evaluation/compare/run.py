"""Compares base and aligned model on the same prompts and seeds, by several judges.

Judges that training learnt from are reported separately from held-out ones: the aligned model is expected to please the
former, and only the latter can show a real improvement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.suites.suite import Categories
from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.drift import measure_drift
from diffalign.evaluation.compare.lengths import compare_lengths
from diffalign.evaluation.compare.load_judges import check_judges
from diffalign.evaluation.compare.result import Comparison, Judgement, Role
from diffalign.evaluation.samples.diversity import choose_space, compare_diversity
from diffalign.evaluation.samples.gallery import Gallery, Sample, read_gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.stats.rates.share import share
from diffalign.evaluation.stats.rates.win_rate import win_rate
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.display_name import display_name
from diffalign.scorers.scorer import Scorer, SupportsHits


def compare(
    policy: Policy,
    prompts: Sequence[str],
    seeds: Sequence[int],
    scorers: Mapping[str, tuple[Scorer, Role]],
    *,
    folder: Path,
    stride: int = 0,
    batch_size: int = 8,
    categories: Mapping[str, Categories] | None = None,
    progress: Progress | None = None,
    before_judging: Callable[[], None] | None = None,
    **settings: Any,
) -> Comparison:
    """Generates samples with reference and aligned model on the same seeds, and compares them.

    Args:
        policy: The aligned model with its reference.
        prompts, seeds: Every prompt is answered with every seed; diversity needs two seeds or more.
        scorers: Name to (scorer, ``"held-out"`` or ``"trained-on"``).
        folder: Folder for samples (``base``, ``aligned``) and ``comparison.json``. A second call resumes where the
            first stopped.
        stride: As in :func:`generate`; ``len(seeds)`` gives each prompt its own noises.
        batch_size: Samples generated at once.
        categories: Categories of prompts in their suites, for win rates by category.
        progress: Called as ``progress(what, done, total)``.
        before_judging: Called when everything is sampled: it may make room for the judges.
        settings: Sampling settings of the policy's kind.

    Raises:
        UserError: A scorer of another medium, or one that cannot judge one of the prompts; raised before anything is
            generated.
    """
    check_judges(scorers, prompts, policy.medium)
    folder = Path(folder)
    options = {"stride": stride, "batch_size": batch_size, "categories": categories, "progress": progress, **settings}
    base = generate(policy, prompts, seeds, folder / "base", reference=True, **options)
    aligned = generate(policy, prompts, seeds, folder / "aligned", **options)
    if before_judging is not None:
        before_judging()
    return compare_galleries(base, aligned, scorers, folder=folder, progress=progress)


def compare_galleries(
    base: Gallery | Path,
    aligned: Gallery | Path,
    scorers: Mapping[str, tuple[Scorer, Role]],
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compares two folders of samples with ``metadata.jsonl``, paired by prompt and seed.

    Args:
        base, aligned: Folders, or galleries as :func:`generate` returns them.
        scorers: Name to (scorer, ``"held-out"`` or ``"trained-on"``).
        folder: Folder for ``comparison.json``; None writes no file.
        progress: Called as ``progress("scorer NAME", done, total)``.

    Raises:
        DataError: The folders share no prompt and seed, or hold different media.
    """
    sides = [side if isinstance(side, Gallery) else read_gallery(side) for side in (base, aligned)]
    if sides[0].medium != sides[1].medium:
        raise DataError(
            f"{sides[0].folder} holds {find_medium(sides[0].medium).plural} and {sides[1].folder} "
            f"{find_medium(sides[1].medium).plural}. Give two folders of one kind."
        )
    medium = find_medium(sides[0].medium)
    pairs = _matching_samples(*sides)
    prompts = [base_sample.prompt for base_sample, _ in pairs]
    check_judges(scorers, prompts, medium.name)
    base_contents, aligned_contents = ([medium.read(pair[side].path) for pair in pairs] for side in (0, 1))
    space = choose_space([scorer for scorer, _ in scorers.values()], medium.space)
    judgements, scores, hits = [], {}, {}
    for number, (name, (scorer, role)) in enumerate(scorers.items()):
        if progress is not None:
            progress(f"scorer {name}", number, len(scorers))
        judgement, scores[name], decided = _judge_both(name, scorer, role, prompts, [base_contents, aligned_contents])
        judgements.append(judgement)
        if decided is not None:
            hits[name] = decided
    counts = [prompts.count(prompt) for prompt in set(prompts)]
    comparison = Comparison(
        judgements=tuple(sorted(judgements, key=lambda judgement: judgement.role != "held-out")),
        diversity=compare_diversity(base_contents, aligned_contents, prompts, space),
        prompts=len(counts),
        seeds=max(counts),
        unpaired=sum(len(side.samples) for side in sides) - 2 * len(pairs),
        rows=tuple(
            {
                "prompt": base_sample.prompt,
                "seed": base_sample.seed,
                "base": str(base_sample.path),
                "aligned": str(aligned_sample.path),
                "scores": {name: [values[0][i], values[1][i]] for name, values in scores.items()},
                "hits": {name: [right[0][i], right[1][i]] for name, right in hits.items()},
                **({"categories": dict(aligned_sample.categories)} if aligned_sample.categories else {}),
            }
            for i, (base_sample, aligned_sample) in enumerate(pairs)
        ),
        settings={"base": dict(sides[0].made_by), "aligned": dict(sides[1].made_by)},
        medium=medium.name,
        lengths=compare_lengths(medium, base_contents, aligned_contents, scores, prompts),
    )
    if folder is not None:
        comparison.save(Path(folder) / "comparison.json")
    return comparison


def add_drift(comparison: Comparison, policy: Policy, folder: Path, *, batch: int = 8) -> tuple[Comparison, str]:
    """Measures the drift on the samples of :func:`compare`, adds it to the comparison, and saves the comparison again.

    Args:
        comparison: A comparison of this policy, made in ``folder``.
        policy: The aligned model with its reference.
        folder: Folder with ``base`` and ``aligned``.
        batch: Samples per forward pass.

    Returns:
        The comparison, and the reason if the drift could not be measured; empty otherwise.
    """
    try:
        base, aligned = (read_gallery(Path(folder) / side) for side in ("base", "aligned"))
        measurement = measure_drift(policy, base, aligned, batch=batch)
    except UserError as error:
        return comparison, f"the drift from the reference is unknown: {error}"
    comparison = replace(comparison, sampled=measurement)
    comparison.save(Path(folder) / "comparison.json")
    return comparison, ""


def _matching_samples(base: Gallery, aligned: Gallery) -> list[tuple[Sample, Sample]]:
    base_samples, aligned_samples = (
        {(sample.prompt, sample.seed): sample for sample in gallery.samples} for gallery in (base, aligned)
    )
    pairs = [(sample, aligned_samples[key]) for key, sample in base_samples.items() if key in aligned_samples]
    if not pairs:
        raise DataError(
            f"{base.folder} and {aligned.folder} share no prompt and seed ({len(base_samples)} and "
            f"{len(aligned_samples)} samples). Generate both from the same prompts and seeds."
        )
    return pairs


def _judge_both(
    name: str, scorer: Scorer, role: Role, prompts: list[str], contents: list[list[Any]]
) -> tuple[Judgement, list[list[float]], list[list[bool]] | None]:
    """Returns the judgement, and of base and aligned model the scores and, of a scorer that decides, what is right."""
    if isinstance(scorer, SupportsHits):
        sides = [scorer.scores_and_hits(prompts, side) for side in contents]
        values, decided = [side[0] for side in sides], [side[1].tolist() for side in sides]
    else:
        values, decided = [scorer.score(prompts, side) for side in contents], None
    scores = [[float(value) for value in side] for side in values]
    hits = [None, None] if decided is None else [share(sum(right), len(right)) for right in decided]
    judgement = Judgement(
        name=name,
        role=role,
        scorer=display_name(scorer.name),
        unit=scorer.unit,
        weights=scorer.weights,
        win=win_rate(scores[1], scores[0], prompts),
        base_mean=_finite_mean(scores[0]),
        aligned_mean=_finite_mean(scores[1]),
        base_hits=hits[0],
        aligned_hits=hits[1],
    )
    return judgement, scores, decided


def _finite_mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
