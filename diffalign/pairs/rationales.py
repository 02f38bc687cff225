"""Each pair with the reason for its label as one more answer, to a prompt that shows both candidates.

Published prompts always show the preferred answer first, so a model could tell the winner by its position. Here the
order follows from a hash of the pair's id, and the rationale begins with the letter of the better answer.

Source: Just et al. 2024 (arXiv 2407.14477); order, opening and the wording of the prompt are ours.
"""

from __future__ import annotations

from dataclasses import replace

from diffalign.data.readers.rows.parse_row import digest
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message
from diffalign.data.records.lazy_pairs import filter_pairs, map_pairs
from diffalign.data.records.pair import Answer, Pair
from diffalign.errors import DataError
from diffalign.pairs.dataset import DatasetPairs, dataset
from diffalign.pairs.source import PairSource

ROLE = "rationale"
QUESTION = "Which answer is better, and why?"


def rationales(data: DatasetPairs, *, shuffle: bool = True, question: str = QUESTION) -> PairSource:
    """``pairs: rationales``: the comparisons of a dataset with their rationales. Rows without one are left out.

    Args:
        data: Comparisons of texts with a column ``rationale``: why the chosen answer is better.
        shuffle: Show the two answers in an order that depends on the pair's id, and open the rationale with the letter
            of the better one. False is the published form: the chosen answer first, the rationale unchanged.
        question: The question after the two answers.

    Raises:
        DataError: No row has a rationale; candidates are no texts; a row has only one candidate.
    """
    all_pairs = dataset(data).pairs
    pairs = filter_pairs(all_pairs, lambda pair: ROLE in pair.further)
    if not pairs:
        raise DataError(
            f"{data.name}: none of {len(all_pairs)} pairs has a rationale, which 'pairs: rationales' shows the model. "
            "Give the data a column 'rationale' with the reason why the chosen answer is better, or train with "
            "--set pairs=dataset."
        )
    if other := next((pair for pair in pairs if not _compares_texts(pair)), None):
        raise DataError(
            f"{data.name}: {other.source or other.id} compares no texts, but 'pairs: rationales' writes both answers "
            "into a prompt. Train images and videos with --set pairs=dataset."
        )
    left_out = len(all_pairs) - len(pairs)
    note = f"; left out: {left_out} without a rationale" if left_out else ""
    with_prompts = map_pairs(pairs, lambda pair: with_rationale_prompt(pair, shuffle=shuffle, question=question))
    return replace(data, pairs=with_prompts, name=data.name + note)


def with_rationale_prompt(pair: Pair, *, shuffle: bool = True, question: str = QUESTION) -> Pair:
    """Returns the pair with a prompt for its rationale; see :func:`rationales`."""
    a_is_chosen = not shuffle or chosen_first(pair)
    prompt = "\n\n".join([plain_text(pair.prompt), *lettered_answers(pair, a_is_chosen), question, ""])
    rationale = plain_text(pair.further[ROLE].candidate)
    if shuffle:
        rationale = f"Answer {'A' if a_is_chosen else 'B'} is better. {rationale}"
    answer = Answer(rationale, prompt)
    if isinstance(pair.prompt, Conversation):
        answer = Answer(
            Conversation((Message(ASSISTANT, rationale),)), Conversation((Message("user", prompt.rstrip()),))
        )
    return replace(pair, further={**pair.further, ROLE: answer})


def chosen_first(pair: Pair) -> bool:
    """Whether a shuffled prompt shows the chosen answer as A: by the pair's id, for one half of all pairs."""
    return int(digest(pair.id, ROLE), 16) % 2 == 0


def lettered_answers(pair: Pair, a_is_chosen: bool) -> list[str]:
    """Returns the two answers as texts under the headings ``Answer A:`` and ``Answer B:``."""
    answers = (pair.chosen, pair.rejected) if a_is_chosen else (pair.rejected, pair.chosen)
    return [f"Answer {letter}:\n{plain_text(answer)}" for letter, answer in zip("AB", answers, strict=True)]


def plain_text(text: object) -> str:
    """Returns a text as it is; for a conversation the content of its only turn, or all turns with their roles."""
    if isinstance(text, Conversation) and len(text) == 1 and not text.messages[0].fields_json:
        return text.messages[0].content.strip()
    return str(text).strip()


def _compares_texts(pair: Pair) -> bool:
    return all(isinstance(candidate, (str, Conversation)) for candidate in (pair.chosen, pair.rejected))
