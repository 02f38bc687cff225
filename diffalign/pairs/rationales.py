"""Rationales: each pair with the reason for its label as one more answer, to a prompt that shows both candidates.

Published prompts always show the preferred answer first: a model can then tell the winner by its place. Here the order
is as good as drawn, by the pair's id, and the rationale begins with which one it is.

Source: Just et al. 2024 (arXiv 2407.14477); order and opening are ours, and so are the words of the prompt.
"""

from __future__ import annotations

from dataclasses import replace

from diffalign.data.readers.parse_row import digest
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message
from diffalign.data.records.lazy import filter_pairs, map_pairs
from diffalign.data.records.pair import Answer, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, dataset
from diffalign.pairs.source import PairSource

ROLE = "rationale"
QUESTION = "Which answer is better, and why?"


def rationales(data: DatasetPairs, *, shuffle: bool = True, question: str = QUESTION) -> PairSource:
    """The data set's comparisons with their rationales, ``pairs: rationales``. Rows without one are left out.

    Args:
        data: Comparisons of texts with a column ``rationale``: why the chosen answer is better.
        shuffle: Shows the two answers in an order that depends on the pair's id, and opens the rationale with the
            winner's letter. False is the published form: the chosen answer first, the rationale as it stands.
        question: What the prompt asks after the two answers.

    Raises:
        DataError: No row has a rationale; candidates that are no texts; rows with one candidate.
    """
    every = dataset(data).pairs
    pairs = filter_pairs(every, lambda pair: ROLE in pair.further)
    if not pairs:
        raise DataError(
            f"{data.name}: none of {len(every)} pairs has a rationale, which 'pairs: rationales' shows the model. Give "
            "the data a column 'rationale' with the reason why the chosen answer is better, or train with "
            "--set pairs=dataset."
        )
    texts = (str, Conversation)
    if other := next((p for p in pairs if not (isinstance(p.chosen, texts) and isinstance(p.rejected, texts))), None):
        raise DataError(
            f"{data.name}: {other.source or other.id} compares no texts, but 'pairs: rationales' writes both answers "
            "into a prompt. Train images and clips with --set pairs=dataset."
        )
    left = len(every) - len(pairs)
    told = f"; left out: {left} without a rationale" if left else ""
    made = map_pairs(pairs, lambda pair: explained(pair, shuffle=shuffle, question=question))
    return replace(data, pairs=made, name=data.name + told)


def explained(pair: Pair, *, shuffle: bool = True, question: str = QUESTION) -> Pair:
    """The pair with a prompt for its rationale; see :func:`rationales`."""
    first = not shuffle or chosen_first(pair)
    shown = (pair.chosen, pair.rejected) if first else (pair.rejected, pair.chosen)
    answers = [f"Answer {letter}:\n{spoken(answer)}" for letter, answer in zip("AB", shown, strict=True)]
    asked = "\n\n".join([spoken(pair.prompt), *answers, question, ""])
    reason = spoken(pair.further[ROLE].candidate)
    if shuffle:
        reason = f"Answer {'A' if first else 'B'} is better. {reason}"
    found = Answer(reason, asked)
    if isinstance(pair.prompt, Conversation):
        answer, prompt = (Message(ASSISTANT, reason),), (Message("user", asked.rstrip()),)
        found = Answer(Conversation(answer), Conversation(prompt))
    return replace(pair, further={**pair.further, ROLE: found})


def chosen_first(pair: Pair) -> bool:
    """Whether a shuffled prompt shows the chosen answer as A: by the pair's id, one half of all."""
    return int(digest(pair.id, ROLE), 16) % 2 == 0


def spoken(text: object) -> str:
    """A text as it is; of a conversation the only turn's content, or all turns with their roles."""
    if isinstance(text, Conversation) and len(text) == 1:
        return text.messages[0].content.strip()
    return str(text).strip()
