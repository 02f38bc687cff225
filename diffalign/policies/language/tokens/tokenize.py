"""Texts become tokens here, by rules that are stated once and checked before training.

Plain rows: the prompt is tokenised with what the tokenizer begins texts with; a response is what prompt and response
together have after the prompt's tokens, and the end token is added where it is not there already. If a token would
reach across the border, the two are tokenised apart, so that the prompt is what the model will meet when it is asked.
(TRL 1.16 starts the response where the tokens diverge instead, and leaves that end of the prompt out.)

Conversations: the chat template writes the whole exchange, which is tokenised as one; a response is what stands after
the opening of the answer, up to and including the token that ends the turn. (TRL keeps what the template writes after
it, such as a newline, which no model generates.) In an answer of several turns the assistant's alone are scored. A
prompt in turns makes a plain response an assistant's turn; a response in turns makes a plain prompt the user's.

Lengths: prompts beyond ``max_prompt_length`` (by default all but one of ``max_length``) are refused or cut, as
``long_prompts`` says; ``keep_end`` keeps the token that begins texts as well. Then responses are cut at their end, so
that both together have ``max_length``; a response that was cut has lost its end token, and is scored without.

Then what all responses of a pair begin with goes to the prompt's end, where ``shared_start`` is ``prompt``; and of what
is left those tokens are scored that ``score_spans`` leaves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.policies.answer_roles import own_prompt_answers
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.chat import Chat, Exchange, Written
from diffalign.policies.language.tokens.errors import SHOWN, problem_of, problems_of
from diffalign.policies.language.tokens.spans import Spans
from diffalign.policies.language.tokens.token_pair import Cuts, Response, TokenPair
from diffalign.policies.language.tokens.tokenizer_info import begins_with, digest, encode, token_id

__all__ = ["Cuts", "Response", "TokenPair", "Tokens"]

RULES = 1  # goes up when equal texts become other tokens
CHUNK = 256  # pairs tokenised at a time in a pass over a data set


class Tokens:
    """A tokenizer, and the recipe's rules for it.

    Args:
        tokenizer: Of transformers.
        config: The rules.

    Raises:
        ConfigError: for a tokenizer without an end token, or an end token that it does not know.
    """

    def __init__(self, tokenizer: Any, config: LanguageConfig):
        self.tokenizer = tokenizer
        self.config = config
        self.end = token_id(tokenizer, config.end_token or tokenizer.eos_token)
        self.chat = Chat(tokenizer, config.chat_template, config.system, config.end_token)
        self.start = begins_with(tokenizer)
        self.spans = None if config.score_spans is None else Spans(config.score_spans, tokenizer)
        self.cuts = Cuts()

    @cached_property
    def turn_end(self) -> int:
        """The token that ends an answer in a conversation."""
        return token_id(self.tokenizer, self.chat.end) if self.chat.available and self.chat.end else self.end

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens after which nothing is generated."""
        return tuple(dict.fromkeys((self.end, self.turn_end)))

    def question(self, pair: Pair) -> TokenPair:
        """One pair in tokens. Raises as ``questions``."""
        return self.questions([pair])[0]

    def questions(self, pairs: Sequence[Pair]) -> list[TokenPair]:
        """Pairs in tokens, tokenised in one call.

        Raises:
            DataError: names every row that cannot be trained on and why: a prompt longer than the limit, an empty
                response, chosen equal to rejected, turns that the chat template refuses.
            ConfigError: for conversations without a chat template.
        """
        good, problems = self._questions(pairs)
        if problems:
            raise DataError(problems_of(problems, len(pairs)))
        return good

    def beside(self, question: TokenPair, response: Response, key: str) -> TokenPair:
        """A question of one response with another one behind it, such as what the policy wrote itself; ``key`` is the
        pair's id."""
        first, *others = question.responses
        response = response if self.spans is None else self.spans(response, f"{key}/1")
        return self._narrowed(replace(question, responses=(first, response, *others)))

    def survey(
        self,
        pairs: Iterable[Pair],
        progress: Callable[[int], None] | None = None,
        also: Callable[[TokenPair], None] | None = None,
    ) -> Cuts:
        """A pass over a data set in flat memory: what it holds and what will be cut, kept as ``cuts``.

        Args:
            pairs: Those to be trained on.
            progress: Told after every few hundred how many were read.
            also: Shown every question.

        Raises:
            DataError: as ``questions``, with all rows counted and the first few named.
        """
        self.cuts = Cuts()
        problems: list[str] = []
        rows, read, failed = iter(pairs), 0, 0
        while chunk := list(islice(rows, CHUNK)):
            good, bad = self._questions(
                [*chunk, *(apart for pair in chunk for apart in own_prompt_answers(pair).values())]
            )
            for question in good:
                self.cuts.add(question)
                if also:
                    also(question)
            problems += bad[: SHOWN - len(problems)]
            read, failed = read + len(chunk), failed + len(bad)
            if progress:
                progress(read)
        if failed:
            raise DataError(problems_of(problems, read, failed))
        return self.cuts

    def describe(self) -> str:
        """The rules in one line, for a header."""
        whose = "the tokenizer's" if self.chat.own else "the recipe's"
        parts = [f"{whose} chat template" if self.chat.available else "no chat template"]
        if self.spans is not None:
            parts.append(self.spans.rule.describe())
        if self.config.shared_start == "prompt":
            parts.append("scored from the first difference on")
        if self.config.max_length:
            parts.append(f"at most {self.config.max_length:,} tokens")
        if self.config.prompt_limit:
            done = {"error": "refused", "keep_end": "cut at their start", "keep_start": "cut at their end"}
            parts.append(f"prompts beyond {self.config.prompt_limit:,} are {done[self.config.long_prompts]}")
        return ", ".join(parts)

    def format_prompt(self, prompt: Text, raw: bool = False) -> Text:
        """A prompt as it is put to the model when it is to answer: plain text is the user's turn where there is a chat
        template, unless it is ``raw``."""
        if isinstance(prompt, str) and self.chat.available and not raw:
            return Conversation((Message("user", prompt),))
        return prompt

    def prompt_ids(self, prompt: Text, raw: bool = False) -> tuple[int, ...]:
        """A prompt that is to be answered, the opening of the answer included.

        Raises:
            DataError: for one without a token, or beyond the limit where ``long_prompts`` is ``error``.
        """
        prompt = self.format_prompt(prompt, raw)
        text, start = (prompt, self.start) if isinstance(prompt, str) else (self.chat.opened(prompt), ())
        return self._prompt((*start, *encode(self.tokenizer, [text])[0]))[0]

    def spell(self, ids: Iterable[int]) -> str:
        """Tokens as text, special ones included."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def fingerprint(self) -> str:
        """Changes whenever equal texts could become other tokens."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        rules = self.config.model_dump(
            include={"system", "end_token", "max_length", "max_prompt_length", "long_prompts"}, mode="json"
        )
        newer = self.config.model_dump(
            include={"shared_start", "score_spans", "add_end"}, exclude_defaults=True, mode="json"
        )
        facts = [RULES, digest(self.tokenizer), self.chat.template, {**rules, **newer}]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def _questions(self, pairs: Sequence[Pair]) -> tuple[list[TokenPair], list[str]]:
        exchanges: list[tuple[Pair, Exchange]] = []
        problems: list[str] = []
        for pair in pairs:
            try:
                exchanges.append((pair, self._exchange(pair)))
            except DataError as error:
                problems.append(problem_of(pair, error))
        texts: dict[str, None] = {}
        for _, exchange in exchanges:
            whole = (exchange.prompt, *(answer.text for answer in exchange.answers))
            texts.update(dict.fromkeys((exchange.prompt[: exchange.seam], *(text[exchange.seam :] for text in whole))))
        ids = dict(zip(texts, encode(self.tokenizer, list(texts)), strict=True))
        questions = []
        for pair, exchange in exchanges:
            try:
                questions.append(self._question(pair, exchange, ids))
            except DataError as error:
                problems.append(problem_of(pair, error))
        return questions, problems

    def _exchange(self, pair: Pair) -> Exchange:
        candidates: list[Any] = [answer.candidate for answer in pair.answers.values() if answer.prompt is None]
        for candidate in candidates:
            if not isinstance(candidate, (str, Conversation)):
                raise DataError(f"a language model judges texts, but a candidate is {type(candidate).__name__}")
        if isinstance(pair.prompt, Conversation) or any(isinstance(one, Conversation) for one in candidates):
            return self.chat.exchange(_turn("user", pair.prompt), [_turn(ASSISTANT, one) for one in candidates])
        if any(not one.strip() for one in candidates):
            raise DataError("the response is empty")
        answers = tuple(
            Written(pair.prompt + one, ((len(pair.prompt), len(pair.prompt) + len(one)),)) for one in candidates
        )
        return Exchange(pair.prompt, answers)

    def _question(self, pair: Pair, exchange: Exchange, ids: dict[str, list[int]]) -> TokenPair:
        plain = isinstance(pair.prompt, str) and isinstance(pair.chosen, str)
        seam = exchange.seam
        bare = ids[exchange.prompt[seam:]]
        prompt, cut = self._prompt((*(self.start if plain else ()), *ids[exchange.prompt[:seam]], *bare))
        responses, apart = [], False
        for answer in exchange.answers:
            joint = ids[answer.text[seam:]]
            if joint[: len(bare)] == bare:
                response, offset = joint[len(bare) :], 0
            else:
                offset, apart = len(exchange.prompt), True
                response = encode(self.tokenizer, [answer.text[offset:]])[0]
            responses.append(
                self._response(response, answer, offset, self.end if plain else self.turn_end, prompt, not plain)
            )
        compared = pair.rejected is not None and pair.rejected_prompt is None
        if compared and responses[0].ids == responses[1].ids:
            why = f" once they are cut to model.max_length {self.config.max_length}" if responses[0].cut else ""
            raise DataError(f"chosen and rejected are equal in tokens{why}")
        if self.spans is not None:
            responses = [self.spans(one, f"{pair.id}/{k}") for k, one in enumerate(responses)]
        return self._narrowed(TokenPair(prompt, tuple(responses), cut, apart, exchange.diverged))

    def _narrowed(self, question: TokenPair) -> TokenPair:
        """Asked from the first difference on, where that is wanted; each response has a token that is scored."""
        if self.config.shared_start == "prompt":
            question = question.from_first_difference()
        if not all(any(response.scored) for response in question.responses):
            rule = "model.score_spans or model.shared_start" if self.spans is not None else "model.shared_start"
            raise DataError(f"no token of a response is left to be scored by {rule}")
        return question

    def _response(
        self, ids: list[int], answer: Written, offset: int, end: int, prompt: tuple[int, ...], closed: bool
    ) -> Response:
        """``closed``: the chat template wrote the end, not the text."""
        if not ids or ids == [end]:
            raise DataError("the response is empty once it is tokenised")
        scored = [True] * len(ids) if len(answer.spans) == 1 else self._mine(ids, answer, offset)
        if ids[-1] != end and self.config.add_end:
            ids, scored = [*ids, end], [*scored, True]
        elif ids[-1] == end and closed and not self.config.add_end:
            ids, scored = ids[:-1], scored[:-1]
        room = len(ids) if self.config.max_length is None else self.config.max_length - len(prompt)
        return Response(tuple(ids[:room]), tuple(scored[:room]), max(0, len(ids) - room))

    def _mine(self, ids: list[int], answer: Written, offset: int) -> list[bool]:
        """Which of the last tokens of an exchange begin within the assistant's words."""
        if not self.tokenizer.is_fast:
            raise DataError("an answer of several turns needs a fast tokenizer, which knows where its tokens stand")
        places = self.tokenizer(
            answer.text[offset:], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"][-len(ids) :]
        return [any(first <= place + offset < last for first, last in answer.spans) for place, _ in places]

    def _prompt(self, ids: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """The prompt within its limit, and how many tokens that cost."""
        limit = self.config.prompt_limit
        if not ids:
            raise DataError("the prompt has no tokens, and the tokenizer begins texts with none")
        if limit is None or len(ids) <= limit:
            return ids, 0
        if self.config.long_prompts == "error":
            raise DataError(
                f"the prompt has {len(ids):,} tokens, and {limit:,} are its limit. Type: --set model.max_length="
                f"{2 * len(ids)}, or cut it with --set model.long_prompts=keep_end"
            )
        begins = ids[:1] if limit > 1 and ids[0] == self.tokenizer.bos_token_id else ()
        kept = ids[:limit] if self.config.long_prompts == "keep_start" else (*begins, *ids[len(begins) - limit :])
        return kept, len(ids) - limit


def _turn(role: str, text: Text) -> Conversation:
    return text if isinstance(text, Conversation) else Conversation((Message(role, text),))
