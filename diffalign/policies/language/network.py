"""The network that is trained: a causal language model that answers with the log-probabilities of given tokens.

    shared    one row without padding; each prompt once (see `layout`); the head at scored tokens only
    padded    a row for each response with its prompt; the head at scored tokens only
    plain     the same rows, logits at every position, as the model itself gives them

All three give the same numbers up to rounding. It is one module with one `forward`, so that a distributed wrapper sees
every pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diffalign.policies.language.head import CHUNK_BYTES, Bend, token_logps
from diffalign.policies.language.layout import Layout, Tree

Way = Literal["shared", "padded", "plain"]


class LanguageNetwork(nn.Module):
    """Log-probabilities of a layout's scored tokens.

    Args:
        model: A causal language model of transformers.
        way: How they are computed.
        keep_bytes: Bytes of logits that may be kept for the backward pass.
    """

    def __init__(self, model: Any, way: Way = "plain", keep_bytes: int = 512 * 2**20) -> None:
        super().__init__()
        self.model = model
        self.way: Way = way
        self.keep_bytes = keep_bytes
        self.bend = Bend.of(model.config.get_text_config())

    def forward(self, layout: Layout) -> Tensor:
        """``(N,)`` in float32: the log-probability of each scored token."""
        if self.way == "shared":
            return self._picked(self._states(layout)[layout.sources], layout.targets)
        ids, mask, rows, columns = padded(layout)
        if self.way == "padded":
            states = self._body()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            return self._picked(states[rows, columns], layout.targets)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[rows, columns]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return F.log_softmax(logits, -1).gather(1, layout.targets[:, None])[:, 0]

    @torch.no_grad()
    def states(self, layout: Layout) -> Tensor:
        """``(T, D)``: the last hidden state at each place of the row, after the final norm, as the head reads it."""
        if self.way == "shared":
            return self._states(layout)
        ids, mask, _, _ = padded(layout)
        if self.way == "padded":
            states = self._body()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        else:
            given = self.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
            states = given.hidden_states[-1]
        return torch.cat([states[row, columns] for row, columns in _places(layout)])

    def _body(self) -> Any:
        """The model without its head. Gemma 3 of transformers 4 names a part that it has not, and gets itself."""
        body = self.model.base_model
        return self.model.get_decoder() if body is self.model else body

    def _states(self, layout: Layout) -> Tensor:
        """``(T, D)``. A mask of four dimensions is taken as it is by transformers, and our attention reads none."""
        unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=layout.ids.device)
        out = self._body()(
            input_ids=layout.ids[None],
            position_ids=layout.positions[None],
            attention_mask=unread,
            use_cache=False,
            tree=layout,
        )
        return out.last_hidden_state[0]

    def _picked(self, states: Tensor, targets: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        if type(head) is nn.Linear:
            settings: dict[str, Any] = {"bend": self.bend, "keep_bytes": self.keep_bytes}
            return token_logps(states, head.weight, targets, bias=head.bias, **settings)
        return self._asked(head, states, targets)

    def _asked(self, head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
        """Through a head that is more than a matrix (an adapter on it, quantised): chunk by chunk, computed twice."""

        def picked(part: Tensor, wanted: Tensor) -> Tensor:
            raw = head(part).float() * self.bend.scale
            z = raw if self.bend.cap is None else self.bend.cap * torch.tanh(raw / self.bend.cap)
            return F.log_softmax(z, -1).gather(1, wanted[:, None])[:, 0]

        rows = max(1, CHUNK_BYTES // (4 * self.model.config.get_text_config().vocab_size))
        parts = zip(states.split(rows), targets.split(rows), strict=True)
        return torch.cat([checkpoint(picked, part, wanted, use_reentrant=False) for part, wanted in parts])

    @contextmanager
    def going(self, way: Way) -> Iterator[None]:
        """Within the block scores are computed another way."""
        before, self.way = self.way, way
        try:
            yield
        finally:
            self.way = before


def _places(layout: Layout) -> Iterator[tuple[int, slice]]:
    """Where the row's pieces stand in the padded rows, in the row's order: each prompt (with its first response), each
    response."""
    row = 0
    for tree in layout.trees:
        prompt = tree.fork - tree.start
        yield row, slice(0, prompt)
        for begin, end in tree.responses():
            yield row, slice(prompt, prompt + end - begin)
            row += 1


def padded(layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A row for each response with its prompt, padded on the right.

    Returns:
        ``ids`` and ``mask`` ``(R, L)``; ``rows`` and ``columns`` ``(N,)``: the place that predicts each scored token.
    """
    whole: list[tuple[Tree, int, int]] = [(tree, *ends) for tree in layout.trees for ends in tree.responses()]
    lengths = [tree.fork - tree.start + end - begin for tree, begin, end in whole]
    ids = layout.ids.new_zeros(len(whole), max(lengths))
    mask = torch.zeros_like(ids)
    for row, (tree, begin, end) in enumerate(whole):
        prompt = tree.fork - tree.start
        ids[row, :prompt] = layout.ids[tree.start : tree.fork]
        ids[row, prompt : lengths[row]] = layout.ids[begin:end]
        mask[row, : lengths[row]] = 1
    rows = layout.owners
    begins = layout.ids.new_tensor([begin for _, begin, _ in whole])[rows]
    prompts = layout.ids.new_tensor([tree.fork - tree.start for tree, _, _ in whole])[rows]
    # The first token of a response is predicted at the prompt's last place, whichever of its responses that is.
    columns = torch.where(layout.sources < begins, prompts - 1, layout.sources - begins + prompts)
    return ids, mask, rows, columns
