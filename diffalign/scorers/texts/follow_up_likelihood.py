"""Follow-up likelihood: how much likelier a chat model finds a person's praise than a complaint after an answer.

    LL(f | c, x) = (1/|f|) sum_t log p(f_t | chat(c, x), f_<t)
    score_b = mean over categories of  mean_{f in F+} LL(f | c_b, x_b) - mean_{f in F-} LL(f | c_b, x_b)

A follow-up f is the person's next turn; exactly its own tokens count, none of the template's. The model never judges:
it only says what people write next. Answers that it reads alike score alike, so equal scores are ties, not a ranking.

The published program averages logits that are not normalised, over the last |f| positions of the template, without
shifting by one; this is the paper's definition. Other choices of sentences give other numbers.

Source: Zhang et al. 2024 (arXiv 2409.13948), section 3; the sentences are this package's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import DataError, UserError
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import read_yaml
from diffalign.printable import shown
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.texts.chat_model import ChatModel
from diffalign.scorers.texts.template_argument import split_template
from diffalign.scorers.texts.text_input import as_chat

DEFAULT = Path(__file__).parent / "templates" / "follow_ups.yaml"
SIDES = ("positive", "negative")
FollowUps = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
"""Category to its positive and its negative sentences."""


class FollowUpLikelihood(ComparesByScore):
    """A chat model's likelihood of follow-ups as a scorer.

    Args:
        chat: The model.
        follow_ups: The sentences; None for the package's own.
        name: Its name in reports.
        batch_size: Follow-ups per forward pass.
    """

    medium = "text"
    unit = "nats per token"
    range = (float("-inf"), float("inf"))
    license = "see the model's page"
    paper = "arXiv 2409.13948"

    def __init__(
        self, chat: ChatModel, follow_ups: FollowUps | None = None, *, name: str = "follow_up", batch_size: int = 36
    ) -> None:
        self.chat, self.follow_ups = chat, follow_ups or read_follow_ups()
        self.name, self.batch_size = name, batch_size

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> FollowUpLikelihood:
        """Loads ``FOLDER``, ``HUB_ID``, or either with a file of follow-ups before it: ``FILE:FOLDER``.

        Raises:
            UserError: The model or the file is missing, or is none.
        """
        file, source = split_template(argument)
        follow_ups = read_follow_ups(file) if file is not None else None
        return cls(ChatModel.load(source, device, "follow_up"), follow_ups, name=f"follow_up:{argument}")

    @property
    def weights(self) -> str:
        """Hash of the model's parameters and of the sentences."""
        return hashlib.sha256(f"{self.chat.weights} {self.follow_ups}".encode()).hexdigest()[:16]

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns the means over categories, ``(B,)`` float32."""
        return self.by_category(prompts, texts).mean(dim=1)

    @torch.no_grad()
    def by_category(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns the score of each category, ``(B, categories)`` float32, in the order of ``follow_ups``."""
        check_prompt_count(prompts, texts)
        rows = [torch.zeros(len(self.follow_ups))]
        for prompt, text in zip(prompts, texts, strict=True):
            sentences = [f for sides in self.follow_ups.values() for side in sides for f in side]
            found = iter(self._mean_logps(as_chat(prompt, text), sentences))
            values = [[[next(found) for _ in side] for side in sides] for sides in self.follow_ups.values()]
            rows.append(torch.tensor([difference_of_means(*sides) for sides in values]))
        return torch.stack(rows)[1:].float()

    def _mean_logps(self, chat: list[dict[str, Any]], sentences: Sequence[str]) -> list[float]:
        """Returns LL of each sentence; what comes before them is computed once."""
        encoded = [self._encode(chat, sentence) for sentence in sentences]
        shared = os.path.commonprefix([ids[:start] for ids, start in encoded])
        model, device = self.chat.model, self.chat.model.device
        before = self._read(shared)
        first = before.logits[0, -1].float().log_softmax(-1)
        means: list[float] = []
        for begin in range(0, len(encoded), self.batch_size):
            part = encoded[begin : begin + self.batch_size]
            rows = [ids[len(shared) :] for ids, _ in part]
            width = max(map(len, rows))
            tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
            mask = torch.tensor([[1] * (len(shared) + len(r)) + [0] * (width - len(r)) for r in rows], device=device)
            before = before if begin == 0 else self._read(shared)
            before.past_key_values.reorder_cache(torch.zeros(len(rows), dtype=torch.long, device=device))
            output = model(
                input_ids=tokens, attention_mask=mask, past_key_values=before.past_key_values, use_cache=True
            )
            after = output.logits[:, :-1].float().log_softmax(-1)
            logps = torch.cat([first.expand(len(rows), 1, -1), after], dim=1).gather(2, tokens[..., None])[..., 0]
            for (ids, start), row in zip(part, logps, strict=True):
                means.append(row[start - len(shared) : len(ids) - len(shared)].mean().item())
        return means

    def _read(self, ids: Sequence[int]) -> Any:
        """Returns the model's output for tokens, with the logits after the last one and the cache."""
        model = self.chat.model
        last_only = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
        return model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=True, **last_only)

    def _encode(self, chat: list[dict[str, Any]], sentence: str) -> tuple[list[int], int]:
        """Returns the tokens up to the end of a follow-up, and the index of its first one."""
        from jinja2 import TemplateError

        tokenizer = self.chat.tokenizer
        try:
            turns = [*chat, {"role": "user", "content": sentence}]
            text = tokenizer.apply_chat_template(turns, tokenize=False)
        except TemplateError as error:
            raise DataError(
                f"the chat template of {self.name} refuses a further turn: {error}. Leave it out."
            ) from error
        place = text.rfind(sentence)
        encoded = tokenizer(text[: place + len(sentence)], add_special_tokens=False, return_offsets_mapping=True)
        positions = getattr(self.chat.model.config.get_text_config(), "max_position_embeddings", None)
        if positions and len(encoded["input_ids"]) > positions:
            raise DataError(
                f"a chat with a follow-up has {len(encoded['input_ids']):,} tokens, and {self.name} has {positions:,} "
                f"positions: {shown(str(chat[0]['content'])[:60])}. Leave it out, or take a model of longer texts."
            )
        start = next(k for k, (_, end) in enumerate(encoded["offset_mapping"]) if end > place)
        return list(encoded["input_ids"]), start


def difference_of_means(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Returns the mean of the positive log-likelihoods minus that of the negative ones."""
    return sum(positive) / len(positive) - sum(negative) / len(negative)


def read_follow_ups(path: Path = DEFAULT) -> FollowUps:
    """Reads a file of follow-ups: category, ``positive`` and ``negative``, sentences.

    Raises:
        UserError: It is no such file, or a category has no sentences, or not as many on both sides.
    """
    content = read_yaml(read_text_file(path), str(path), UserError)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} must hold categories with positive and negative sentences; {DEFAULT} is an example.")
    found = {}
    for category, sides in content.items():
        lists = [sides.get(side) if isinstance(sides, Mapping) else None for side in SIDES]
        texts = [
            s for part in lists if isinstance(part, list) for s in part if isinstance(s, str) and s.strip() == s != ""
        ]
        counts = [len(part) if isinstance(part, list) else 0 for part in lists]
        if not counts[0] or counts[0] != counts[1] or len(texts) != sum(counts) or set(sides) != set(SIDES):
            raise UserError(
                f"{path}: the category {category!r} must have as many positive as negative sentences, at least one of "
                f"each, without space around them; {DEFAULT} is an example."
            )
        found[str(category)] = (tuple(texts[: counts[0]]), tuple(texts[counts[0] :]))
    return found
