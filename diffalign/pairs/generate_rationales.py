"""Generates rationales with a language model that is given the better one of two answers.

The prompt shows question and answers in the order of training, see `rationales`, so that no position means "better". It
asks for a text that does not depend on the order, so the rationale stays true in either order.

Source: Just et al. 2024 (arXiv 2407.14477), general and specific rationales; the wording of the prompts is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import EMPTY_CANDIDATE, Answer, Dropped, Pair
from diffalign.data.records.progress_file import Progress, ProgressFile
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import UserError
from diffalign.evaluation.diagnosis.ches import check_texts
from diffalign.pairs.rationales import ROLE, chosen_first, lettered_answers, plain_text
from diffalign.policies.policy import Policy
from diffalign.scorers.scorer import state_hash

Style = Literal["general", "specific"]
STYLES: Mapping[str, str] = {
    "general": "In one or two sentences, say why, as a whole.",
    "specific": "Compare the two in detail: what each gets right or wrong, with the words that matter, and why that "
    "decides.",
}
NAMES = "Call them the better answer and the other answer, not A and B."


def rationale_request(pair: Pair, style: Style = "general") -> str:
    """Returns the prompt that asks for a rationale.

    Args:
        pair: A comparison of two texts.
        style: ``"general"``: a short reason; ``"specific"``: a comparison in detail.
    """
    a_is_chosen = chosen_first(pair)
    request = f"Answer {'A' if a_is_chosen else 'B'} is better. {STYLES[style]} {NAMES}"
    return "\n\n".join([f"Question:\n{plain_text(pair.prompt)}", *lettered_answers(pair, a_is_chosen), request])


def add_rationales(
    policy: Policy,
    rows: Sequence[PairRow],
    *,
    style: Style = "general",
    target: Path | None = None,
    batch: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> tuple[ProgressFile, TransformResult]:
    """Generates a rationale for each pair, as its further answer ``"rationale"``.

    Args:
        policy: A language model, ideally one that follows instructions.
        rows: Rows of pairs of texts. An existing rationale is replaced.
        style: See :func:`rationale_request`.
        target: The file that the rows are written to in the end. An interrupted call resumes from its ``.part``.
        batch: Pairs at a time.
        seed: Seed of sampled answers.
        progress: Called after each batch.
        settings: Sampling settings of the policy.

    Returns:
        The progress file, to be removed once the rows are written, and the rows. Pairs with an empty answer of the
        model are dropped.

    Raises:
        UserError: The model makes images, or the style is unknown.
        DataError: Candidates are no texts.
    """
    if policy.medium != "text":
        raise UserError(f"rationales are texts, and this model makes {policy.medium}s. Give a language model.")
    if style not in STYLES:
        raise UserError(f"the style of a rationale is {' or '.join(STYLES)}; got '{style}'.")
    pairs = [row.pair for row in rows]
    check_texts(pairs)
    identity = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "seed": seed, "style": style}
    progress_file = ProgressFile(target, {**identity, "settings": dict(sorted(settings.items()))})

    def generate(part: list[Pair]) -> Mapping[str, Mapping[str, str]]:
        requests = [rationale_request(pair, style) for pair in part]
        texts = policy.sample(requests, [seed] * len(part), **settings)
        return {pair.id: {ROLE: text.strip()} for pair, text in zip(part, texts, strict=True)}

    rationales = progress_file.fill(pairs, generate, what="rationales", batch=batch, progress=progress)
    result = TransformResult(_with_rationales(rows, rationales))
    for pair in pairs:
        if not rationales[pair.id][ROLE]:
            result.dropped.append(Dropped(pair.source or pair.id, EMPTY_CANDIDATE, ROLE))
    return progress_file, result


def _with_rationales(rows: Sequence[PairRow], rationales: Mapping[str, Mapping[str, str]]) -> Iterator[PairRow]:
    for row in rows:
        if text := rationales[row.pair.id][ROLE]:
            further = {**row.pair.further, ROLE: Answer(text)}
            yield PairRow(replace(row.pair, further=further), row.columns)
