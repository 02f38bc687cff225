"""Every column and message field that is not read is named; one that changes what a row means is read or refused."""

import ast
import csv
import json
import re
from dataclasses import replace

import pytest

from diffalign.data.check.run import check_pairs
from diffalign.data.media.decode import media_digest
from diffalign.data.readers import read_pairs
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import BAD_ROW, BAD_TURNS
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl, parquet, turns, ultrafeedback

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
SIDES = {"chosen": "Blue.", "rejected": "Green."}
ASK = turns("Sky?")


def read_row(tmp_path, row, **options):
    return read_pairs(jsonl(tmp_path / "a.jsonl", [row]), **options)


def test_columns_that_are_not_read_are_named(tmp_path):
    dataset = read_row(tmp_path, ultrafeedback() | {"note": "hm", "empty": "", "none": None, "chosen_judge": 2.0})
    assert dataset.unread == ("prompt_id", "messages", "note")
    assert check_pairs(dataset).facts["not read"] == "prompt_id, messages, note"
    assert "not read" not in check_pairs(read_row(tmp_path, {"prompt": "Sky? ", **SIDES})).facts


def test_fields_of_messages_that_are_not_read_are_named(tmp_path):
    asked = [{"role": "user", "content": "Sky?", "timestamp": 3, "name": "ann", "weight": None}]
    dataset = read_row(tmp_path, {"prompt": asked, **SIDES, "messages": asked})
    assert dataset.unread == ("messages", "prompt[].timestamp")
    assert dataset.pairs[0].prompt.rows() == [{"role": "user", "content": "Sky?", "name": "ann"}]


def test_alpacas_input_is_joined_to_its_instruction(tmp_path):
    rows = [
        {"instruction": "Sum up.", "input": "A fox ran home.", **SIDES},
        {"instruction": "Hi", "input": "", **SIDES},
    ]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows), columns={"prompt": "instruction"})
    assert [pair.prompt for pair in dataset.pairs] == ["Sum up.\n\nA fox ran home.", "Hi"] and not dataset.unread


@pytest.mark.parametrize("name", ["input", "context", "history", "passages"])
def test_columns_are_joined_to_the_prompt_where_they_are_named_and_refused_otherwise(tmp_path, name):
    row = {"prompt": "Sum up.", name: "A fox ran home.", **SIDES}
    with pytest.raises(DataError, match=rf"the column '{name}'.*columns=.*\['prompt', '{name}'\].*ignore={name}"):
        read_row(tmp_path, row)
    assert read_row(tmp_path, row, columns={"prompt": ["prompt", name]}).pairs[0].prompt == "Sum up.\n\nA fox ran home."
    assert read_row(tmp_path, row, ignore=[name]).unread == (name,)
    said = row | {"prompt": "Sum up.\nA fox ran home."}
    assert read_row(tmp_path, said).unread == (name,)  # the prompt says it already


def test_a_column_to_join_must_exist_and_hold_texts(tmp_path):
    with pytest.raises(DataError, match=r"lacks the column 'inputs', which columns joins.*Did you mean 'input'[^{]*$"):
        read_row(tmp_path, {"prompt": "a", "input": "b", **SIDES}, columns={"prompt": ["prompt", "inputs"]})
    with pytest.raises(DataError, match="prompt, input cannot be joined: they must hold texts"):
        read_row(tmp_path, {"prompt": ASK, "input": "b", **SIDES}, columns={"prompt": ["prompt", "input"]})
    with pytest.raises(DataError, match="must be a column's name or a list"):
        read_row(tmp_path, {"prompt": "a", **SIDES}, columns={"prompt": 3})


@pytest.mark.parametrize("name", ["system", "system_prompt"])
def test_a_system_column_becomes_the_first_turn_whatever_the_form_of_the_row(tmp_path, name):
    spoken = {"chosen": turns("Blue.", first="assistant"), "rejected": turns("Green.", first="assistant")}
    for row in ({"prompt": "Sky?", **SIDES}, {"prompt": ASK, **spoken}):
        dataset = read_pairs(jsonl(tmp_path / "a.jsonl", [row | {name: "Be brief."}, row | {name: ""}]))
        assert str(dataset.pairs[0].prompt) == "system: Be brief.\nuser: Sky?"
        assert str(dataset.pairs[1].prompt) == "user: Sky?" and str(dataset.pairs[1].chosen) == "assistant: Blue."
    assert read_row(tmp_path, {"prompt": "Sky?", **SIDES, name: ""}).pairs[0].prompt == "Sky?"
    two = [{"role": "system", "content": "Be long."}, *ASK]
    with pytest.raises(DataError, match="another one"):
        read_row(tmp_path, {"prompt": two, **spoken, name: "Be brief."})


def test_a_system_turn_reaches_every_format_of_texts(tmp_path):
    system = {"system": "Be brief."}
    rows = [
        {"prompt": "Sky?", "completion": "Blue.", "label": True},
        {"prompt": "Sky?", "completions": ["Blue.", "Green."], "scores": [2, 1]},
        {"prompt": "Sky?", "prefix": "It ", "chosen_step": "is blue.", "rejected_step": "is red."},
        {"chosen": turns("Sky?", "Blue."), "rejected": turns("Sky?", "Green.")},
    ]
    for row in rows:
        assert str(read_row(tmp_path, row | system).pairs[0].prompt) == "system: Be brief.\nuser: Sky?"
    with pytest.raises(DataError, match="the column 'system'"):  # no turn of a chat can stand before a plain text
        read_row(tmp_path, {"chosen": "Sky? Blue.", "rejected": "Sky? Green."} | system)


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])])
def test_tools_and_calls_of_tools_stay_with_the_conversation(tmp_path, tools):
    written = json.loads(json.dumps(CALL))
    written["function"]["arguments"] = '{"city": "Oslo"}'  # as OpenAI writes them
    called = {"role": "assistant", "content": None, "tool_calls": [written]}
    result = {"role": "tool", "name": "weather", "content": "none"}
    row = {"prompt": [*ASK, called, result], "chosen": turns("Dry.", first="assistant"), "rejected": [called]}
    for path in (jsonl(tmp_path / "a.jsonl", [row | {"tools": tools}]),
                 parquet(tmp_path / "a.parquet", [row | {"tools": json.dumps([TOOL])}])):  # fmt: skip
        pair = read_pairs(path).pairs[0]
        assert pair.prompt.tools == [TOOL]
        assert pair.prompt.rows()[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
        assert pair.rejected.rows() == [{"role": "assistant", "content": "", "tool_calls": [CALL]}]
    ids = {read_row(tmp_path, row).pairs[0].id, read_row(tmp_path, row | {"tools": tools}).pairs[0].id}
    assert len(ids) == 2
    assert media_digest(pair.prompt) != media_digest(replace(pair.prompt, tools_json=""))
    with pytest.raises(DataError, match="tools must be a list of objects"):
        read_row(tmp_path, row | {"tools": "a hammer"})


def test_fields_that_are_ignored_on_purpose_are_left_out_and_named(tmp_path):
    thinks = [{"role": "assistant", "content": "Blue.", "reasoning_content": "It is day."}]
    row = {"prompt": ASK, "chosen": thinks, "rejected": turns("Green.", first="assistant")}
    assert read_row(tmp_path, row).pairs[0].chosen.rows() == thinks
    dataset = read_row(tmp_path, row, ignore="reasoning_content")
    assert str(dataset.pairs[0].chosen) == "assistant: Blue."
    assert dataset.unread == ("chosen[].reasoning_content",)
    with pytest.raises(DataError, match="Did you mean 'prompt'"):
        read_row(tmp_path, row, ignore="promt")


@pytest.mark.parametrize(
    "row",
    [
        {"images": ["fox.png"], "prompt": "Which animal?", **SIDES},
        {"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Sky?"}]}], **SIDES},
        {"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "a.png"}]}], **SIDES},
    ],
)
def test_rows_about_an_image_are_no_rows_of_text(tmp_path, row):
    with pytest.raises(DataError, match="image"):
        read_row(tmp_path, row)


def test_a_source_image_is_not_lost_from_pairs_of_images(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    row = {"prompt": "make it red", "source_image": "a.png", "chosen": "a.png", "rejected": "b.png"}
    with pytest.raises(DataError, match="the column 'source_image'"):
        read_row(tmp_path, row)


def test_text_parts_of_a_message_are_joined(tmp_path):
    parts = [{"type": "text", "text": "Is the "}, {"type": "text", "text": "sky blue?", "image": None}]
    assert str(read_row(tmp_path, {"prompt": [{"role": "user", "content": parts}], **SIDES}).pairs[0].prompt) == (
        "user: Is the sky blue?"
    )


def test_sharegpt_turns_and_single_turns_are_read(tmp_path):
    asked = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Sky?"}]
    call = [{"from": "function_call", "value": '{"name": "look", "arguments": {"up": true}}'},
            {"from": "observation", "value": "blue"}]  # fmt: skip
    row = {
        "conversations": [*asked, *call],
        "chosen": {"from": "gpt", "value": "Blue."},
        "rejected": {"from": "gpt", "value": "Green."},
        "tools": "[]",
    }
    pair = read_row(tmp_path, row).pairs[0]
    assert [(turn.role, turn.content) for turn in pair.prompt.messages] == [
        ("system", "Be brief."), ("user", "Sky?"), ("assistant", ""), ("tool", "blue")]  # fmt: skip
    assert pair.prompt.messages[2].fields["tool_calls"][0]["function"] == {"name": "look", "arguments": {"up": True}}
    assert pair.chosen.rows() == [{"role": "assistant", "content": "Blue."}]
    single = {"prompt": ASK, "chosen": {"role": "assistant", "content": "Blue."}, "rejected": "Green."}
    assert read_row(tmp_path, single).pairs[0].chosen == pair.chosen


@pytest.mark.parametrize("write", [str, json.dumps])
def test_turns_that_a_csv_file_holds_as_text_are_turns(tmp_path, write):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["prompt", "chosen", "rejected"])
        table.writerow(
            [write(ASK), write(turns("It's blue.", first="assistant")), write({"role": "assistant", "content": "No."})]
        )
    pair = read_pairs(tmp_path / "a.csv").pairs[0]
    assert (pair.prompt, pair.chosen) == (Conversation.of(ASK), Conversation.of(turns("It's blue.", first="assistant")))
    assert pair.rejected.rows() == [{"role": "assistant", "content": "No."}]


def test_turns_as_text_that_cannot_be_parsed_are_dropped_and_json_answers_stay_texts(tmp_path):
    broken = "[{'role': 'user', 'content': 'Sky?'}\n {'role': 'user', 'content': 'Up?'}]"  # numpy writes no commas
    answer = '{"value": 3, "from": "Oslo"}'
    rows = [{"prompt": broken, **SIDES}, {"prompt": "Sky?", "chosen": answer, "rejected": '[{"value": 4}]'}]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows))
    assert [(row.reason, row.source) for row in dataset.dropped] == [(BAD_TURNS, "a.jsonl:1")]
    assert dataset.pairs[0].chosen == answer and dataset.pairs[0].rejected == '[{"value": 4}]'


def test_a_list_of_captions_is_no_prompt(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(image(ord(name)))
    names = {"chosen_file_name": "a.png", "rejected_file_name": "b.png"}
    rows = [
        {"prompt": ["a fox", "fox in snow"], **names},
        {"prompt": ["a fox"], **names},
        {"prompt": {"en": "x"}, **names},
    ]
    dataset = read_pairs(jsonl(tmp_path / "metadata.jsonl", rows))
    assert [pair.prompt for pair in dataset.pairs] == ["a fox"]
    assert [(row.source, row.reason) for row in dataset.dropped] == [
        ("metadata.jsonl:1", BAD_ROW), ("metadata.jsonl:3", BAD_ROW)]  # fmt: skip
    winners = jsonl(tmp_path / "winners.jsonl", [{"file_name": "a.png", "text": ["a", "b"]}])
    with pytest.raises(DataError, match="text holds 2 values; one text was expected"):
        read_pairs(winners)


def test_cells_that_only_resemble_turns_stay_or_are_dropped(tmp_path):
    deep = json.loads("[" * 300 + "]" * 300)
    rows = [
        {"prompt": "Sky?", **SIDES, "extra": deep, "input": deep},
        {"prompt": {"role": ["user"], "content": None}, **SIDES},
        {"prompt": {"role": "king", "content": "Sky?"}, **SIDES},
        {"prompt": [{"role": 3, "content": "Sky?"}], **SIDES},
        {"prompt": [{"role": "user", "content": [3]}], **SIDES},
        {"prompt": [{"role": "assistant", "tool_calls": "x"}], **SIDES},
        {"prompt": "Sky?", **SIDES},
    ]
    dataset = read_pairs(jsonl(tmp_path / "a.jsonl", rows), ignore="input")
    assert [pair.source for pair in dataset.pairs] == ["a.jsonl:1", "a.jsonl:7"]
    for wrong in (3, [3], {"a": 1}):
        with pytest.raises(DataError, match="ignore is the name of a column or a list"):
            read_pairs(tmp_path / "a.jsonl", ignore=wrong)


@pytest.mark.parametrize("question", ["prompt", "instruction", "question"])
def test_a_part_of_the_prompt_that_late_rows_have_is_joined_as_the_message_says(tmp_path, question):
    rows = [{question: "q", **SIDES} for _ in range(60)] + [{question: "q", "input": "more", **SIDES}]
    path = jsonl(tmp_path / "a.jsonl", rows)
    given = {} if question == "prompt" else {"columns": {"prompt": question}}
    with pytest.raises(DataError, match="first in a.jsonl:61") as refused:
        read_pairs(path, **given)
    columns = ast.literal_eval(re.search(r"columns=(\{.*?\})", str(refused.value))[1])
    texts = [pair.prompt for pair in read_pairs(path, columns=columns).pairs]
    assert texts == ["q"] * 60 + ["q\n\nmore"]
