"""A chat model whose replies a test states, behind the interface that generation calls."""

from types import SimpleNamespace

import torch

from diffalign.scorers.texts.chat_model import ChatModel
from tests.tiny_text import tiny_model, tiny_tokenizer


class Scripted(torch.nn.Module):
    """Replies to the text of a request with ``rule(text)``. It keeps no keys and values of what it has read."""

    _is_stateful = True

    def __init__(self, rule, tokenizer):
        super().__init__()
        self.rule, self.tokenizer, self.asked = rule, tokenizer, []
        self.config = tiny_model(max_position_embeddings=1 << 20).config
        self.generation_config, self.device = SimpleNamespace(eos_token_id=None), torch.device("cpu")
        self.weight = torch.nn.Parameter(torch.ones(2))

    def generate(self, input_ids, attention_mask, logits_processor):
        rows = []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            self.asked.append(self.tokenizer.decode(ids[mask.bool()]))
            rows.append(self.tokenizer(self.rule(self.asked[-1]) + "<|end|>", add_special_tokens=False)["input_ids"])
        width = max(map(len, rows))
        replies = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        return torch.cat([input_ids, replies], dim=1)


def scripted(rule):
    tokenizer = tiny_tokenizer()
    return ChatModel(Scripted(rule, tokenizer), tokenizer)


def part(text, name):
    """What a request shows as an answer."""
    return text.partition(f"[{name}]\n")[2].partition("\n[End of ")[0]


def longer_wins(text):
    """A judge of the default template: the longer answer is better, and the grade is the length, 1 to 10."""
    if "[Answer]" in text:
        return f"It has some words. [[{min(10, max(1, len(part(text, 'Answer'))))}]]"
    a, b = len(part(text, "Answer A")), len(part(text, "Answer B"))
    return f"They have {a} and {b}. [[{'A' if a > b else 'B' if b > a else 'C'}]]"
