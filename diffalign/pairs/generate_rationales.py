"""Reasons: rationales written by a language model that is told which of two answers is the better one.

The prompt shows question and answers in the order in which `rationales` shows them in training, so that no place means
"better", and asks for words that do not depend on the order: the rationale stays true whichever way round it is shown.

Source: Just et al. 2024 (arXiv 2407.14477), general and specific rationales; the words of the prompts are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import EMPTY_CANDIDATE, Answer, Dropped, Pair
from diffalign.data.records.progress_file import Progress, ProgressFile
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import UserError
from diffalign.evaluation.diagnosis.ches import check_texts
from diffalign.pairs.rationales import ROLE, chosen_first, spoken
from diffalign.policies.policy import Policy
from diffalign.scorers.scorer import state_hash

Style = Literal["general", "specific"]
STYLES: Mapping[str, str] = {
    "general": "In one or two sentences, say why, as a whole.",
    "specific": "Compare the two in detail: what each gets right or wrong, with the words that matter, and why that "
    "decides.",
}
NAMES = "Call them the better answer and the other answer, not A and B."


def rationale_prompt(pair: Pair, style: Style = "general") -> str:
    """What a model is asked about a pair.

    Args:
        pair: A comparison of two texts.
        style: ``"general"``: a short reason; ``"specific"``: a comparison in detail.
    """
    shown = (pair.chosen, pair.rejected) if chosen_first(pair) else (pair.rejected, pair.chosen)
    answers = [f"Answer {letter}:\n{spoken(answer)}" for letter, answer in zip("AB", shown, strict=True)]
    better = "A" if chosen_first(pair) else "B"
    return "\n\n".join(
        [f"Question:\n{spoken(pair.prompt)}", *answers, f"Answer {better} is better. {STYLES[style]} {NAMES}"]
    )


def add_rationales(
    policy: Policy,
    lines: Sequence[PairRow],
    *,
    style: Style = "general",
    target: Path | None = None,
    batch: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[ProgressFile, TransformResult]:
    """Writes a rationale for each pair, as its further answer ``"rationale"``.

    Args:
        policy: A language model that answers, best one that follows instructions.
        lines: Lines of pairs of texts; a pair that has a rationale gets another one.
        style: See :func:`rationale_prompt`.
        target: The file that the lines go into in the end: a killed call goes on from its ``.part``.
        batch: Pairs at a time.
        seed: Of the answers, where they are drawn.
        progress: Told how far it is.
        settings: Sampling settings of the policy.

    Returns:
        The progress file, to be removed once the lines are written, and the lines. Pairs about which the model said
        nothing are dropped.

    Raises:
        UserError: a model of images, or an unknown style.
        DataError: candidates that are no texts.
    """
    if policy.medium != "text":
        raise UserError(f"rationales are texts, and this model makes {policy.medium}s. Give a language model.")
    if style not in STYLES:
        raise UserError(f"the style of a rationale is {' or '.join(STYLES)}; got '{style}'.")
    pairs = [line.pair for line in lines]
    check_texts(pairs)
    made_by = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "seed": seed, "style": style}
    progress_file = ProgressFile(target, {**made_by, "settings": dict(sorted(settings.items()))})

    def find(part: list[Pair]) -> Mapping[str, Mapping[str, str]]:
        prompts = [rationale_prompt(pair, style) for pair in part]
        texts = policy.sample(prompts, [seed] * len(part), **settings)
        return {pair.id: {ROLE: text.strip()} for pair, text in zip(part, texts, strict=True)}

    rows = progress_file.fill(pairs, find, what="rationales", batch=batch, progress=progress)
    outcome = TransformResult(_explained(lines, rows))
    for pair in pairs:
        if not rows[pair.id][ROLE]:
            outcome.dropped.append(Dropped(pair.source or pair.id, EMPTY_CANDIDATE, ROLE))
    return progress_file, outcome


def _explained(lines: Sequence[PairRow], rows: Mapping[str, Mapping[str, str]]) -> Iterator[PairRow]:
    for line in lines:
        if text := rows[line.pair.id][ROLE]:
            further = {**line.pair.further, ROLE: Answer(text)}
            yield PairRow(replace(line.pair, further=further), line.columns)
