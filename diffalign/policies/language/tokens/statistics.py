"""Token statistics of a dataset: lengths, and what the length limits cut."""

from __future__ import annotations

from dataclasses import dataclass

from diffalign.policies.language.tokens.token_pair import TokenPair


@dataclass
class TokenStatistics:
    """Counts over the token pairs of a dataset.

    Args:
        rows: Token pairs.
        tokens: Tokens that are computed, each prompt once.
        longest: Largest number of tokens of a prompt with one of its responses.
        longest_response: Largest number of tokens of a response.
        cut_prompts: Prompts that were cut.
        cut_prompt_tokens: Tokens cut from them.
        cut_responses: Responses that were cut; each of them lost its end token.
        cut_response_tokens: Tokens cut from them.
        tokenised_apart: Token pairs of that kind, see :class:`TokenPair`.
        template_diverged: Token pairs of that kind, see :class:`TokenPair`.
        to_sample: Responses that do not exist yet, counted with as many tokens as they may have.
    """

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    longest_response: int = 0
    cut_prompts: int = 0
    cut_prompt_tokens: int = 0
    cut_responses: int = 0
    cut_response_tokens: int = 0
    tokenised_apart: int = 0
    template_diverged: int = 0
    to_sample: int = 0

    def add(self, token_pair: TokenPair) -> None:
        """Counts a token pair."""
        lengths = [len(response.ids) for response in token_pair.responses]
        self.rows += 1
        self.tokens += len(token_pair.prompt) + sum(lengths)
        self.longest = max(self.longest, len(token_pair.prompt) + max(lengths))
        self.longest_response = max(self.longest_response, *lengths)
        self.cut_prompts += token_pair.cut > 0
        self.cut_prompt_tokens += token_pair.cut
        self.cut_responses += sum(response.cut > 0 for response in token_pair.responses)
        self.cut_response_tokens += sum(response.cut for response in token_pair.responses)
        self.tokenised_apart += token_pair.tokenised_apart
        self.template_diverged += token_pair.template_diverged
        self.to_sample += sum(response.to_sample for response in token_pair.responses)

    def summary(self) -> str:
        """Returns ``"64 rows, 9,120 tokens, longest 310; cut 2 responses by 41 tokens (end tokens lost)"``."""
        parts = [f"{self.rows:,} rows, {self.tokens:,} tokens, longest {self.longest:,}"]
        if self.cut_prompts:
            parts.append(f"cut {self.cut_prompts:,} prompts by {self.cut_prompt_tokens:,} tokens")
        if self.cut_responses:
            lost = f"{self.cut_response_tokens:,} tokens (end tokens lost)"
            parts.append(f"cut {self.cut_responses:,} responses by {lost}")
        if self.to_sample:
            parts.append(f"{self.to_sample:,} answers are sampled in their rounds, counted at their largest length")
        if self.tokenised_apart:
            parts.append(f"in {self.tokenised_apart:,} rows prompt and response were tokenised separately")
        if self.template_diverged:
            count = f"{self.template_diverged:,}"
            parts.append(f"in {count} rows the chat template opens an answer differently from how it writes one")
        return "; ".join(parts)
