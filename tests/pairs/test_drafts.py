"""Answers as revisions of each other."""

import pytest

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.lazy_pairs import LazyPairs
from diffalign.data.records.pair import Answer, Pair
from diffalign.errors import DataError
from diffalign.losses.pairs.srpo import ROLES
from diffalign.pairs import PAIRS, from_memory
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.drafts import INSTRUCTION, revision_prompt

PLAIN = Pair("a", "Name a colour.", "Red, the warmest.", "no")


def turns(*contents):
    return Conversation(tuple(Message(("user", "assistant")[k % 2], text) for k, text in enumerate(contents)))


def assistant(text):
    return Conversation((Message("assistant", text),))


def test_each_answer_revises_each_draft():
    (pair,) = PAIRS["drafts"](from_memory([PLAIN])).pairs
    assert set(pair.further) == set(ROLES)
    for role, answer in pair.further.items():
        side, draft = role.split("_after_")
        assert answer.candidate == getattr(PLAIN, side)
        assert answer.prompt == f"Name a colour.\n\n{getattr(PLAIN, draft)}\n\n{INSTRUCTION}\n\n"
    assert (pair.prompt, pair.chosen, pair.rejected) == (PLAIN.prompt, PLAIN.chosen, PLAIN.rejected)


def test_in_a_conversation_the_draft_is_a_turn_and_the_instruction_the_next_one():
    talk = Pair("b", turns("hi", "hello", "a colour?"), assistant("red"), assistant("no"))
    (pair,) = PAIRS["drafts"](from_memory([talk]), instruction="Better, please.").pairs
    answer = pair.further["chosen_after_rejected"]
    assert answer.candidate == assistant("red")
    assert answer.prompt == turns("hi", "hello", "a colour?", "no", "Better, please.")
    assert revision_prompt(turns("a colour?"), "no") == turns("a colour?", "no", INSTRUCTION)


def test_other_further_answers_stay():
    pair = Pair("a", "p", "yes", "no", further={"gold": Answer("surely"), "2": Answer("well")})
    (found,) = PAIRS["drafts"](from_memory([pair])).pairs
    assert set(found.further) == {"gold", *ROLES}  # candidates between best and worst are dropped


def test_drafts_of_a_lazy_sequence_are_lazy():
    class Rows(LazyPairs):
        def __len__(self):
            return 3

        def at(self, index):
            return Pair(f"p{index}", "p", f"yes {index}", "no")

    source = PAIRS["drafts"](DatasetPairs(Rows()))
    assert isinstance(source.pairs, LazyPairs) and source.pairs[2].further["chosen_after_chosen"].candidate == "yes 2"


@pytest.mark.parametrize(
    "pair, message",
    [
        (Pair("x", "p", b"png", b"gif"), "x compares no texts.*--set pairs=dataset"),
        (Pair("x", "p", "yes", "no", rejected_prompt="q"), "x has a rejected candidate with a prompt.*loss=dove"),
        (Pair("x", "p", "yes", None), "no rejected candidate"),
    ],
)
def test_pairs_that_cannot_be_drafts_are_refused(pair, message):
    with pytest.raises(DataError, match=message):
        PAIRS["drafts"](from_memory([PLAIN, pair]))


def test_an_empty_instruction_is_refused():
    with pytest.raises(DataError, match="asks for nothing"):
        PAIRS["drafts"](from_memory([PLAIN]), instruction=" ")
