"""Generative judges: a chat model reads a request with two answers and writes which is better, or grades one answer.

    P(a beats b) = (v(a, b) + 1 - v(b, a)) / 2,      v in {1, 1/2, 0}: the first answer wins, a tie, the second wins

Each pair is judged in both orders. A judge that always prefers the first place gives 1/2 and so decides nothing; how
often the winner changed with the order is counted. A judge that grades gives a number on the template's scale.

A reply without a verdict (see `judge_template`) is a tie, or the middle of the scale, and is counted too. Where more
than a fifth of the replies are such, the pass stops: the model does not follow the template.

Source: Zheng et al. 2023 (arXiv 2306.05685), sections 3.3 and 3.4 (both orders, position bias).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.conversation import Conversation
from diffalign.errors import DataError, UserError
from diffalign.printable import shown
from diffalign.scorers.scorer import check_prompt_count
from diffalign.scorers.texts.chat_model import ChatModel
from diffalign.scorers.texts.judge_template import TIE, JudgeTemplate, read_template
from diffalign.scorers.texts.template_argument import split_template
from diffalign.scorers.texts.text_input import as_answer

MOST_UNREAD = 0.2
"""Share of replies without a verdict at which a pass stops, once there are more than :data:`FEW` of them."""
FEW = 3


@dataclass
class JudgeCounts:
    """What became of a judge's replies.

    Args:
        replies: Replies.
        unread: Those without a verdict.
        pairs: Pairs of different answers.
        changed: Those whose winner changed with the order, or that one order called a tie.
        first: Times that the first place won, of all replies to pairs.
        second: Times that the second place won.
    """

    replies: int = 0
    unread: int = 0
    pairs: int = 0
    changed: int = 0
    first: int = 0
    second: int = 0

    @property
    def position_bias(self) -> float:
        """Share of pairs whose verdict changed with the order; NaN before the first pair."""
        return self.changed / self.pairs if self.pairs else float("nan")

    def summary(self) -> str:
        """Returns one line; empty before the first reply."""
        parts = []
        if self.pairs:
            parts.append(
                f"{self.pairs:,} pairs in both orders, {self.position_bias:.1%} of the verdicts changed with the order "
                f"(the first place won {self.first:,} times, the second {self.second:,})"
            )
        if self.replies:
            parts.append(f"{self.unread:,} of {self.replies:,} replies held no verdict")
        return "; ".join(parts)


class GenerativeJudge:
    """A chat model as a judge.

    Args:
        chat: The model.
        template: Its questions.
        name: Its name in reports.
        batch_size: Requests per batch.
    """

    medium = "text"
    license = "see the model's page"
    paper = "arXiv 2306.05685"
    preprocessing = "template of requests"
    logits_per_unit = None

    def __init__(
        self, chat: ChatModel, template: JudgeTemplate | None = None, *, name: str = "judge", batch_size: int = 8
    ) -> None:
        self.chat, self.template, self.name, self.batch_size = chat, template or read_template(), name, batch_size
        self.counts, self._last = JudgeCounts(), list[str]()
        grade = self.template.grade
        self.range = (grade.least, grade.most) if grade is not None else (0.0, 1.0)
        self.unit = f"grade, {grade.least:g} to {grade.most:g}" if grade is not None else "none: it only compares"

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> GenerativeJudge:
        """Loads ``FOLDER``, ``HUB_ID``, or either with a template file before it: ``FILE:FOLDER``.

        Raises:
            UserError: The model or the template is missing, or is none.
        """
        file, source = split_template(argument)
        template = read_template(file) if file is not None else read_template()
        return cls(ChatModel.load(source, device, "judge"), template, name=f"judge:{argument}")

    @property
    def weights(self) -> str:
        """Hash of the model's parameters and of the template: another template is another judge."""
        return hashlib.sha256(f"{self.chat.weights} {self.template}".encode()).hexdigest()[:16]

    def notes(self) -> list[str]:
        """Returns how often the order of two answers changed the verdict, and how many replies held none."""
        summary = self.counts.summary()
        return [f"{self.name}: {summary}"] if summary else []

    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns grades, ``(B,)`` float32.

        Raises:
            UserError: The template has no scale.
            DataError: More than a fifth of the replies hold no grade.
        """
        check_prompt_count(prompts, texts)
        grade = self.template.grade
        if grade is None:
            raise UserError(
                f"{self.name} only compares: its template has no part 'grade'. Add one, or compare pairs with it."
            )
        requests = [grade.ask(_dialogue(p), as_answer(text)) for p, text in zip(prompts, texts, strict=True)]
        grades = [grade.read(reply) for reply in self._replies(requests)]
        self._check_read(grades)
        middle = (grade.least + grade.most) / 2
        return torch.tensor([middle if value is None else value for value in grades], dtype=torch.float32)

    def compare(self, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any]) -> Tensor:
        """Returns the probability that ``a`` beats ``b``, ``(B,)`` float32: 0, 1/4, 1/2, 3/4 or 1.

        Raises:
            DataError: More than a fifth of the replies hold no verdict.
        """
        check_prompt_count(prompts, a)
        check_prompt_count(prompts, b)
        pairs = [(as_answer(x), as_answer(y)) for x, y in zip(a, b, strict=True)]
        # in an order that does not depend on which answer is called a, so that both calls ask the same
        ordered = {row: sorted(pair) for row, pair in enumerate(pairs) if pair[0] != pair[1]}
        requests = []
        for row, (x, y) in ordered.items():
            prompt = _dialogue(prompts[row])
            requests += [self.template.compare.ask(prompt, x, y), self.template.compare.ask(prompt, y, x)]
        verdicts = [self.template.compare.read(reply) for reply in self._replies(requests)]
        self._check_read(verdicts)
        result = torch.full((len(pairs),), TIE)
        for number, (row, (x, _)) in enumerate(ordered.items()):
            share = self._settle(*verdicts[2 * number : 2 * number + 2])
            result[row] = share if pairs[row][0] == x else 1.0 - share
        return result

    def _settle(self, forward: float | None, backward: float | None) -> float:
        """Returns the share of the answer that came first in the first order, and counts both verdicts."""
        one, two = (TIE if verdict is None else verdict for verdict in (forward, backward))
        self.counts.pairs += 1
        self.counts.first += (one == 1.0) + (two == 1.0)
        self.counts.second += (one == 0.0) + (two == 0.0)
        self.counts.changed += one != 1.0 - two
        return (one + 1.0 - two) / 2

    def _replies(self, requests: Sequence[str]) -> list[str]:
        settings: dict[str, Any] = {"system": self.template.system, "max_new_tokens": self.template.max_new_tokens}
        self._last = self.chat.replies(requests, **settings, batch=self.batch_size) if requests else []
        return self._last

    def _check_read(self, verdicts: Sequence[float | None]) -> None:
        self.counts.replies += len(verdicts)
        self.counts.unread += sum(verdict is None for verdict in verdicts)
        if self.counts.unread > max(FEW, MOST_UNREAD * self.counts.replies):
            example = next((r for r, v in zip(self._last, verdicts, strict=True) if v is None), "")
            raise DataError(
                f"{self.counts.unread:,} of {self.counts.replies:,} replies of {self.name} hold no verdict, such as "
                f"{shown(example[-80:])}. Raise max_new_tokens in its template if they are cut off, or "
                "take a model that follows instructions."
            )


def _dialogue(prompt: Any) -> str:
    """Returns a prompt as text: what the only turn says, or several turns one below the other."""
    if not isinstance(prompt, Conversation):
        return as_answer(prompt)
    return prompt.messages[0].content if len(prompt) == 1 and not prompt.tools_json else str(prompt)
