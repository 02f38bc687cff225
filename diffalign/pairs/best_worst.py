"""Best against worst: makes pairs from a model's own samples, as a scorer ranks them.

    chosen = argmax_k score(sample_k),      rejected = argmin_k score(sample_k)

For images, clips and texts alike. The result is a folder with all samples, their scores, ``pairs.jsonl``, which trains
like any dataset, and ``lists.jsonl`` with all samples of a prompt and their scores, for losses on ranked lists. Each
side of a pair has two scores: the scorer's, and how often the sample wins against the others of its prompt,

    win_i = mean over j of sigmoid(score_i - score_j),      itself a half,

which is the regression target of self-play losses (`sppo`, with ``loss.rewards: win``). Several scorers are added after
each is normalised over all samples (:mod:`~diffalign.scorers.composed.sum_of_scores`).

Source: pairs of the best and the worst of n samples are the on-policy recipe of SimPO (Meng et al. 2024, arXiv
2405.14734: five samples per prompt at temperature 0.8), which uses a reward model where any scorer serves here. Win
rates from scores as in Wu et al. 2024 (arXiv 2405.00675).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.seeds import SEED
from diffalign.data.storage.kept_latents import LATENTS
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.evaluation.scoring.score_samples import add_scores
from diffalign.files.json_lines import write_json_lines
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.composed.sum_of_scores import Normalise, Term, sum_of_scores
from diffalign.scorers.scorer import Scorer, SupportsPromptCheck

SUM = "sum"
"""Name of the total of several scorers in ``metadata.jsonl``."""


@dataclass(frozen=True)
class MadePairs:
    """The result of :func:`make_pairs`.

    Args:
        path: The table of pairs.
        pairs: Number of pairs.
        tied: Number of prompts without a pair, because their samples have equal scores, or nearly.
        gap: Mean difference of the two scores.
        latents: The file of the samples' latents; None where they are not kept.
        terms: The terms of the score, where several scorers are added.
    """

    path: Path
    pairs: int
    tied: int
    gap: float
    latents: Path | None = None
    terms: tuple[Term, ...] = ()

    def summary(self) -> str:
        """Returns one line, and one per term of a sum of scorers."""
        left_out = f"; {self.tied} prompts left out, their answers were judged alike" if self.tied else ""
        kept = f"; to train on their latents type: --set data.latents={self.latents}" if self.latents else ""
        terms = "".join(f"\n  {'+' if number else '='} {term}" for number, term in enumerate(self.terms))
        return f"{self.pairs} pairs in {self.path}, mean gap of scores {self.gap:.3g}{left_out}{kept}" + (
            f"\nscore, normalised over all samples:{terms}" if terms else ""
        )


class ScoredSample(NamedTuple):
    """A sample with its score.

    Args:
        score: The scorer's.
        seed: The seed that it was sampled with.
        content: A text, or the file of an image or clip.
    """

    score: float
    seed: int
    content: Any


def make_pairs(
    policy: Policy,
    prompts: Sequence[str],
    scorer: Scorer | Sequence[Scorer],
    folder: Path,
    *,
    weights: Mapping[str, float] | None = None,
    normalise: Normalise = "z-score",
    answers: int = 4,
    gap: float = 0.0,
    seed: int = 0,
    batch_size: int = 8,
    keep_latents: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> MadePairs:
    """Samples ``answers`` times per prompt and pairs the best sample with the worst.

    Args:
        policy: The model that samples.
        prompts: Each gives at most one pair.
        scorer: Ranks the samples; of the policy's medium. Several are normalised over all samples and added.
        folder: Gets the samples, ``metadata.jsonl`` with their scores, and ``pairs.jsonl``. An interrupted call
            resumes.
        weights: By name of a scorer its weight in the sum; 1 for the others.
        normalise: ``"z-score"`` or ``"min-max"``, for several scorers.
        answers: Samples per prompt, 2 or more, each with its own noise.
        gap: Smallest difference of the two scores, 0 or more; a tie is never a pair.
        seed: Seed of the first sample.
        batch_size: Samples made at once, which does not change them.
        keep_latents: Keep the clean latent of every image or clip beside it, for `data.latents`.
        progress: Called after each batch.
        settings: Sampling settings of the policy's kind.

    Raises:
        UserError: There are fewer than two samples per prompt, a scorer is of another medium, or a weight is of none.
        DataError: No prompt has two samples with different scores.
    """
    if answers < 2:
        raise UserError(f"a pair needs two answers of a prompt; got answers = {answers}. Four is a usual number.")
    scorers = list(scorer) if isinstance(scorer, Sequence) else [scorer]
    _check_scorers(scorers, policy.medium, prompts)
    is_sum = len(scorers) > 1 or bool(weights)
    if is_sum:  # wrong settings are named before anything is sampled
        sum_of_scores({one.name: [0.0] for one in scorers}, weights, normalise)
    seeds = range(seed, seed + answers)
    options: dict[str, Any] = {"stride": answers, "batch_size": batch_size, "progress": progress, **settings}
    options["keep_latents"] = keep_latents
    gallery = generate(policy, prompts, seeds, Path(folder), **options)
    contents = gallery.contents()
    shown = [sample.prompt for sample in gallery.samples]
    columns = {one.name: one.score(shown, contents).tolist() for one in scorers}
    terms: tuple[Term, ...] = ()
    if is_sum:
        scores, terms = sum_of_scores(columns, weights, normalise)
        columns[SUM] = scores
    else:
        (scores,) = columns.values()
    add_scores(gallery.folder / "metadata.jsonl", columns)
    by_prompt: dict[str, list[ScoredSample]] = {}
    for sample, content, score in zip(gallery.samples, contents, scores, strict=True):
        by_prompt.setdefault(sample.prompt, []).append(ScoredSample(score, sample.seed, content))
    pair_rows, list_rows = [], []
    for prompt, samples in by_prompt.items():
        # Of equal scores the first sample, so that only the scores decide.
        best, worst = max(samples, key=lambda s: s.score), min(samples, key=lambda s: s.score)
        if not best.score - worst.score > gap:
            continue
        rates = win_rates([sample.score for sample in samples])
        wins = {sample.seed: rate for sample, rate in zip(samples, rates, strict=True)}
        formatted = policy.format_prompt(prompt, **settings)
        pair_row = _pair_row(formatted, best, worst) | _shared_columns(policy.medium, best.content, worst.content)
        pair_rows.append({**pair_row, "chosen_win": wins[best.seed], "rejected_win": wins[worst.seed]})
        list_rows.append(_list_row(formatted, samples))
    if not pair_rows:
        raise DataError(
            f"{' and '.join(one.name for one in scorers)} tell{'s' * (len(scorers) == 1)} no two answers of a prompt "
            f"apart by more than {gap:g}, in {len(by_prompt)} prompts. "
            "Ask for more answers, a higher temperature, or another scorer."
        )
    _write(gallery.folder / "lists.jsonl", list_rows)
    path = _write(gallery.folder / "pairs.jsonl", pair_rows)
    mean_gap = sum(row["chosen_score"] - row["rejected_score"] for row in pair_rows) / len(pair_rows)
    latents = gallery.folder / LATENTS if keep_latents else None
    return MadePairs(path, len(pair_rows), len(by_prompt) - len(pair_rows), mean_gap, latents, terms)


def _check_scorers(scorers: Sequence[Scorer], medium: str, prompts: Sequence[str]) -> None:
    names = [scorer.name for scorer in scorers]
    if not names or len(set(names)) < len(names):
        raise UserError(f"a sum needs scorers that differ; got {', '.join(names) or 'none'}.")
    for scorer in scorers:
        if scorer.medium != medium:
            raise UserError(
                f"the scorer {scorer.name} judges {MEDIA[scorer.medium].plural}, but this model makes "
                f"{MEDIA[medium].plural}. `diffalign score --help` lists scorers."
            )
        if isinstance(scorer, SupportsPromptCheck):
            scorer.check_prompts(prompts)


def win_rates(scores: Sequence[float]) -> list[float]:
    """Returns how often each sample of a prompt wins against all of them, itself counted as a half.

    The probability to win is the logistic function of the difference of scores.

    Facts: the mean is one half; adding a constant to all scores changes nothing.
    """
    win_probability = lambda gap: 0.5 + 0.5 * math.tanh(gap / 2)
    return [sum(win_probability(score - other) for other in scores) / len(scores) for score in scores]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    return write_json_lines(path, rows)


def _list_row(prompt: Text, samples: Sequence[ScoredSample]) -> dict[str, Any]:
    """Returns a row with all samples of a prompt, the best first."""
    ranked = sorted(samples, key=lambda sample: -sample.score)
    contents = [s.content.name if isinstance(s.content, Path) else s.content for s in ranked]
    scores = [sample.score for sample in ranked]
    if isinstance(prompt, Conversation):
        turns = [[{"role": "assistant", "content": text}] for text in contents]
        return {**_prompt_columns(prompt), "completions": turns, "scores": scores}
    return {"prompt": prompt, "completions": contents, "scores": scores}


def _prompt_columns(prompt: Conversation) -> dict[str, Any]:
    return {"prompt": prompt.rows(), **({"tools": prompt.tools} if prompt.tools_json else {})}


def _shared_columns(medium: str, chosen: Any, rejected: Any) -> dict[str, Any]:
    """Returns what the metadata states of two files alike: of clips their frames and rate."""
    if not isinstance(chosen, Path):
        return {}
    columns, others = (MEDIA[medium].columns(content) for content in (chosen, rejected))
    return {name: value for name, value in columns.items() if others[name] == value}


def _pair_row(prompt: Text, best: ScoredSample, worst: ScoredSample) -> dict[str, Any]:
    numbers = {"chosen_score": best.score, "rejected_score": worst.score}
    numbers |= {f"{SEED}_chosen": best.seed, f"{SEED}_rejected": worst.seed}
    chosen, rejected = best.content, worst.content
    if isinstance(prompt, Conversation):
        turn = lambda text: [{"role": "assistant", "content": text}]
        return {**_prompt_columns(prompt), "chosen": turn(chosen), "rejected": turn(rejected), **numbers}
    if isinstance(chosen, Path):
        chosen, rejected = chosen.name, rejected.name
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **numbers}
