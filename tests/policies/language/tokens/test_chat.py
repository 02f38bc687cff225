"""Chat templates: which text belongs to the answer, and which templates are refused."""

import pytest

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import ConfigError, DataError
from diffalign.policies.language.tokens.chat import ChatTemplate
from tests.tiny_text import TEMPLATE, tiny_tokenizer


def turns(*pairs: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in pairs))


ASK = turns(("user", "hi"))
ANSWER = turns(("assistant", "yes"))
REFUSES_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
# Answers open with a thought that the written exchange does not have, as reasoning models' do.
THINKS = TEMPLATE.replace("<|assistant|>\n{% endif %}", "<|assistant|>\n<think>\n{% endif %}")


def spans(exchange) -> list[list[str]]:
    return [[answer.text[start:stop] for start, stop in answer.spans] for answer in exchange.answers]


def test_an_answer_follows_the_opening_and_ends_with_the_end_token():
    exchange = ChatTemplate(tiny_tokenizer()).render_exchange(ASK, [ANSWER, turns(("assistant", "no"))])
    assert exchange.prompt == "<|user|>\nhi<|end|>\n<|assistant|>\n"
    assert spans(exchange) == [["yes<|end|>"], ["no<|end|>"]]
    assert exchange.answers[0].text.endswith("yes<|end|>")  # the newline after it is cut


def test_only_the_assistants_turns_are_spans_of_an_answer_of_several_turns():
    answer = turns(("assistant", "one"), ("user", "one"), ("assistant", "two"))
    assert spans(ChatTemplate(tiny_tokenizer()).render_exchange(ASK, [answer])) == [["one<|end|>", "two<|end|>"]]


def test_the_system_turn_of_the_recipe_is_added_to_conversations_without_one():
    chat = ChatTemplate(tiny_tokenizer(), system="be brief")
    assert chat.render_prompt(ASK).startswith("<|system|>\nbe brief<|end|>\n<|user|>\nhi")
    assert "be brief" not in chat.render_prompt(turns(("system", "be long"), ("user", "hi")))


def test_a_template_in_the_recipe_replaces_the_tokenizers(tmp_path):
    file = tmp_path / "chat.jinja"
    file.write_text(TEMPLATE.replace("<|{{ message['role'] }}|>", "{{ message['role'] }}:"))
    for template in (file, str(file), file.read_text()):
        assert ChatTemplate(tiny_tokenizer(chat=False), template).render_prompt(ASK).startswith("user:\nhi")
    with pytest.raises(ConfigError, match="neither a Jinja template nor a file"):
        ChatTemplate(tiny_tokenizer(), tmp_path / "nowhere.jinja")


def test_a_conversation_without_a_template_is_refused_with_advice():
    with pytest.raises(ConfigError, match="model.chat_template=FILE"):
        ChatTemplate(tiny_tokenizer(chat=False)).render_prompt(ASK)


def test_a_refused_system_turn_raises_an_error_with_advice():
    chat = ChatTemplate(tiny_tokenizer(), REFUSES_SYSTEM + TEMPLATE)
    assert chat.render_prompt(ASK)
    with pytest.raises(DataError, match="first user turn"):
        chat.render_prompt(turns(("system", "be brief"), ("user", "hi")))
    with pytest.raises(DataError, match="leave model.system out"):
        ChatTemplate(tiny_tokenizer(), REFUSES_SYSTEM + TEMPLATE, system="be brief").render_prompt(ASK)


def test_a_template_that_drops_a_turn_is_refused():
    dropped = TEMPLATE.replace("in messages %}", "in messages[-1:] %}")
    with pytest.raises(DataError, match="leaves out turn 0 of 3"):
        ChatTemplate(tiny_tokenizer(), dropped).render_prompt(
            turns(("user", "first"), ("assistant", "a"), ("user", "second"))
        )
    only_prompts = TEMPLATE.replace("{% for", "{% if add_generation_prompt %}earlier: {% endif %}{% for")
    with pytest.raises(DataError, match="cannot be separated"):
        ChatTemplate(tiny_tokenizer(), only_prompts).render_exchange(ASK, [ANSWER])


def test_if_opening_and_answer_differ_the_prompt_ends_where_they_do():
    exchange = ChatTemplate(tiny_tokenizer(), THINKS).render_exchange(ASK, [ANSWER])
    assert exchange.template_diverged and exchange.prompt.endswith("<|assistant|>\n")
    assert spans(exchange) == [["yes<|end|>"]]


def test_templates_may_leave_thoughts_out_of_earlier_turns():
    drops_thoughts = TEMPLATE.replace("message['content'] }}", "message['content'].split('</think>')[-1] }}")
    text = ChatTemplate(tiny_tokenizer(), drops_thoughts).render_prompt(
        turns(("user", "a"), ("assistant", "hm</think>b"), ("user", "c"))
    )
    assert "hm" not in text and "b<|end|>" in text


def test_the_turn_end_is_the_token_that_the_template_writes_after_an_answer():
    tokenizer = tiny_tokenizer()
    assert ChatTemplate(tokenizer).end == "<|end|>"
    assert ChatTemplate(tokenizer, TEMPLATE.replace("<|end|>", "<unk>")).end == "<unk>"  # as Gemma's <end_of_turn>
    assert ChatTemplate(tokenizer, TEMPLATE.replace("<|end|>", " .")).end is None
    assert ChatTemplate(tokenizer, TEMPLATE.replace("<|end|>", "<unk><|end|>")).end == "<|end|>"


def test_an_end_token_within_an_answer_does_not_end_it():
    exchange = ChatTemplate(tiny_tokenizer()).render_exchange(ASK, [turns(("assistant", "say <|end|> aloud"))])
    assert spans(exchange) == [["say <|end|> aloud<|end|>"]]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (turns(("user", "no")), "begin and end with a turn of the assistant; got user"),
        (turns(("assistant", "a"), ("user", "b")), "begin and end"),
        (Conversation(()), "no turn"),
        (turns(("assistant", " \n")), "the response is empty"),
    ],
)
def test_invalid_answers_are_refused_with_the_reason(answer, why):
    with pytest.raises(DataError, match=why):
        ChatTemplate(tiny_tokenizer()).render_exchange(ASK, [answer])


def test_a_template_that_prints_the_date_gets_a_fixed_one():
    dated = "{{ strftime_now('%d %b %Y') }}\n" + TEMPLATE
    assert ChatTemplate(tiny_tokenizer(), dated).render_prompt(ASK).startswith("26 Jul 2024\n")
