"""Base against aligned: the same prompts, the same seeds, several judges, and what changed besides the scores.

Judges that the training learnt from are kept apart from held-out ones: a model is expected to please the former, and
only the latter can show that it did not merely learn to please.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.drift import sampled
from diffalign.evaluation.compare.lengths import lengths
from diffalign.evaluation.compare.result import Comparison, Judgement, Role
from diffalign.evaluation.samples.diversity import diversity, encoder_space
from diffalign.evaluation.samples.generate import Gallery, Sample, generate, read_gallery
from diffalign.evaluation.samples.medium import find_medium
from diffalign.evaluation.stats.statistics import Share, share, win_rate
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers import SCORERS
from diffalign.scorers.scorer import Scorer, SupportsHits, SupportsPromptCheck


def compare(
    policy: Policy,
    prompts: Sequence[str],
    seeds: Sequence[int],
    scorers: Mapping[str, tuple[Scorer, Role]],
    *,
    folder: Path,
    stride: int = 0,
    batch_size: int = 8,
    progress: Progress | None = None,
    **settings: Any,
) -> Comparison:
    """Generates with reference and aligned model, on the same seeds, and compares.

    Args:
        policy: The aligned model with its reference.
        prompts, seeds: Every prompt is answered with every seed; two seeds or more also tell the diversity.
        scorers: Name to (scorer, ``"held-out"`` or ``"trained-on"``).
        folder: Samples go to ``folder/base`` and ``folder/aligned``, the numbers to
            ``folder/comparison.json``. A second call goes on where the first stopped.
        stride: As in :func:`generate`; ``len(seeds)`` gives each prompt noises of its own.
        batch_size: Samples made at once.
        progress: Called as ``progress(what, done, total)``.
        settings: Sampling settings of the policy's kind.

    Raises:
        UserError: A scorer that judges another medium or cannot judge one of the prompts, told before anything is
            generated.
    """
    check_judges(scorers, prompts, policy.medium)
    folder, options = Path(folder), {"stride": stride, "batch_size": batch_size, "progress": progress, **settings}
    base = generate(policy, prompts, seeds, folder / "base", reference=True, **options)
    aligned = generate(policy, prompts, seeds, folder / "aligned", **options)
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
        folder: Where ``comparison.json`` goes; nowhere without.
        progress: Called as ``progress("scorer NAME", done, total)``.

    Raises:
        DataError: No sample of the one has a counterpart in the other, or they are of two media.
    """
    sides = [side if isinstance(side, Gallery) else read_gallery(side) for side in (base, aligned)]
    if sides[0].medium != sides[1].medium:
        raise DataError(
            f"{sides[0].folder} holds {find_medium(sides[0].medium).plural} and {sides[1].folder} "
            f"{find_medium(sides[1].medium).plural}. Give two folders of one kind."
        )
    medium = find_medium(sides[0].medium)
    pairs = _pair(*sides)
    prompts = [first.prompt for first, _ in pairs]
    check_judges(scorers, prompts, medium.name)
    before, after = ([medium.read(pair[side].path) for pair in pairs] for side in (0, 1))
    space = encoder_space([scorer for scorer, _ in scorers.values()], medium.space)
    judgements, columns = [], {}
    for number, (name, (scorer, role)) in enumerate(scorers.items()):
        if progress is not None:
            progress(f"scorer {name}", number, len(scorers))
        judgement, columns[name] = _judge(name, scorer, role, prompts, [before, after])
        judgements.append(judgement)
    counts = [prompts.count(prompt) for prompt in set(prompts)]
    comparison = Comparison(
        judgements=tuple(sorted(judgements, key=lambda judgement: judgement.role != "held-out")),
        diversity=diversity(before, after, prompts, space),
        prompts=len(counts),
        seeds=max(counts),
        unpaired=sum(len(side.samples) for side in sides) - 2 * len(pairs),
        rows=tuple(
            {
                "prompt": first.prompt,
                "seed": first.seed,
                "base": str(first.path),
                "aligned": str(second.path),
                "scores": {name: [values[0][i], values[1][i]] for name, values in columns.items()},
            }
            for i, (first, second) in enumerate(pairs)
        ),
        settings={"base": dict(sides[0].made_by), "aligned": dict(sides[1].made_by)},
        medium=medium.name,
        lengths=lengths(medium, before, after, columns, prompts),
    )
    if folder is not None:
        comparison.save(Path(folder) / "comparison.json")
    return comparison


def ask_both(comparison: Comparison, policy: Policy, folder: Path, *, batch: int = 8) -> tuple[Comparison, str]:
    """Adds what policy and reference say of the samples of :func:`compare`, and writes the comparison again.

    Args:
        comparison: Of this policy, made in ``folder``.
        policy: The aligned model with its reference.
        folder: Holds ``base`` and ``aligned``.
        batch: Samples at once.

    Returns:
        The comparison, and why it could not be added to; empty where it could.
    """
    try:
        base, aligned = (read_gallery(Path(folder) / side) for side in ("base", "aligned"))
        found = sampled(policy, base, aligned, batch=batch)
    except UserError as error:
        return comparison, f"the drift from the reference is unknown: {error}"
    comparison = replace(comparison, sampled=found)
    comparison.save(Path(folder) / "comparison.json")
    return comparison, ""


def check_judges(scorers: Mapping[str, tuple[Scorer, Role]], prompts: Sequence[str], medium: str | None = None) -> None:
    """Raises UserError for a role that is none, a judge of another medium, or a prompt that a scorer cannot judge;
    generates nothing."""
    for name, (scorer, role) in scorers.items():
        if role not in ("held-out", "trained-on"):
            raise UserError(
                f"The scorer '{name}' is marked '{role}'. Mark it 'trained-on' when its scores made the pairs or the "
                "reward, and 'held-out' otherwise."
            )
        judged = scorer.medium
        if medium is not None and judged != medium:
            fitting = [known for known, row in SCORERS.items() if row.medium == medium]
            raise UserError(
                f"The scorer '{name}' judges {find_medium(judged).plural}, but there are "
                f"{find_medium(medium).plural} to judge. Judges of {find_medium(medium).plural}: "
                f"{', '.join(fitting) or 'none so far'}."
            )
        if isinstance(scorer, SupportsPromptCheck):
            scorer.check_prompts(prompts)


def _pair(base: Gallery, aligned: Gallery) -> list[tuple[Sample, Sample]]:
    others = {(sample.prompt, sample.seed): sample for sample in aligned.samples}
    own = {(sample.prompt, sample.seed): sample for sample in base.samples}
    pairs = [(sample, others[key]) for key, sample in own.items() if key in others]
    if not pairs:
        raise DataError(
            f"{base.folder} and {aligned.folder} share no prompt and seed ({len(own)} and {len(others)} samples). "
            "Generate both from the same prompts and seeds."
        )
    return pairs


def _judge(
    name: str, scorer: Scorer, role: Role, prompts: list[str], contents: list[list[Any]]
) -> tuple[Judgement, list[list[float]]]:
    scores: list[list[float]] = []
    hits: list[Share | None] = []
    for side in contents:
        if isinstance(scorer, SupportsHits):
            values, right = scorer.scores_and_hits(prompts, side)
            hits.append(share(int(right.sum()), len(side)))
        else:
            values = scorer.score(prompts, side)
            hits.append(None)
        scores.append([float(value) for value in values])
    judgement = Judgement(
        name=name,
        role=role,
        scorer=scorer.name,
        unit=scorer.unit,
        weights=scorer.weights,
        win=win_rate(scores[1], scores[0], prompts),
        base_mean=_mean(scores[0]),
        aligned_mean=_mean(scores[1]),
        base_hits=hits[0],
        aligned_hits=hits[1],
    )
    return judgement, scores


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
