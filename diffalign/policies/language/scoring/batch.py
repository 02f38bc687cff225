"""A batch of pairs in tokens: answers to a shared prompt, answers to their own prompt, and answers of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from diffalign.data.records.pair import Pair
from diffalign.policies.answer_roles import own_prompt_answers, roles_of
from diffalign.policies.language.network.layout import Layout, lay_out
from diffalign.policies.language.tokens.token_pair import TokenPair
from diffalign.policies.language.tokens.tokenize import PairTokenizer


@dataclass(frozen=True)
class EncodedTexts:
    """A batch on the device.

    Args:
        token_pairs: One for each pair, then one for each answer with a prompt of its own.
        layout: Their tokens.
        answers: For each pair and role ``(token pair, response)``: the token pair that holds the answer, and which of
            its responses it is. Empty: the roles of a pair are the responses of its token pair.
    """

    token_pairs: tuple[TokenPair, ...]
    layout: Layout
    answers: tuple[tuple[tuple[int, int], ...], ...] = ()

    @property
    def responses(self) -> tuple[tuple[int, ...], ...]:
        """For each pair, the number of each role's response in the layout."""
        if not self.answers:
            return self.layout.pair_responses
        return tuple(tuple(self.layout.pair_responses[pair][number] for pair, number in row) for row in self.answers)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """For each pair, the number of each role's prompt group in the layout."""
        group_of_response = self.layout.group_of_response
        return tuple(tuple(group_of_response[response] for response in row) for row in self.responses)

    @property
    def tokens_without_sharing(self) -> int:
        """Number of tokens if each prompt were repeated for each of its responses."""
        return sum(len(pair.prompt) + len(response.ids) for pair in self.token_pairs for response in pair.responses)


def encode_pairs(
    pair_tokenizer: PairTokenizer, pairs: Sequence[Pair], device: torch.device, *, prompts: bool = False
) -> EncodedTexts:
    """Returns the tokens of a batch, on the device.

    Args:
        pair_tokenizer: Tokenises the pairs.
        pairs: The batch.
        device: The device.
        prompts: Score the prompts' tokens as well.

    Raises:
        DataError: A pair has other roles than the first one; or as :meth:`PairTokenizer.token_pairs`.
    """
    roles = roles_of(pairs)
    token_pairs = pair_tokenizer.token_pairs(pairs)
    own_prompts = [own_prompt_answers(pair) for pair in pairs]
    token_pairs += pair_tokenizer.token_pairs([single for row in own_prompts for single in row.values()])
    return EncodedTexts(
        tuple(token_pairs), lay_out(token_pairs, device, prompts=prompts), _index_answers(roles, own_prompts)
    )


def microbatch_order(pairs: Sequence[Pair]) -> list[int]:
    """Returns an order in which pairs of one prompt are neighbours, and short ones come before long ones."""
    longest_answer = {pair.prompt: 0 for pair in pairs}
    for pair in pairs:
        length = max(len(str(answer.candidate)) for answer in pair.answers.values())
        longest_answer[pair.prompt] = max(longest_answer[pair.prompt], length)
    prompt_number = {prompt: number for number, prompt in enumerate(longest_answer)}
    keys = [(len(str(p.prompt)) + longest_answer[p.prompt], prompt_number[p.prompt]) for p in pairs]
    return sorted(range(len(pairs)), key=lambda index: keys[index])


def _index_answers(
    roles: Sequence[str], own_prompts: Sequence[Mapping[str, Pair]]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Returns :attr:`EncodedTexts.answers`; token pairs of answers with their own prompt follow those of the pairs."""
    index, next_single = [], len(own_prompts)
    for pair_number, own_prompt in enumerate(own_prompts):
        shared = iter(range(len(roles)))
        singles = iter(range(next_single, next_single + len(own_prompt)))
        index.append(tuple((next(singles), 0) if role in own_prompt else (pair_number, next(shared)) for role in roles))
        next_single += len(own_prompt)
    return tuple(index)
