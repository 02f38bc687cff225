"""Best against worst: pairs that a model makes itself. It answers a prompt several times, a scorer judges the answers.

    chosen = argmax_k score(answer_k),      rejected = argmin_k score(answer_k)

For images and texts alike. What is left is a folder with all answers, their scores, ``pairs.jsonl``, which trains
like any data set, and ``lists.jsonl`` with all answers of a prompt and their scores, for losses on ranked lists. Of a
pair two scores are told for each side: the scorer's, and how often the answer wins against the others,

    win_i = mean over j of sigmoid(score_i - score_j),      itself a half,

which is what self-play losses regress to (`sppo`, with ``loss.rewards: win``).

Source: pairs of the best and the worst of n samples are the on-policy recipe of SimPO (Meng et al. 2024, arXiv
2405.14734: five samples per prompt at temperature 0.8); a reward model is asked there, any scorer here. Win rates from
scores as in Wu et al. 2024 (arXiv 2405.00675).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import Conversation, Text
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.generate import Sample, generate
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.evaluation.samples.score_folder import add_scores
from diffalign.policies.policy import Policy, Progress
from diffalign.scorers.scorer import Scorer, SupportsPromptCheck
from diffalign.sharing.atomic import write_atomically


@dataclass(frozen=True)
class Made:
    """What was made.

    Args:
        path: The table of pairs.
        pairs: How many there are.
        tied: Prompts without a pair: their answers were judged alike, or nearly.
        gap: Mean difference of the two scores.
    """

    path: Path
    pairs: int
    tied: int
    gap: float

    def summary(self) -> str:
        """One line."""
        left = f"; {self.tied} prompts left out, their answers were judged alike" if self.tied else ""
        return f"{self.pairs} pairs in {self.path}, mean gap of scores {self.gap:.3g}{left}"


def make_pairs(
    policy: Policy,
    prompts: Sequence[str],
    scorer: Scorer,
    folder: Path,
    *,
    answers: int = 4,
    gap: float = 0.0,
    seed: int = 0,
    batch_size: int = 8,
    progress: Progress | None = None,
    **settings: Any,
) -> Made:
    """Answers each prompt ``answers`` times and pairs the best answer with the worst.

    Args:
        policy: What answers.
        prompts: Each gives one pair at most.
        scorer: What judges, of the policy's medium.
        folder: Gets the answers, ``metadata.jsonl`` with their scores, and ``pairs.jsonl``. A killed call goes on.
        answers: Answers per prompt, 2 or more, each with a noise of its own.
        gap: Smallest difference of the two scores, 0 or more; a tie is never a pair.
        seed: Of the first answer.
        batch_size: Answers made at once; they do not depend on it.
        progress: Told how far it is.
        settings: Sampling settings of the policy's kind.

    Raises:
        UserError: Fewer than two answers; a scorer of another medium.
        DataError: No prompt has two answers that the scorer tells apart.
    """
    if answers < 2:
        raise UserError(f"a pair needs two answers of a prompt; got answers = {answers}. Four is a usual number.")
    if scorer.medium != policy.medium:
        raise UserError(
            f"the scorer {scorer.name} judges {MEDIA[scorer.medium].plural}, but this model makes "
            f"{MEDIA[policy.medium].plural}. `diffalign score --help` lists scorers."
        )
    if isinstance(scorer, SupportsPromptCheck):
        scorer.check_prompts(prompts)
    seeds = range(seed, seed + answers)
    options: dict[str, Any] = {"stride": answers, "batch_size": batch_size, "progress": progress, **settings}
    gallery = generate(policy, prompts, seeds, Path(folder), **options)
    contents = gallery.contents()
    scores = scorer.score([sample.prompt for sample in gallery.samples], contents).tolist()
    add_scores(gallery.folder / "metadata.jsonl", {scorer.name: scores})
    by_prompt: dict[str, list[tuple[float, Sample, Any]]] = {}
    for sample, content, score in zip(gallery.samples, contents, scores, strict=True):
        by_prompt.setdefault(sample.prompt, []).append((score, sample, content))
    rows, lists, tied = [], [], 0
    for prompt, found in by_prompt.items():
        # The first of equals, so that nothing but the scores decides.
        best, worst = max(found, key=lambda item: item[0]), min(found, key=lambda item: item[0])
        if not best[0] - worst[0] > gap:
            tied += 1
            continue
        wins = dict(zip((item[1].seed for item in found), win_rates([item[0] for item in found]), strict=True))
        asked = policy.format_prompt(prompt, **settings)
        row = _row(asked, best, worst)
        rows.append({**row, "chosen_win": wins[best[1].seed], "rejected_win": wins[worst[1].seed]})
        lists.append(_list(asked, found))
    if not rows:
        raise DataError(
            f"{scorer.name} tells no two answers of a prompt apart by more than {gap:g}, in {len(by_prompt)} prompts. "
            "Ask for more answers, a higher temperature, or another scorer."
        )
    _write(gallery.folder / "lists.jsonl", lists)
    path = _write(gallery.folder / "pairs.jsonl", rows)
    return Made(path, len(rows), tied, sum(r["chosen_score"] - r["rejected_score"] for r in rows) / len(rows))


def win_rates(scores: Sequence[float]) -> list[float]:
    """How often each answer of a prompt wins against the answers drawn with it, itself counted as a half, if the chance
    to win is the logistic function of the difference of scores. Their mean is one half; a constant changes nothing."""
    won = lambda gap: 0.5 + 0.5 * math.tanh(gap / 2)
    return [sum(won(own - other) for other in scores) / len(scores) for own in scores]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _list(prompt: Text, found: Sequence[tuple[float, Sample, Any]]) -> dict[str, Any]:
    """All answers of a prompt, the best first."""
    ranked = sorted(found, key=lambda item: -item[0])
    contents = [content.name if isinstance(content, Path) else content for _, _, content in ranked]
    scores = [score for score, _, _ in ranked]
    if isinstance(prompt, Conversation):
        turns = [[{"role": "assistant", "content": text}] for text in contents]
        return {"prompt": prompt.rows(), "completions": turns, "scores": scores}
    return {"prompt": prompt, "completions": contents, "scores": scores}


def _row(prompt: Text, best: tuple[float, Sample, Any], worst: tuple[float, Sample, Any]) -> dict[str, Any]:
    (high, winner, chosen), (low, loser, rejected) = best, worst
    # The seeds as a list: numbers named after the two candidates are read as scores.
    row = {"chosen_score": high, "rejected_score": low, "seeds": [winner.seed, loser.seed]}
    if isinstance(prompt, Conversation):
        turn = lambda text: [{"role": "assistant", "content": text}]
        return {"prompt": prompt.rows(), "chosen": turn(chosen), "rejected": turn(rejected), **row}
    if isinstance(chosen, Path):
        chosen, rejected = chosen.name, rejected.name
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **row}
