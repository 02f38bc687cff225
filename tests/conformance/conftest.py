"""Models and rows for both sides."""

import pytest

from tests.conformance.sides import Setting
from tests.tiny_text import END, TEMPLATE, chat_pairs, text_pairs, tiny_llm, tiny_tokenizer


@pytest.fixture(autouse=True)
def stable_enough(monkeypatch):
    """TRL says at each import that its experimental trainers may change."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """Its template writes a newline after each turn."""
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


@pytest.fixture(scope="module")
def settings(llm, tmp_path_factory):
    """By name: setting and pairs. The template of the second ends with the token that ends a turn."""
    turns = tiny_llm(tmp_path_factory.mktemp("turns") / "model")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace(f"{END}\n", END)
    tokenizer.save_pretrained(turns)
    return {
        "plain": (Setting(llm), text_pairs(6)),
        "turns": (Setting(turns), chat_pairs(6)),
        "adapter": (Setting(llm, rank=4), text_pairs(6, seed=1)),
    }
