"""Each pair with its answers as revisions of each other and of themselves, for losses that train a model to improve.

A revision is an answer to another prompt, :func:`revision_prompt`, which shows a draft and asks for a better one. The
same prompt asks a trained model to revise its own answer.

Source: the four revisions are what SRPO reads (Choi et al. 2024, arXiv 2406.01660); the wording of the prompt is ours.
"""

from __future__ import annotations

from dataclasses import replace

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.lazy_pairs import map_pairs
from diffalign.data.records.pair import Answer, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, dataset
from diffalign.pairs.source import PairSource

INSTRUCTION = "Improve this answer. Reply with the improved answer alone."
"""The request after a draft."""


def drafts(data: DatasetPairs, *, instruction: str = INSTRUCTION) -> PairSource:
    """``pairs: drafts``: the comparisons of a dataset with four further answers.

    They are "chosen_after_rejected", "rejected_after_chosen", "chosen_after_chosen" and "rejected_after_rejected": the
    last word is the draft.

    Args:
        data: Comparisons of texts, each of one prompt.
        instruction: The request after the draft. Use the same one with the trained model.

    Raises:
        DataError: Candidates are no texts or have different prompts; a row has only one candidate.
    """
    if not instruction.strip():
        raise DataError("an empty instruction asks for nothing; leave it out, or give a request for a better answer")
    pairs = dataset(data).pairs
    for pair in pairs:
        _check(pair, data.name)
    return replace(data, pairs=map_pairs(pairs, lambda pair: with_revisions(pair, instruction)))


def with_revisions(pair: Pair, instruction: str = INSTRUCTION) -> Pair:
    """Returns a pair of texts with each answer as a revision of each of the two."""
    candidates = {"chosen": pair.chosen, "rejected": pair.rejected}
    texts = {role: text for role, text in candidates.items() if isinstance(text, (str, Conversation))}
    revisions = {
        f"{role}_after_{draft_role}": Answer(text, revision_prompt(pair.prompt, draft, instruction))
        for draft_role, draft in texts.items()
        for role, text in texts.items()
    }
    return replace(pair, further={**pair.further, **revisions})


def revision_prompt(prompt: Text, draft: Text, instruction: str = INSTRUCTION) -> Text:
    """Returns the prompt that shows a draft and asks for a better answer.

    In a conversation the draft becomes the assistant's turn and the instruction the user's next one. A plain text is
    followed by the draft and the instruction, with an empty line before each and after the last.
    """
    if isinstance(prompt, Conversation):
        turns = draft if isinstance(draft, Conversation) else Conversation((Message(ASSISTANT, draft),))
        return prompt + turns + Conversation((Message("user", instruction),))
    return "\n\n".join([prompt.rstrip(), str(draft).strip(), instruction, ""])


def _check(pair: Pair, name: str) -> None:
    where = f"{name}: {pair.source or pair.id}"
    if not all(isinstance(side, (str, Conversation)) for side in (pair.chosen, pair.rejected)):
        raise DataError(
            f"{where} compares no texts, but 'pairs: drafts' writes an answer into a prompt. Images and videos train "
            "with --set pairs=dataset and a loss that needs no revisions, such as ipo."
        )
    if pair.rejected_prompt is not None:
        raise DataError(
            f"{where} has a rejected candidate with a prompt of its own, so neither can be a draft of the other. Leave "
            "such rows out, or train with --set pairs=dataset --set loss=dove."
        )
