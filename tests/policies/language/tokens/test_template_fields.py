"""Tools, calls of tools and thoughts are written by the chat template, or the row is refused."""

import pytest

from diffalign.data.records.conversation import Conversation
from diffalign.errors import DataError
from diffalign.policies.language.tokens.chat import ChatTemplate
from tests.tiny_text import TEMPLATE, tiny_tokenizer

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
WRITES_TOOLS = "{% for tool in tools or [] %}tool: {{ tool | tojson }}\n{% endfor %}"
WRITES_FIELDS = TEMPLATE.replace(
    "|>\n{{ message['content'] }}",
    "|>\n{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    "{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}call: {{ call.function | tojson }}{% endfor %}",
)
ASK = {"role": "user", "content": "Rain?"}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "none", "name": "weather"}
THINKS = {"role": "assistant", "content": "Dry.", "reasoning_content": "no rain, so dry"}
ANSWER = {"role": "assistant", "content": "Dry."}


def conversation(*rows, tools=()) -> Conversation:
    return Conversation.of(rows, tools)


def test_tools_are_given_to_the_template():
    text = ChatTemplate(tiny_tokenizer(), WRITES_TOOLS + TEMPLATE).render_prompt(conversation(ASK, tools=[TOOL]))
    assert text.startswith('tool: {"type": "function", "function": {"name": "weather"')


@pytest.mark.parametrize("template", [WRITES_FIELDS, WRITES_FIELDS.replace("<|end|>", "")])
def test_a_call_of_a_tool_is_a_span_of_the_answer_also_without_a_text(template):
    chat = ChatTemplate(tiny_tokenizer(), template)
    exchange = chat.render_exchange(conversation(ASK), [conversation(CALLS, RESULT, ANSWER), conversation(CALLS)])
    end = "<|end|>" if "<|end|>" in template else ""
    call = 'call: {"name": "weather", "arguments": {"city": "Oslo"}}' + end
    spans = [[answer.text[start:stop].strip() for start, stop in answer.spans] for answer in exchange.answers]
    assert spans == [[call, f"Dry.{end}"], [call]]


def test_thoughts_of_an_answer_are_a_part_of_its_span():
    exchange = ChatTemplate(tiny_tokenizer(), WRITES_FIELDS).render_exchange(conversation(ASK), [conversation(THINKS)])
    (start, stop), text = exchange.answers[0].spans[0], exchange.answers[0].text
    assert text[start:stop] == "<think>no rain, so dry</think>Dry.<|end|>"


@pytest.mark.parametrize(
    ("prompt", "answer", "name"),
    [
        (conversation(ASK, tools=[TOOL]), conversation(ANSWER), "tools"),
        (conversation(ASK, CALLS, RESULT), conversation(ANSWER), "tool_calls"),
        (conversation(ASK), conversation(THINKS), "reasoning_content"),
        (conversation(ASK), conversation(CALLS | {"content": "I look."}), "tool_calls"),
    ],
)
def test_a_template_that_leaves_a_field_out_is_refused_with_the_words_to_type(prompt, answer, name):
    with pytest.raises(DataError, match=rf"leaves out {name}.*data.options.ignore=\[{name}\]"):
        ChatTemplate(tiny_tokenizer()).render_exchange(prompt, [answer])


def test_thoughts_before_the_last_question_and_names_may_be_left_out():
    earlier = conversation(ASK, THINKS, ASK, RESULT, ASK)
    chat = ChatTemplate(tiny_tokenizer())
    assert "no rain" not in chat.render_prompt(earlier) and chat.unwritten == {"name"}
    writes_names = TEMPLATE.replace("|>\n{{", "|>\n{{ message.name }}{{")
    chat = ChatTemplate(tiny_tokenizer(), writes_names)
    assert "weathernone" in chat.render_prompt(earlier) and not chat.unwritten


def test_the_recipes_system_turn_keeps_the_tools():
    chat = ChatTemplate(tiny_tokenizer(), WRITES_TOOLS + TEMPLATE, system="be brief")
    assert "weather" in chat.render_prompt(conversation(ASK, tools=[TOOL]))
