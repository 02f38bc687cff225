"""Claims about rows of text: explicit and implicit prompts, plain, in turns and as transcripts, and single examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffalign.data.readers import detect_format, read_pairs
from diffalign.data.readers.formats.implicit_prompt import parse_transcript, split_text
from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    BAD_TURNS,
    EMPTY_CANDIDATE,
    EMPTY_PROMPT,
    IDENTICAL,
    NO_LABEL,
)
from diffalign.errors import DataError
from tests.data.fixtures import hh_rlhf, image, jsonl, parquet, turns, ultrafeedback


def talk(*contents: str, first: str = "user") -> Conversation:
    return Conversation.of(turns(*contents, first=first))


def answer(text: str) -> Conversation:
    return talk(text, first="assistant")


def read_rows(tmp_path, rows, **options):
    """The same rows as JSON lines and as parquet, which must read alike."""
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows), **options)
    columns = {name for row in rows for name in row}
    binary = read_pairs(parquet(tmp_path / "a.parquet", [dict.fromkeys(columns) | row for row in rows]), **options)
    assert [(p.id, p.prompt, p.chosen, p.rejected) for p in dataset.pairs] == [
        (p.id, p.prompt, p.chosen, p.rejected) for p in binary.pairs
    ]
    return dataset


def test_conversational_rows_become_a_prompt_and_two_answers(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    rows = [
        {
            "prompt": [system, *turns("Hi", "Hello", "Sky?")],
            "chosen": turns("Blue", first="assistant"),
            "rejected": turns("Up?", "Yes", "Green", first="assistant"),
        }
    ]
    dataset = read_rows(tmp_path, rows)
    pair = dataset.pairs[0]
    assert dataset.format == "trl"
    assert pair.prompt == Conversation((Message("system", "Be brief."), *talk("Hi", "Hello", "Sky?").messages))
    assert pair.chosen == answer("Blue") and pair.rejected == talk("Up?", "Yes", "Green", first="assistant")


def test_answers_that_repeat_the_prompt_lose_it(tmp_path):
    dataset = read_rows(tmp_path, [ultrafeedback(n) for n in range(2)])
    assert dataset.format == "trl"
    pair = dataset.pairs[1]
    assert pair.prompt == talk("What is 1 + 1?") and pair.chosen == answer("It is 2.")
    assert pair.scores == {"chosen": {"score": 8.5}, "rejected": {"score": 3.0}}
    assert dataset.ranges == {"score": (3.0, 8.5)}
    rows = [{"prompt": turns("Sky?"), "chosen": turns("Sky?", "Blue"), "rejected": turns("Sky?", "Green")}]
    again = read_rows(tmp_path, rows).pairs[0]
    assert (again.prompt, again.chosen, again.rejected) == (talk("Sky?"), answer("Blue"), answer("Green"))


def test_plain_and_conversational_cells_of_one_row_are_brought_into_turns(tmp_path):
    rows = [
        {"prompt": "Sky?", "chosen": turns("Blue", first="assistant"), "rejected": turns("Green", first="assistant")},
        {"prompt": turns("Sky?"), "chosen": "Blue", "rejected": "Green"},
    ]
    for number, row in enumerate(rows):
        pair = read_pairs(jsonl(tmp_path / f"{number}.jsonl", [row])).pairs[0]
        assert (pair.prompt, pair.chosen, pair.rejected) == (talk("Sky?"), answer("Blue"), answer("Green"))


def test_messages_that_arrow_keeps_as_lists_of_parts_are_read(tmp_path):
    parts = {"role": ["user", "assistant"], "content": ["Sky?", "Blue"]}
    row = {"prompt": "Sky?", "chosen": parts, "rejected": {**parts, "content": ["Sky?", "Green"]}}
    pair = read_rows(tmp_path, [row]).pairs[0]
    assert (pair.prompt, pair.chosen, pair.rejected) == (talk("Sky?"), answer("Blue"), answer("Green"))


def test_implicit_turns_part_where_they_differ(tmp_path):
    rows = [{"chosen": turns("Hi", "Hello", "Sky?", "Blue"), "rejected": turns("Hi", "Hello", "Sky?", "Green")}]
    dataset = read_rows(tmp_path, rows)
    assert dataset.format == "implicit"
    pair = dataset.pairs[0]
    assert (pair.prompt, pair.chosen, pair.rejected) == (talk("Hi", "Hello", "Sky?"), answer("Blue"), answer("Green"))


def test_transcripts_become_turns(tmp_path):
    dataset = read_rows(tmp_path, hh_rlhf())
    first, second = dataset.pairs
    assert dataset.format == "implicit"
    assert first.prompt == talk("How do I bake bread?", "With flour.", "And then?")
    assert (first.chosen, first.rejected) == (answer("Knead it.\n\nLet it rest."), answer("I don't know."))
    assert second.prompt == talk("Hi")
    assert second.chosen == talk("Hello!", "A joke?", "Knock knock.", first="assistant")


def test_transcripts_as_text_are_cut_after_the_last_shared_colon(tmp_path):
    rows = hh_rlhf()
    dataset = read_rows(tmp_path, rows, turns="text")
    for pair, row in zip(dataset.pairs, rows, strict=True):
        assert (pair.prompt + pair.chosen, pair.prompt + pair.rejected) == (row["chosen"], row["rejected"])
        assert pair.prompt.endswith("\n\nAssistant:")
    assert dataset.pairs[0].chosen == " Knead it.\n\nLet it rest." and dataset.pairs[1].prompt.count("Assistant") == 1
    with pytest.raises(DataError, match="turns is the form of transcripts.*Did you mean 'messages'"):
        read_pairs(jsonl(tmp_path / "a.jsonl", rows), turns="message")


@pytest.mark.parametrize(
    "chosen, rejected, prompt",
    [
        ("Sky? Blue", "Sky? Green", "Sky?"),  # as TRL: the space goes to the answers
        ("Sky?\nBlue", "Sky?\nGreen", "Sky?\n"),  # as TRL: another white space stays
        ("The sky is blue", "The sky is black", "The sky is"),  # TRL: "The sky is bl"
        ("Q: x A: yes", "Q: x A: yes please", "Q: x A:"),
        ("问：天空？答：蓝色。", "问：天空？答：绿色的。", "问：天空？答："),  # each letter is a word
        ("User: 问：天空？答：蓝色。", "User: 问：天空？答：绿色的。", "User: 问：天空？答："),
        ("问：好吗？答：好。", "问：好吗？答：好。因为", "问：好吗？答："),  # each side keeps a word
        ("空は？青い", "空は？あおい", "空は？"),
        ("用iPhone吗", "用iPad吗", "用"),  # a word of another script is not cut
        ("สีอะไร เขียว", "สีอะไร แดง", "สีอะไร"),
        ("ตอบกา", "ตอบกิ", "ตอบ"),  # a vowel stays with its consonant
        ("하늘은 파란색", "하늘은 파랑", "하늘은"),  # Korean has spaces
    ],
)
def test_plain_texts_part_where_a_word_begins(chosen, rejected, prompt):
    assert split_text(chosen, rejected) == (prompt, [chosen[len(prompt) :], rejected[len(prompt) :]])


@given(st.text("ab \n问。", min_size=1), st.text("ab \n问กิ"), st.text("ab \n问กา"))
def test_splitting_loses_nothing(head, one, other):
    chosen, rejected = f"x {head}{one}", f"x {head}{other}"
    prompt, answers = split_text(chosen, rejected)
    assert [prompt + answer for answer in answers] == [chosen, rejected]


def test_speakers_are_detected_only_at_the_beginning_of_a_paragraph():
    text = "\n\nHuman: say\nHuman: x and Assistant: y\n\nAssistant:ok\n\nHuman:"
    assert parse_transcript(text) == talk("say\nHuman: x and Assistant: y", "ok", "")


@pytest.mark.parametrize("label, good", [(True, True), (False, False), (1, True), (0.0, False), ("false", False)])
def test_unpaired_rows_are_single_examples_with_their_label(tmp_path, label, good):
    rows = [{"prompt": "Sky?", "completion": "Blue", "label": label}, {"prompt": "q", "completion": "a", "label": True}]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert dataset.format == "unpaired"
    pair = dataset.pairs[0]
    assert (pair.prompt, pair.chosen, pair.rejected, pair.desirable) == ("Sky?", "Blue", None, good)
    assert dataset.summary().startswith("2 winners" if good else "2 examples")


def test_unpaired_rows_may_be_in_turns(tmp_path):
    rows = [
        {"prompt": turns("Sky?"), "completion": turns("Blue", first="assistant"), "label": True},
        {"prompt": turns("Sky?"), "completion": turns("Sky?", "Green"), "label": False},
    ]
    found = read_rows(tmp_path, rows).pairs
    assert [(p.prompt, p.chosen) for p in found] == [(talk("Sky?"), answer("Blue")), (talk("Sky?"), answer("Green"))]
    row = {"prompt": "Sky?", "completion": turns("Sky?", "Blue"), "label": True}
    again = read_pairs(jsonl(tmp_path / "b.jsonl", [row])).pairs
    assert (again[0].prompt, again[0].chosen) == (talk("Sky?"), answer("Blue"))


def test_each_malformed_conversation_is_dropped_with_its_row_and_reason(tmp_path):
    good = ultrafeedback(7)
    bad = [
        ({"chosen": [{"content": "no role"}]}, BAD_TURNS, "chosen: turn 0"),
        ({"rejected": [{"role": "assistant", "content": None}]}, BAD_TURNS, "rejected: turn 0"),
        ({"rejected": ["text"]}, BAD_TURNS, "one answer is plain"),
        ({"chosen": turns("What is 7 + 7?", "14", "Thanks")}, BAD_TURNS, "the last turn of chosen is the user's"),
        ({"chosen": turns("Something else?", "14")}, EMPTY_PROMPT, ""),
        ({"chosen": turns("What is 7 + 7?", " ")}, EMPTY_CANDIDATE, "chosen: turn 0 is empty"),
        ({"chosen": turns("What is 7 + 7?")}, EMPTY_CANDIDATE, "chosen has no turn of its own"),
        ({"chosen": []}, EMPTY_CANDIDATE, ""),
        ({"chosen": "14"}, BAD_TURNS, "one answer is plain"),
        ({"chosen": good["rejected"]}, IDENTICAL, ""),
        ({"prompt": turns("Sky?", "Blue")}, BAD_TURNS, "the prompt ends with the assistant's turn"),
        ({"prompt": [{"role": "system", "content": "Be brief."}]}, EMPTY_PROMPT, "system"),
        ({"prompt": 3.5, "chosen": "", "rejected": "b"}, EMPTY_CANDIDATE, "chosen"),
    ]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", [good, *({**good, **change} for change, _, _ in bad)]))
    assert len(dataset) == 1
    assert [row.source for row in dataset.dropped] == [f"a.jsonl:{n}" for n in range(2, len(bad) + 2)]
    assert [row.reason for row in dataset.dropped] == [reason for _, reason, _ in bad]
    for row, (_, _, detail) in zip(dataset.dropped, bad, strict=True):
        assert detail in row.detail


def test_each_malformed_implicit_or_unpaired_row_is_dropped_for_its_own_reason(tmp_path):
    good = {"chosen": "Sky? Blue", "rejected": "Sky? Green"}
    bad = [
        ({"chosen": "Other"}, EMPTY_PROMPT),
        ({"chosen": ""}, EMPTY_CANDIDATE),
        ({"chosen": good["rejected"]}, IDENTICAL),
        ({"chosen": turns("Sky?", "Blue")}, BAD_TURNS),
        ({"chosen": {"role": 1}}, BAD_ROW),
    ]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", [good, *({**good, **change} for change, _ in bad)]))
    assert len(dataset) == 1 and [row.reason for row in dataset.dropped] == [reason for _, reason in bad]
    good = {"prompt": "q", "completion": "a", "label": True}
    bad = [
        ({"label": None}, NO_LABEL),
        ({"label": "perhaps"}, BAD_LABEL),
        ({"label": 0.5}, BAD_LABEL),
        ({"completion": ""}, EMPTY_CANDIDATE),
        ({"prompt": None}, EMPTY_PROMPT),
    ]
    dataset = read_pairs(jsonl(tmp_path / "b.jsonl", [good, *({**good, **change} for change, _ in bad)]))
    assert len(dataset) == 1 and [row.reason for row in dataset.dropped] == [reason for _, reason in bad]


def test_an_implicit_prompt_is_not_assumed_where_a_column_may_hold_it(tmp_path):
    row = {"chosen": "Blue", "rejected": "Green", "question": "Sky?"}
    table = jsonl(tmp_path / "a.jsonl", [row])
    with pytest.raises(DataError, match=r"columns=\{'prompt': 'question'\}"):
        detect_format(table)
    assert read_pairs(table, columns={"prompt": "question"}).pairs[0].prompt == "Sky?"


def test_images_without_a_prompt_are_refused(tmp_path):
    rows = [{"chosen": image(0), "rejected": image(1)}]
    with pytest.raises(DataError, match="no prompt"):
        read_pairs(parquet(tmp_path / "a.parquet", rows))
    with pytest.raises(DataError, match="no prompt"):
        read_pairs(jsonl(tmp_path / "a.jsonl", [{"chosen": "a.png", "rejected": "b.png"}]))


def test_a_format_that_does_not_fit_names_the_one_that_does(tmp_path):
    table = jsonl(tmp_path / "a.jsonl", [{"prompt": "q", "completion": "a", "label": True}])
    with pytest.raises(
        DataError, match="'chosen', 'rejected', which the trl format needs.*those of the unpaired format"
    ):
        read_pairs(table, format="trl")
    with pytest.raises(DataError, match="The nearest, unpaired .*lacks the column 'label'"):
        read_pairs(jsonl(tmp_path / "b.jsonl", [{"prompt": "q", "completion": "a"}]))


def test_turns_and_plain_texts_get_ids_of_their_own(tmp_path):
    plain = {"prompt": "q", "chosen": "a", "rejected": "b"}
    chat = {"prompt": turns("q"), "chosen": turns("a", first="assistant"), "rejected": turns("b", first="assistant")}
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", [plain, chat, {**plain, "id": 0}, plain]))
    ids = [pair.id for pair in dataset.pairs]
    assert len(set(ids)) == 4 and ids[2] == "0" and ids[3] == f"{ids[0]}-2"


def test_an_answer_that_goes_on_where_the_other_one_ends_is_a_pair(tmp_path):
    short, long = turns("Sky?", "Blue."), turns("Sky?", "Blue.", "Sure?", "Quite sure.")
    dataset = read_rows(tmp_path, [{"chosen": long, "rejected": short}, {"chosen": short, "rejected": long}])
    assert not dataset.dropped and all(pair.prompt == talk("Sky?") for pair in dataset.pairs)
    assert dataset.pairs[0].chosen == talk("Blue.", "Sure?", "Quite sure.", first="assistant")
    assert dataset.pairs[0].rejected == answer("Blue.")
