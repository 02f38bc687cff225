"""Rationales: texts that say why the chosen answer is better, written by a language model that is told which one it is.

The prompt shows the question and both answers. Which of them comes first is decided by the pair's id, so that no
position means "better", and the better one is named in words.

Source: Just et al. 2024 (arXiv 2407.14477), general and specific rationales. Their prompts put the chosen answer first;
ours do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffalign.data.line import Line
from diffalign.data.notes import Notes, Progress
from diffalign.data.records import EMPTY_CANDIDATE, Answer, Dropped, Pair
from diffalign.data.separability.words import words_of
from diffalign.data.transforms.outcome import Outcome
from diffalign.errors import UserError
from diffalign.evaluation.diagnosis.similarity import check_texts
from diffalign.policies.policy import Policy
from diffalign.scorers.scorer import state_hash

Style = Literal["general", "specific"]
STYLES: Mapping[str, str] = {
    "general": "In one or two sentences, say what makes it the better answer as a whole.",
    "specific": "Compare the two in detail: name what each gets right or wrong, quote the words that matter, and say "
    "why that decides.",
}


def rationale_prompt(pair: Pair, style: Style = "general") -> str:
    """What a model is asked about a pair.

    Args:
        pair: A comparison of two texts.
        style: ``"general"``: a short reason; ``"specific"``: a comparison in detail.
    """
    chosen, rejected = (words_of(text).strip() for text in (pair.chosen, pair.rejected))  # type: ignore[arg-type]
    first = chosen_first(pair.id)
    one, other = (chosen, rejected) if first else (rejected, chosen)
    better = "first" if first else "second"
    return (
        f"A question was answered twice.\n\nQuestion:\n{str(pair.prompt).strip()}\n\nFirst answer:\n{one}\n\n"
        f"Second answer:\n{other}\n\nThe {better} answer is the better one. {STYLES[style]}"
    )


def chosen_first(name: str) -> bool:
    """Whether the chosen answer of a pair of this id stands first: by its hash, one half of all."""
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] < 128


def add_rationales(
    policy: Policy,
    lines: Sequence[Line],
    *,
    style: Style = "general",
    target: Path | None = None,
    batch: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[Notes, Outcome]:
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
        The notes, to be removed once the lines are written, and the lines. Pairs about which the model said nothing
        are dropped.

    Raises:
        UserError: a model of pictures, or an unknown style.
        DataError: candidates that are no texts.
    """
    if policy.medium != "text":
        raise UserError(f"rationales are texts, and this model makes {policy.medium}s. Give a language model.")
    if style not in STYLES:
        raise UserError(f"the style of a rationale is {' or '.join(STYLES)}; got '{style}'.")
    pairs = [line.pair for line in lines]
    check_texts(pairs)
    made_by = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "seed": seed, "style": style}
    notes = Notes(target, {**made_by, "settings": dict(sorted(settings.items()))})

    def find(part: list[Pair]) -> Mapping[str, Mapping[str, str]]:
        prompts = [rationale_prompt(pair, style) for pair in part]
        texts = policy.sample(prompts, [seed] * len(part), **settings)
        return {pair.id: {"rationale": text.strip()} for pair, text in zip(part, texts, strict=True)}

    rows = notes.fill(pairs, find, what="rationales", batch=batch, progress=progress)
    outcome = Outcome(_explained(lines, rows))
    for pair in pairs:
        if not rows[pair.id]["rationale"]:
            outcome.dropped.append(Dropped(pair.source or pair.id, EMPTY_CANDIDATE, "rationale"))
    return notes, outcome


def _explained(lines: Sequence[Line], rows: Mapping[str, Mapping[str, str]]) -> Iterator[Line]:
    for line in lines:
        if text := rows[line.pair.id]["rationale"]:
            further = {**line.pair.further, "rationale": Answer(text)}
            yield Line(replace(line.pair, further=further), line.columns)
