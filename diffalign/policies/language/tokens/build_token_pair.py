"""From the text of a prompt and its answers to a token pair: the border, the end token, the limits, the scored tokens.

A response is the part of prompt and answer, tokenised together, after the tokens of the prompt; an end token is added
if there is none, and white space after one is left out. If a token would cross the border, the two are tokenised
separately (see `continuation`), so that the prompt has the same tokens as in generation. (TRL 1.16 starts the response
where the tokens diverge, and drops that end of the prompt.)

Prompts longer than ``max_prompt_length`` (default: all but one of ``max_length``) are refused or cut, as
``long_prompts`` says; ``keep_end`` also keeps the begin token. Then responses are cut at their end, so that prompt and
response have at most ``max_length`` tokens. A response that was cut has lost its end token.

Finally the common start of all responses moves to the prompt if ``shared_start`` is ``prompt``, and ``score_spans``
restricts the scored tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.tokens.chat import ChatTemplate
from diffalign.policies.language.tokens.continuation import begin_once, continuation_ids, cut_after_end
from diffalign.policies.language.tokens.exchange import AnswerText, Exchange
from diffalign.policies.language.tokens.sampled_answers import insert
from diffalign.policies.language.tokens.thinking_span_filter import SpanFilter
from diffalign.policies.language.tokens.token_pair import Response, TokenPair
from diffalign.policies.language.tokens.tokenizer_info import begin_ids, token_id


class TokenPairBuilder:
    """Builds token pairs by the rules of a recipe.

    Args:
        tokenizer: A tokenizer of transformers.
        config: The rules.

    Raises:
        ConfigError: The tokenizer has no end token, or lacks the one that the recipe names.
    """

    def __init__(self, tokenizer: Any, config: LanguageConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.end_id = token_id(tokenizer, config.end_token or tokenizer.eos_token)
        self.chat = ChatTemplate(tokenizer, config.chat_template, config.system, config.end_token)
        self.begin_ids = begin_ids(tokenizer)
        self.span_filter = None if config.score_spans is None else SpanFilter(config.score_spans, tokenizer)

    @cached_property
    def turn_end_id(self) -> int:
        """The token that ends an answer in a conversation."""
        return token_id(self.tokenizer, self.chat.end) if self.chat.available and self.chat.end else self.end_id

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens after which generation stops: a plain answer that ends with one of them gets no other."""
        return tuple(dict.fromkeys((self.end_id, self.turn_end_id)))

    def build(
        self, pair: Pair, exchange: Exchange, ids: Mapping[str, list[int]], sampled: Mapping[int, Response]
    ) -> TokenPair:
        """Returns the token pair of an exchange.

        Args:
            pair: The pair, with its answers that are texts.
            exchange: Its text.
            ids: The tokens of :func:`pieces_of` the exchange.
            sampled: Answers that are tokens already, by their place among all answers.

        Raises:
            DataError: The prompt has no token or too many, a response is empty, the two responses are equal, or no
                token of a response is scored.
        """
        plain = isinstance(pair.prompt, str) and isinstance(pair.chosen, str)
        split = exchange.stable_prefix
        prompt_tail = ids[exchange.prompt[split:]]
        prompt_ids = [*ids[exchange.prompt[:split]], *prompt_tail]
        prompt, cut = self.truncate_prompt(begin_once(self.begin_ids if plain else (), prompt_ids))
        responses, apart = [], False
        for answer in exchange.answers:
            joint = ids[answer.text[split:]]
            if joint[: len(prompt_tail)] == prompt_tail:
                response_ids, offset, anchor = joint[len(prompt_tail) :], 0, ""
            else:
                offset, apart = len(exchange.prompt), True
                text = answer.text[offset:]
                response_ids, anchor = continuation_ids(self.tokenizer, prompt_tail, text, joint)
            scored = self._scored(response_ids, answer, offset, anchor)
            if plain:
                response_ids = cut_after_end(self.tokenizer, response_ids, self.end_ids)
                scored = scored[: len(response_ids)]
            responses.append(self._response(response_ids, scored, len(prompt), plain))
        compared = pair.rejected is not None and pair.rejected_prompt is None
        if compared and responses[0].ids == responses[1].ids:
            why = f" once they are cut to model.max_length {self.config.max_length}" if responses[0].cut else ""
            raise DataError(f"chosen and rejected are equal in tokens{why}")
        return self._finished(
            pair, TokenPair(prompt, tuple(responses), cut, apart, exchange.template_diverged), sampled
        )

    def build_sampled(self, pair: Pair, prompt: tuple[int, ...], sampled: Mapping[int, Response]) -> TokenPair:
        """Returns the token pair of a prompt whose answers are all tokens already; arguments and errors as
        :meth:`build`.
        """
        return self._finished(pair, TokenPair(prompt, ()), sampled)

    def truncate_prompt(self, ids: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Returns the prompt within its limit, and the number of tokens that were cut.

        Raises:
            DataError: There is no token, or too many and ``long_prompts`` is ``error``.
        """
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
        begin = ids[:1] if limit > 1 and ids[0] == self.tokenizer.bos_token_id else ()
        kept = ids[:limit] if self.config.long_prompts == "keep_start" else (*begin, *ids[len(begin) - limit :])
        return kept, len(ids) - limit

    def _finished(self, pair: Pair, token_pair: TokenPair, sampled: Mapping[int, Response]) -> TokenPair:
        """Inserts the sampled answers, applies the rules on scored tokens, and checks that each response has one."""
        responses = insert(token_pair.responses, sampled)
        if self.span_filter is not None:
            responses = tuple(self.span_filter(response, f"{pair.id}/{k}") for k, response in enumerate(responses))
        token_pair = replace(token_pair, responses=responses)
        if self.config.shared_start == "prompt":
            token_pair = token_pair.from_first_difference()
        if not all(any(response.scored) for response in token_pair.responses):
            rule = "model.score_spans or model.shared_start" if self.span_filter is not None else "model.shared_start"
            raise DataError(f"no token of a response is left to be scored by {rule}")
        return token_pair

    def _response(self, ids: list[int], scored: list[bool], prompt_length: int, plain: bool) -> Response:
        """Adds or removes the end token as ``add_end`` says, and cuts to ``max_length``."""
        end = self.end_id if plain else self.turn_end_id
        ends = self.end_ids if plain else (end,)
        if not ids or len(ids) == 1 and ids[0] in ends:
            raise DataError("the response is empty once it is tokenised")
        if ids[-1] not in ends and self.config.add_end:
            ids, scored = [*ids, end], [*scored, True]
        elif ids[-1] == end and not plain and not self.config.add_end:  # written by the template, not by the text
            ids, scored = ids[:-1], scored[:-1]
        limit = len(ids) if self.config.max_length is None else self.config.max_length - prompt_length
        return Response(tuple(ids[:limit]), tuple(scored[:limit]), max(0, len(ids) - limit))

    def _scored(self, ids: list[int], answer: AnswerText, offset: int, anchor: str) -> list[bool]:
        """Marks the tokens that begin within the assistant's turns; ``ids`` are the last ones of anchor and text."""
        if len(answer.spans) == 1:
            return [True] * len(ids)
        if not self.tokenizer.is_fast:
            raise DataError("an answer of several turns needs a fast tokenizer, which knows where its tokens stand")
        token_ranges = self.tokenizer(
            anchor + answer.text[offset:], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"][-len(ids) :]
        offset -= len(anchor)
        return [any(start <= begin + offset < end for start, end in answer.spans) for begin, _ in token_ranges]


def pieces_of(exchange: Exchange) -> list[str]:
    """Returns the texts that are tokenised for an exchange: the stable prefix, then what follows it in each text."""
    texts = (exchange.prompt, *(answer.text for answer in exchange.answers))
    return [exchange.prompt[: exchange.stable_prefix], *(text[exchange.stable_prefix :] for text in texts)]
