"""The reason for a label as one more answer."""

from dataclasses import replace

import pytest

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Answer, Pair
from diffalign.errors import DataError
from diffalign.pairs import PAIRS, from_memory
from diffalign.pairs.dataset import DatasetPairs
from diffalign.pairs.rationales import QUESTION


def row(number, **fields):
    fields = {"further": {"rationale": Answer("It is polite.")}, **fields}
    return Pair(f"p{number}", "Greet me.", "Good day!", "What?", **fields)


def conversation(text, role="assistant"):
    return Conversation((Message(role, text),))


def made(*pairs, **settings):
    return [pair.further["rationale"] for pair in PAIRS["rationales"](from_memory(pairs), **settings).pairs]


def test_the_prompt_shows_both_answers_and_the_rationale_names_the_better_one():
    for answer in made(*(row(k) for k in range(20))):
        first, second = ("Good day!", "What?") if answer.candidate.startswith("Answer A") else ("What?", "Good day!")
        assert answer.prompt == f"Greet me.\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\n{QUESTION}\n\n"
        assert answer.candidate[7] in "AB" and answer.candidate[8:] == " is better. It is polite."


def test_the_order_depends_only_on_the_id_and_both_are_equally_frequent():
    rows = [row(k) for k in range(400)]
    letters = [answer.candidate[7] for answer in made(*rows)]
    assert 150 < letters.count("A") < 250
    again = made(*(replace(pair, chosen="Hello.") for pair in reversed(rows)))
    assert [answer.candidate[7] for answer in reversed(again)] == letters


def test_the_published_form_shows_the_chosen_answer_first_and_adds_no_text():
    for answer in made(*(row(k) for k in range(5)), shuffle=False, question="Why?"):
        assert answer.prompt == "Greet me.\n\nAnswer A:\nGood day!\n\nAnswer B:\nWhat?\n\nWhy?\n\n"
        assert answer.candidate == "It is polite."


def test_in_a_conversation_the_prompt_is_one_turn():
    talk = replace(
        row(0),
        prompt=conversation("Greet me.", "user"),
        chosen=conversation("Good day!"),
        rejected=conversation("What?"),
    )
    talk = replace(talk, further={"rationale": Answer(conversation("It is polite."))})
    (found,), (plain,) = made(talk), made(row(0))
    assert found.prompt == conversation(plain.prompt.rstrip(), "user") and found.candidate == conversation(
        plain.candidate
    )
    longer = Conversation((Message("user", "Hi"), Message("assistant", "Hi."), Message("user", "Greet me.")))
    (found,) = made(replace(talk, prompt=longer))
    assert found.prompt.messages[0].content.startswith("user: Hi\nassistant: Hi.\nuser: Greet me.\n\nAnswer A:")


def test_rows_without_a_rationale_are_left_out_and_counted():
    source = PAIRS["rationales"](DatasetPairs((row(0), row(1, further={}), row(2)), name="votes"))
    assert [pair.id for pair in source.pairs] == ["p0", "p2"]
    assert source.summary() == "2 pairs on 1 prompts from votes; left out: 1 without a rationale"
    with pytest.raises(DataError, match="none of 1 pairs has a rationale.*a column 'rationale'"):
        PAIRS["rationales"](from_memory([row(0, further={})]))


def test_images_are_refused():
    with pytest.raises(DataError, match="p0 compares no texts"):
        PAIRS["rationales"](from_memory([replace(row(0), chosen=b"png", rejected=b"gif")]))
