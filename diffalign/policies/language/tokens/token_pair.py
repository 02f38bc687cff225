"""A comparison in tokens: the prompt that all responses share, the responses, and a tally of what was cut from them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Response:
    """What follows a prompt.

    Args:
        ids: Its tokens, the end token included unless it was cut.
        scored: Which of them are learnt from: all, but for the turns of others between, and what rules hide.
        cut: How many tokens were cut from its end.
    """

    ids: tuple[int, ...]
    scored: tuple[bool, ...]
    cut: int = 0


@dataclass(frozen=True)
class TokenPair:
    """A pair in tokens.

    Args:
        prompt: The tokens that every response follows; one at least.
        responses: ``(chosen, rejected)``, or ``(one,)`` of a single example.
        cut: How many tokens were cut from the prompt.
        apart: A response's first token would have merged with the prompt's last, so they were tokenised apart.
        diverged: The chat template opens an answer otherwise than it writes one; the prompt ends where they differ.
    """

    prompt: tuple[int, ...]
    responses: tuple[Response, ...]
    cut: int = 0
    apart: bool = False
    diverged: bool = False

    def from_first_difference(self) -> TokenPair:
        """The same comparison, asked where its responses begin to differ: what they all begin with is the prompt's end.

        Each response keeps one token at least. A question with one response alone is left as it is.
        """
        first, *others = (response.ids for response in self.responses)
        if not others:
            return self
        most = min(len(ids) for ids in (first, *others)) - 1
        same = next((k for k in range(most) if any(ids[k] != first[k] for ids in others)), most)
        responses = tuple(replace(r, ids=r.ids[same:], scored=r.scored[same:]) for r in self.responses)
        return replace(self, prompt=(*self.prompt, *first[:same]), responses=responses)


@dataclass
class Cuts:
    """What a pass over a data set met: how long it is, and what was cut.

    Args:
        rows: Questions seen.
        tokens: Their tokens as they are computed, each prompt once.
        longest: Most tokens of a prompt and one of its responses.
        longest_response: Most tokens of a response.
        prompts: Prompts that were cut.
        prompt_tokens: Tokens cut from them.
        responses: Responses that were cut; each of them lost its end token.
        response_tokens: Tokens cut from them.
        apart: Questions tokenised apart (see Question).
        diverged: Questions whose template opens an answer otherwise than it writes one.
    """

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    longest_response: int = 0
    prompts: int = 0
    prompt_tokens: int = 0
    responses: int = 0
    response_tokens: int = 0
    apart: int = 0
    diverged: int = 0

    def add(self, question: TokenPair) -> None:
        """Counts one more."""
        lengths = [len(response.ids) for response in question.responses]
        self.rows += 1
        self.tokens += len(question.prompt) + sum(lengths)
        self.longest = max(self.longest, len(question.prompt) + max(lengths))
        self.longest_response = max(self.longest_response, *lengths)
        self.prompts += question.cut > 0
        self.prompt_tokens += question.cut
        self.responses += sum(response.cut > 0 for response in question.responses)
        self.response_tokens += sum(response.cut for response in question.responses)
        self.apart += question.apart
        self.diverged += question.diverged

    def summary(self) -> str:
        """One line: ``"64 rows, 9,120 tokens, longest 310; cut 2 responses by 41 tokens (end tokens lost)"``."""
        line = f"{self.rows:,} rows, {self.tokens:,} tokens, longest {self.longest:,}"
        notes = []
        if self.prompts:
            notes.append(f"cut {self.prompts:,} prompts by {self.prompt_tokens:,} tokens")
        if self.responses:
            notes.append(f"cut {self.responses:,} responses by {self.response_tokens:,} tokens (end tokens lost)")
        if self.apart:
            notes.append(f"{self.apart:,} rows tokenised apart at the prompt's end")
        if self.diverged:
            notes.append(f"in {self.diverged:,} rows the chat template opens an answer otherwise than it writes one")
        return "; ".join([line, *notes])
