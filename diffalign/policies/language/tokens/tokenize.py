"""Tokenises pairs by fixed rules that are checked before training.

Plain rows: the prompt begins with the tokens that the tokenizer begins texts with, once, also where the text has them
already; a response follows it.

Conversations: the chat template writes the whole exchange, which is tokenised at once. A response is the text after the
opening of the answer, up to and including the token that ends the turn. (TRL keeps what the template writes after it,
such as a newline, which no model generates.) In an answer of several turns only the assistant's turns are scored. If
the prompt is a conversation, a plain response becomes an assistant's turn, and vice versa.

See `build_token_pair` for the border between prompt and response, and for the limits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.policies.answer_roles import own_prompt_answers
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.build_token_pair import TokenPairBuilder, pieces_of
from diffalign.policies.language.tokens.continuation import begin_once
from diffalign.policies.language.tokens.errors import MAX_SHOWN, describe_problem, summarize_problems
from diffalign.policies.language.tokens.exchange import AnswerText, Exchange
from diffalign.policies.language.tokens.sampled_answers import sampled_responses, written_answers
from diffalign.policies.language.tokens.statistics import TokenStatistics
from diffalign.policies.language.tokens.token_pair import TokenPair
from diffalign.policies.language.tokens.tokenizer_info import digest, encode

RULES_VERSION = 1  # increases when equal texts become different tokens
CHUNK = 256  # pairs tokenised at a time in a pass over a dataset


class PairTokenizer:
    """A tokenizer with the rules of a recipe.

    Args:
        tokenizer: A tokenizer of transformers.
        config: The rules.

    Raises:
        ConfigError: The tokenizer has no end token, or lacks the one that the recipe names.
    """

    def __init__(self, tokenizer: Any, config: LanguageConfig):
        self.tokenizer = tokenizer
        self.config = config
        self._builder = TokenPairBuilder(tokenizer, config)
        self.chat = self._builder.chat
        self.end_id = self._builder.end_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens after which generation stops."""
        return self._builder.end_ids

    def token_pair(self, pair: Pair) -> TokenPair:
        """Tokenises one pair. Raises as :meth:`token_pairs`."""
        return self.token_pairs([pair])[0]

    def token_pairs(self, pairs: Sequence[Pair]) -> list[TokenPair]:
        """Tokenises pairs in one call of the tokenizer.

        Raises:
            DataError: Names every row that cannot be trained on and why: a prompt longer than the limit, an empty
                response, chosen equal to rejected, turns that the chat template refuses.
            ConfigError: There are conversations and no chat template.
        """
        token_pairs, problems = self._try_token_pairs(pairs)
        if problems:
            raise DataError(summarize_problems(problems, len(pairs)))
        return token_pairs

    def scan(
        self,
        pairs: Iterable[Pair],
        progress: Callable[[int], None] | None = None,
        on_token_pair: Callable[[TokenPair], None] | None = None,
    ) -> TokenStatistics:
        """Tokenises a dataset once in constant memory and returns its statistics.

        Args:
            pairs: The pairs to train on.
            progress: Called after each chunk with the number of pairs so far.
            on_token_pair: Called with every token pair.

        Raises:
            DataError: As :meth:`token_pairs`; all bad rows are counted and the first few named.
        """
        statistics = TokenStatistics()
        problems: list[str] = []
        rows, scanned, failed = iter(pairs), 0, 0
        while chunk := list(islice(rows, CHUNK)):
            with_own_prompts = [*chunk, *(extra for pair in chunk for extra in own_prompt_answers(pair).values())]
            token_pairs, chunk_problems = self._try_token_pairs(with_own_prompts)
            for token_pair in token_pairs:
                statistics.add(token_pair)
                if on_token_pair:
                    on_token_pair(token_pair)
            problems += chunk_problems[: MAX_SHOWN - len(problems)]
            scanned, failed = scanned + len(chunk), failed + len(chunk_problems)
            if progress:
                progress(scanned)
        if failed:
            raise DataError(summarize_problems(problems, scanned, failed))
        return statistics

    def describe(self) -> str:
        """Returns the rules in one line, for a header."""
        owner = "the tokenizer's" if self.chat.from_tokenizer else "the recipe's"
        parts = [f"{owner} chat template" if self.chat.available else "no chat template"]
        if self.config.score_spans is not None:
            parts.append(self.config.score_spans.describe())
        if self.config.shared_start == "prompt":
            parts.append("scored from the first difference on")
        if self.config.max_length:
            parts.append(f"at most {self.config.max_length:,} tokens")
        if self.config.prompt_limit:
            action = {"error": "refused", "keep_end": "cut at their start", "keep_start": "cut at their end"}
            parts.append(f"prompts beyond {self.config.prompt_limit:,} are {action[self.config.long_prompts]}")
        return ", ".join(parts)

    def format_prompt(self, prompt: Text, raw: bool = False) -> Text:
        """Returns a prompt as the model is to continue it: with a chat template, and unless ``raw``, a plain text
        becomes the user's turn.
        """
        if isinstance(prompt, str) and self.chat.available and not raw:
            return Conversation((Message("user", prompt),))
        return prompt

    def prompt_ids(self, prompt: Text, raw: bool = False) -> tuple[int, ...]:
        """Returns the tokens of a prompt to generate from, with the opening of the answer.

        Raises:
            DataError: There is no token, or too many and ``long_prompts`` is ``error``.
        """
        prompt = self.format_prompt(prompt, raw)
        plain = isinstance(prompt, str)
        text = prompt if isinstance(prompt, str) else self.chat.render_prompt(prompt)
        begin = self._builder.begin_ids if plain else ()
        return self._builder.truncate_prompt(begin_once(begin, encode(self.tokenizer, [text])[0]))[0]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns tokens as text, including special ones."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def fingerprint(self) -> str:
        """Returns a hash that changes whenever equal texts could become different tokens."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        rules = self.config.model_dump(
            include={"system", "end_token", "max_length", "max_prompt_length", "long_prompts"}, mode="json"
        )
        # Later settings: left out at their defaults, so that older fingerprints stay valid.
        later = self.config.model_dump(
            include={"shared_start", "score_spans", "add_end"}, exclude_defaults=True, mode="json"
        )
        content = [RULES_VERSION, digest(self.tokenizer), self.chat.template, {**rules, **later}]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _try_token_pairs(self, pairs: Sequence[Pair]) -> tuple[list[TokenPair], list[str]]:
        """Returns the token pairs of good rows, and the problems of the bad ones."""
        exchanges: list[tuple[Pair, Exchange | None]] = []
        problems: list[str] = []
        for pair in pairs:
            written = written_answers(pair)
            try:
                exchanges.append((pair, None if written is None else self._exchange(written)))
            except DataError as error:
                problems.append(describe_problem(pair, error))
        pieces = list(dict.fromkeys(piece for _, exchange in exchanges if exchange for piece in pieces_of(exchange)))
        ids = dict(zip(pieces, encode(self.tokenizer, pieces), strict=True))
        token_pairs = []
        for pair, exchange in exchanges:
            try:
                token_pairs.append(self._token_pair(pair, exchange, ids))
            except DataError as error:
                problems.append(describe_problem(pair, error))
        return token_pairs, problems

    def _token_pair(self, pair: Pair, exchange: Exchange | None, ids: Mapping[str, list[int]]) -> TokenPair:
        """Returns a pair in tokens; ``exchange`` is the text of its written answers, None where there are none."""
        sampled = sampled_responses(pair, self.end_id)
        if exchange is None:
            return self._builder.build_sampled(pair, self.prompt_ids(pair.prompt, raw=True), sampled)
        return self._builder.build(written_answers(pair) or pair, exchange, ids, sampled)

    def _exchange(self, pair: Pair) -> Exchange:
        """Returns the text of a pair: its prompt, and the answers that share it."""
        candidates: list[Any] = [answer.candidate for answer in pair.answers.values() if answer.prompt is None]
        for candidate in candidates:
            if not isinstance(candidate, (str, Conversation)):
                raise DataError(f"a language model reads texts, but a candidate is {type(candidate).__name__}")
        if isinstance(pair.prompt, Conversation) or any(isinstance(text, Conversation) for text in candidates):
            answers = [_as_turn(ASSISTANT, text) for text in candidates]
            return self.chat.render_exchange(_as_turn("user", pair.prompt), answers)
        if any(not text.strip() for text in candidates):
            raise DataError("the response is empty")
        start = len(pair.prompt)
        return Exchange(
            pair.prompt, tuple(AnswerText(pair.prompt + text, ((start, start + len(text)),)) for text in candidates)
        )


def _as_turn(role: str, text: Text) -> Conversation:
    return text if isinstance(text, Conversation) else Conversation((Message(role, text),))
