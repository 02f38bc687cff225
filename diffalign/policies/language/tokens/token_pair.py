"""A pair in tokens: the prompt that its responses share, and the responses."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Response:
    """The tokens after a prompt.

    Args:
        ids: Token ids, with the end token unless it was cut.
        scored: Which of them count in the log-probability: all, except turns of the user and tokens that
            ``model.score_spans`` leaves out.
        cut: Number of tokens cut from the end.
        to_sample: Whether the answer does not exist yet; it then has as many tokens as it may have.
    """

    ids: tuple[int, ...]
    scored: tuple[bool, ...]
    cut: int = 0
    to_sample: bool = False


@dataclass(frozen=True)
class TokenPair:
    """A pair in tokens.

    Args:
        prompt: The tokens before every response, at least one.
        responses: ``(chosen, rejected)`` and further answers to the same prompt; one response for a single example.
        cut: Number of tokens cut from the prompt.
        tokenised_apart: Whether prompt and response were tokenised separately, because a token would cross the border.
        template_diverged: Whether the chat template opens an answer differently from how it writes one. The prompt then
            ends where they differ.
    """

    prompt: tuple[int, ...]
    responses: tuple[Response, ...]
    cut: int = 0
    tokenised_apart: bool = False
    template_diverged: bool = False

    def from_first_difference(self) -> TokenPair:
        """Returns the same comparison with the common start of all responses moved to the end of the prompt.

        Each response keeps at least one token. A single example is returned unchanged.
        """
        first, *others = (response.ids for response in self.responses)
        if not others:
            return self
        limit = min(len(ids) for ids in (first, *others)) - 1
        common = next((k for k in range(limit) if any(ids[k] != first[k] for ids in others)), limit)
        responses = tuple(replace(r, ids=r.ids[common:], scored=r.scored[common:]) for r in self.responses)
        return replace(self, prompt=(*self.prompt, *first[:common]), responses=responses)
