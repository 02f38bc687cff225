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

from diffalign.policies.language.network.content_degree_head import DegreeHead, Graded
from diffalign.policies.language.network.head import CHUNK_BYTES, Bend, bent, token_logps
from diffalign.policies.language.network.layout import Layout, Tree
from diffalign.policies.language.network.token_kl import Logits, LogpsAndDivergence, ReferenceStates, compare_tokens
from diffalign.policies.language.network.token_masks import (
    MaskConfig,
    MaskNetwork,
    activation_masks,
    heard,
    read_layers,
)

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
        self.masks: MaskNetwork | None = None
        """Trains beside the model, where token masks are learnt."""
        self.degree: DegreeHead | None = None
        """Trains beside the model, where degrees of removed content are told apart."""

    def forward(
        self, layout: Layout, beside: ReferenceStates | None = None, kept: Tensor | None = None
    ) -> Tensor | LogpsAndDivergence | Graded:
        """``(N,)`` in float32: the log-probability of each scored token; beside a reference, all that is compared; with
        the tokens ``(N, K)`` that each degree keeps, how well these are told apart."""
        if beside is not None:
            return self._compared(layout, beside)
        if kept is not None:
            assert self.degree is not None and self.way != "plain"
            states, _ = self._said(layout)
            told = self.degree(states, layout.owners, kept, layout.responses)
            return Graded(self._picked(states, layout.targets), *told)
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
    def read(self, layout: Layout, masks: MaskConfig | None = None) -> ReferenceStates:
        """Returns what a policy is compared with when this network is its reference. The ``logits`` stay valid while
        this network's head is unchanged."""
        kinds = () if masks is None else ("states",) if masks.learned else masks.of
        if not kinds:
            return ReferenceStates(*self._said(layout, still=True))
        layers = read_layers(self._body(), self.model.config.get_text_config().num_hidden_layers)
        with heard(layers, kinds) as found:
            states, logits = self._said(layout, still=True)
        if self.way == "shared":
            rows, columns = torch.zeros_like(layout.sources), layout.sources
        else:
            _, _, rows, columns = padded(layout)
        picked = {kind: [value[rows, columns] for value in values] for kind, values in found.items()}
        if masks is not None and masks.learned:
            states_of = picked["states"] if masks.layers == "all" else picked["states"][-1:]
            return ReferenceStates(states, logits, layers=torch.stack(states_of))
        return ReferenceStates(states, logits, picked, average="logits" in kinds)

    @property
    def lasting_head(self) -> bool:
        """Whether the head is one matrix: then the logits of :meth:`read` last; else the reference has to be asked."""
        return self.way == "plain" or type(self.model.get_output_embeddings()) is nn.Linear

    def logits(self, still: bool = False) -> Logits:
        """What makes logits of states as it is now; ``still``: of the weights as they are, without a gradient."""
        if self.way == "plain":
            return lambda logits: logits if logits.dtype == torch.float64 else logits.float()
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear:
            return lambda states: bent(head(states), self.bend)
        device = head.weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head.weight.dtype
        given = [None if x is None else x.detach() if still else x for x in (head.weight, head.bias)]
        weight, bias = (None if x is None else x.to(dtype) for x in given)
        assert weight is not None

        def of(states: Tensor) -> Tensor:
            with torch.autocast(device, enabled=False):
                return bent(F.linear(states.to(dtype), weight, bias), self.bend)

        return of

    def _compared(self, layout: Layout, beside: ReferenceStates) -> LogpsAndDivergence:
        states, logits = self._said(layout)
        vocabulary = self.model.config.get_text_config().vocab_size
        logps, reference, divergence, mean = compare_tokens(states, logits, beside, layout.targets, vocabulary)
        masks, owners = None, len(layout.lengths) + len(layout.prompts)
        if beside.layers is not None and self.masks is not None:
            masks = self.masks(beside.layers)
        elif beside.activations or beside.average:
            known = {**beside.activations, **({"logits": [mean.detach()]} if beside.average else {})}
            masks = activation_masks(known, layout.owners, owners)
        return LogpsAndDivergence(logps, reference.detach(), divergence, masks)

    def _said(self, layout: Layout, still: bool = False) -> tuple[Tensor, Logits]:
        """The states that predict the scored tokens, and what makes logits of them; on the plain way the model's own
        logits stand for its states."""
        if self.way == "shared":
            return self._states(layout)[layout.sources], self.logits(still)
        ids, mask, rows, columns = padded(layout)
        if self.way == "padded":
            states = self._body()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            return states[rows, columns], self.logits(still)
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[rows, columns], self.logits(still)

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
            return F.log_softmax(bent(head(part), self.bend), -1).gather(1, wanted[:, None])[:, 0]

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
    numbers = [*range(len(whole)), *(layout.tree_of.index(number) for number in range(len(layout.trees)))]
    rows = layout.ids.new_tensor(numbers)[layout.owners]
    columns = layout.positions[layout.sources]  # a prompt is read off the row of its first response
    return ids, mask, rows, columns
