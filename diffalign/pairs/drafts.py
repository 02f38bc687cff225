"""Drafts: each pair with its answers as revisions of each other and of themselves, for losses that teach to improve.

An answer given a draft is the same answer to another prompt: one that shows the draft and asks for a better one. The
same prompt, :func:`revision`, is what a model is asked when it revises what it wrote.

Source: the four revisions are what SRPO reads (Choi et al. 2024, arXiv 2406.01660); the words of the prompt are ours.
"""

from __future__ import annotations

from dataclasses import replace

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.lazy import map_pairs
from diffalign.data.records.pair import Answer, Media, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, dataset
from diffalign.pairs.source import PairSource

INSTRUCTION = "Improve this answer. Reply with the improved answer alone."
"""What a model is asked to do with a draft."""


def drafts(data: DatasetPairs, *, instruction: str = INSTRUCTION) -> PairSource:
    """The data set's comparisons with four further answers, ``pairs: drafts``: "chosen_after_rejected",
    "rejected_after_chosen", "chosen_after_chosen" and "rejected_after_rejected", the later word the draft.

    Args:
        data: Comparisons of texts, each of one prompt.
        instruction: What the prompt asks to do with the draft. Ask the same when the model is used.

    Raises:
        DataError: Candidates that are no texts, or that answer two prompts; rows with one candidate.
    """
    if not instruction.strip():
        raise DataError("an empty instruction asks for nothing; leave it out, or say what to do with a draft")
    pairs = dataset(data).pairs
    for pair in pairs:
        _check(pair, data.name)
    return replace(data, pairs=map_pairs(pairs, lambda pair: revised(pair, instruction)))


def revised(pair: Pair, instruction: str = INSTRUCTION) -> Pair:
    """A pair of texts with each answer once more, after each of the two as a draft."""
    sides: dict[str, Media | None] = {"chosen": pair.chosen, "rejected": pair.rejected}
    further = {
        f"{role}_after_{draft}": Answer(answer, revision(pair.prompt, shown, instruction))  # type: ignore[arg-type]
        for draft, shown in sides.items()
        for role, answer in sides.items()
    }
    return replace(pair, further={**pair.further, **further})


def revision(prompt: Text, draft: Text, instruction: str = INSTRUCTION) -> Text:
    """The prompt that shows a draft and asks for a better answer.

    A conversation goes on: the draft is the assistant's turn and the instruction the user's next one. Plain text is
    followed by the draft and the instruction, an empty line before each and after the last.
    """
    if isinstance(prompt, Conversation):
        turns = draft if isinstance(draft, Conversation) else Conversation((Message(ASSISTANT, draft),))
        return prompt + turns + Conversation((Message("user", instruction),))
    return "\n\n".join([prompt.rstrip(), str(draft).strip(), instruction, ""])


def _check(pair: Pair, name: str) -> None:
    where = f"{name}: {pair.source or pair.id}"
    if not all(isinstance(side, (str, Conversation)) for side in (pair.chosen, pair.rejected)):
        raise DataError(
            f"{where} compares no texts, but 'pairs: drafts' writes an answer into a prompt. Images and clips train "
            "with --set pairs=dataset and a loss that needs no revisions, such as ipo."
        )
    if pair.rejected_prompt is not None:
        raise DataError(
            f"{where} has a rejected candidate with a prompt of its own, so neither can be a draft of the other. Leave "
            "such rows out, or train with --set pairs=dataset --set loss=dove."
        )
