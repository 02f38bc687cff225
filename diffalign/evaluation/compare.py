"""Base against aligned: the same prompts, the same seeds, several judges, and what changed besides the scores.

Judges that the training learnt from are kept apart from held-out ones: a model is expected to please the former, and
only the latter can show that it did not merely learn to please.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.errors import DataError, UserError
from diffalign.evaluation.comparison import Comparison, Judgement, Role
from diffalign.evaluation.diversity import diversity
from diffalign.evaluation.generate import Gallery, Picture, generate, read_gallery
from diffalign.evaluation.statistics import Share, share, win_rate
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.scorer import Scorer


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
        prompts, seeds: Every prompt is drawn with every seed; two seeds or more also tell the diversity.
        scorers: Name to (scorer, ``"held-out"`` or ``"trained-on"``).
        folder: Pictures go to ``folder/base`` and ``folder/aligned``, the numbers to
            ``folder/comparison.json``. A second call goes on where the first stopped.
        stride: As in :func:`generate`; ``len(seeds)`` gives each prompt noises of its own.
        batch_size: Pictures made at once.
        progress: Called as ``progress(what, done, total)``.
        settings: Sampling settings.

    Raises:
        UserError: A scorer that cannot judge one of the prompts, told before anything is generated.
    """
    check_judges(scorers, prompts)
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
    """Compares two folders of pictures with ``metadata.jsonl``, paired by prompt and seed.

    Args:
        base, aligned: Folders, or galleries as :func:`generate` returns them.
        scorers: Name to (scorer, ``"held-out"`` or ``"trained-on"``).
        folder: Where ``comparison.json`` goes; nowhere without.
        progress: Called as ``progress("scorer NAME", done, total)``.

    Raises:
        DataError: No picture of the one has a counterpart in the other.
    """
    sides = [side if isinstance(side, Gallery) else read_gallery(side) for side in (base, aligned)]
    pairs = _pair(*sides)
    prompts = [first.prompt for first, _ in pairs]
    check_judges(scorers, prompts)
    files = [[first.path for first, _ in pairs], [second.path for _, second in pairs]]
    judgements, columns = [], {}
    for number, (name, (scorer, role)) in enumerate(scorers.items()):
        if progress is not None:
            progress(f"scorer {name}", number, len(scorers))
        judgement, columns[name] = _judge(name, scorer, role, prompts, files)
        judgements.append(judgement)
    encoder = next((scorer for scorer, _ in scorers.values() if hasattr(scorer, "image_features")), None)
    counts = [prompts.count(prompt) for prompt in set(prompts)]
    comparison = Comparison(
        judgements=tuple(sorted(judgements, key=lambda judgement: judgement.role != "held-out")),
        diversity=diversity(files[0], files[1], prompts, encoder),
        prompts=len(counts),
        seeds=max(counts),
        unpaired=sum(len(side.pictures) for side in sides) - 2 * len(pairs),
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
    )
    if folder is not None:
        comparison.save(Path(folder) / "comparison.json")
    return comparison


def check_judges(scorers: Mapping[str, tuple[Scorer, Role]], prompts: Sequence[str]) -> None:
    """Raises UserError for a role that is none, or a prompt that a scorer cannot judge; generates nothing."""
    for name, (scorer, role) in scorers.items():
        if role not in ("held-out", "trained-on"):
            raise UserError(
                f"The scorer '{name}' is marked '{role}'. Mark it 'trained-on' when its scores made the pairs or the "
                "reward, and 'held-out' otherwise."
            )
        if hasattr(scorer, "check"):
            scorer.check(prompts)


def _pair(base: Gallery, aligned: Gallery) -> list[tuple[Picture, Picture]]:
    others = {(picture.prompt, picture.seed): picture for picture in aligned.pictures}
    own = {(picture.prompt, picture.seed): picture for picture in base.pictures}
    pairs = [(picture, others[key]) for key, picture in own.items() if key in others]
    if not pairs:
        raise DataError(
            f"{base.folder} and {aligned.folder} share no prompt and seed ({len(own)} and {len(others)} pictures). "
            "Generate both from the same prompts and seeds."
        )
    return pairs


def _judge(
    name: str, scorer: Scorer, role: Role, prompts: list[str], files: list[list[Path]]
) -> tuple[Judgement, list[list[float]]]:
    scores: list[list[float]] = []
    hits: list[Share | None] = []
    for side in files:
        if hasattr(scorer, "judge"):
            values, right = scorer.judge(prompts, side)
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
