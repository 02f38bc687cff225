"""The network that is trained: a causal language model that returns the log-probabilities of given tokens.

    shared    one packed row without padding, each prompt once (see `layout`); logits only at scored tokens
    padded    a row for each response with its prompt (see `padding`); logits only at scored tokens
    plain     the same rows, logits at every position, computed by the model itself

All three forward modes give the same numbers up to rounding. It is one module with one `forward`, so that a distributed
wrapper sees every pass. ``N`` is the number of scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diffalign.policies.language.config import MaskConfig
from diffalign.policies.language.network.content_degree_head import DegreeHead, LogpsAndDegree
from diffalign.policies.language.network.head import CHUNK_BYTES, LogitTransform, token_logps
from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.network.padding import pack_rows, pad_rows
from diffalign.policies.language.network.token_kl import (
    LogitsFunction,
    LogpsAndDivergence,
    ReferenceStates,
    compare_tokens,
)
from diffalign.policies.language.network.token_masks import (
    MaskNetwork,
    activation_masks,
    decoder_layers,
    record_activations,
)

ForwardMode = Literal["shared", "padded", "plain"]


class LanguageNetwork(nn.Module):
    """Computes log-probabilities of a layout's scored tokens.

    Args:
        model: A causal language model of transformers.
        forward_mode: How they are computed.
        keep_bytes: Bytes of logits that may be kept for the backward pass.
    """

    def __init__(self, model: Any, forward_mode: ForwardMode = "plain", keep_bytes: int = 512 * 2**20) -> None:
        super().__init__()
        self.model = model
        self.forward_mode: ForwardMode = forward_mode
        self.keep_bytes = keep_bytes
        self.logit_transform = LogitTransform.of(model.config.get_text_config())
        self.masks: MaskNetwork | None = None
        """Trains with the model if token masks are learned."""
        self.degree: DegreeHead | None = None
        """Trains with the model if degrees of removed content are predicted."""

    def forward(
        self, layout: Layout, reference: ReferenceStates | None = None, kept: Tensor | None = None
    ) -> Tensor | LogpsAndDivergence | LogpsAndDegree:
        """Returns ``(N,)`` float32, the log-probability of each scored token.

        With ``reference``, also the divergence from it; with ``kept`` ``(N, K)``, the tokens that each degree keeps,
        also the cost of the degree head.
        """
        states = self._predicting_states(layout)
        if reference is not None:
            return self._compare(states, layout, reference)
        if kept is None:
            return self._target_logps(states, layout.targets)
        assert self.degree is not None and self.forward_mode != "plain"
        cost, accuracy = self.degree(states, layout.response_index, kept, layout.response_count)
        return LogpsAndDegree(self._target_logps(states, layout.targets), cost, accuracy)

    @torch.no_grad()
    def reference_states(self, layout: Layout, masks: MaskConfig | None = None) -> ReferenceStates:
        """Returns what :meth:`forward` needs to compare a policy with this network.

        Its ``logits`` stay valid while this network's head is unchanged.
        """
        kinds = () if masks is None else ("states",) if masks.learned else masks.of
        if not kinds:
            return ReferenceStates(self._predicting_states(layout), self.logits_function(detach_head=True))
        layers = decoder_layers(self._backbone(), self.model.config.get_text_config().num_hidden_layers)
        with record_activations(layers, kinds) as recorded:
            states = self._predicting_states(layout)
        logits = self.logits_function(detach_head=True)
        if self.forward_mode == "shared":
            rows, columns = torch.zeros_like(layout.predict_at), layout.predict_at
        else:
            _, _, rows, columns = pad_rows(layout)
        activations = {kind: [value[rows, columns] for value in values] for kind, values in recorded.items()}
        if masks is not None and masks.learned:
            layer_states = activations["states"] if masks.layers == "all" else activations["states"][-1:]
            return ReferenceStates(states, logits, layer_states=torch.stack(layer_states))
        return ReferenceStates(states, logits, activations, with_mean_logit="logits" in kinds)

    @property
    def logits_outlive_forward(self) -> bool:
        """Whether the ``logits`` of :meth:`reference_states` can be called later: the head is one matrix, or its
        logits were computed by the model. Otherwise the network must be active again to compute them.
        """
        return self.forward_mode == "plain" or type(self.model.get_output_embeddings()) is nn.Linear

    def logits_function(self, detach_head: bool = False) -> LogitsFunction:
        """Returns a function from states to logits, with the head's current weights, without gradient to them if
        ``detach_head``. In the plain mode, states are logits already.
        """
        if self.forward_mode == "plain":
            return lambda logits: logits if logits.dtype == torch.float64 else logits.float()
        head = self.model.get_output_embeddings()
        if type(head) is not nn.Linear:
            return lambda states: self.logit_transform(head(states))
        device = head.weight.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head.weight.dtype
        parameters = [None if x is None else x.detach() if detach_head else x for x in (head.weight, head.bias)]
        weight, bias = (None if x is None else x.to(dtype) for x in parameters)
        assert weight is not None

        def logits(states: Tensor) -> Tensor:
            with torch.autocast(device, enabled=False):
                return self.logit_transform(F.linear(states.to(dtype), weight, bias))

        return logits

    @torch.no_grad()
    def hidden_states(self, layout: Layout) -> Tensor:
        """Returns ``(T, D)``: the last hidden state at each token of the row, after the final norm."""
        if self.forward_mode == "shared":
            return self._packed_states(layout)
        ids, mask, _, _ = pad_rows(layout)
        if self.forward_mode == "padded":
            return pack_rows(layout, self._padded_states(ids, mask))
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        return pack_rows(layout, output.hidden_states[-1])

    @contextmanager
    def using_forward_mode(self, forward_mode: ForwardMode) -> Iterator[None]:
        """Computes in another forward mode within the block."""
        before, self.forward_mode = self.forward_mode, forward_mode
        try:
            yield
        finally:
            self.forward_mode = before

    def _compare(self, states: Tensor, layout: Layout, reference: ReferenceStates) -> LogpsAndDivergence:
        vocabulary = self.model.config.get_text_config().vocab_size
        logps, reference_logps, divergence, mean_logit = compare_tokens(
            states, self.logits_function(), reference, layout.targets, vocabulary
        )
        masks = None
        if reference.layer_states is not None and self.masks is not None:
            masks = self.masks(reference.layer_states)
        elif reference.activations or reference.with_mean_logit:
            mean_logits = {"logits": [mean_logit.detach()]} if reference.with_mean_logit else {}
            count = len(layout.lengths) + len(layout.prompt_lengths)
            masks = activation_masks({**reference.activations, **mean_logits}, layout.response_index, count)
        return LogpsAndDivergence(logps, reference_logps.detach(), divergence, masks)

    def _predicting_states(self, layout: Layout) -> Tensor:
        """Returns the states ``(N, D)`` that predict the scored tokens; in the plain mode the model's own logits
        ``(N, V)`` instead.
        """
        if self.forward_mode == "shared":
            return self._packed_states(layout)[layout.predict_at]
        ids, mask, rows, columns = pad_rows(layout)
        if self.forward_mode == "padded":
            return self._padded_states(ids, mask)[rows, columns]
        return self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[rows, columns]

    def _packed_states(self, layout: Layout) -> Tensor:
        """Returns ``(T, D)``. transformers passes a 4-D mask on unchanged, and our attention ignores it."""
        ignored_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=layout.ids.device)
        output = self._backbone()(
            input_ids=layout.ids[None],
            position_ids=layout.position_ids[None],
            attention_mask=ignored_mask,
            use_cache=False,
            packed_layout=layout,
        )
        return output.last_hidden_state[0]

    def _padded_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self._backbone()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state

    def _backbone(self) -> Any:
        """Returns the model without its head. Gemma 3 of transformers 4 names a part that it lacks, and gets itself."""
        backbone = self.model.base_model
        return self.model.get_decoder() if backbone is self.model else backbone

    def _target_logps(self, states: Tensor, targets: Tensor) -> Tensor:
        """Returns the log-probabilities ``(N,)`` of ``targets`` from :meth:`_predicting_states`."""
        if self.forward_mode == "plain":
            logits = states if states.dtype == torch.float64 else states.float()
            return F.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        head = self.model.get_output_embeddings()
        if type(head) is nn.Linear:
            return token_logps(
                states,
                head.weight,
                targets,
                bias=head.bias,
                transform=self.logit_transform,
                keep_bytes=self.keep_bytes,
            )
        return self._target_logps_by_chunks(head, states, targets)

    def _target_logps_by_chunks(self, head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
        """Returns log-probabilities of a head that is more than a matrix (with an adapter, or quantised), recomputed in
        the backward pass.
        """

        def chunk_logps(chunk: Tensor, chunk_targets: Tensor) -> Tensor:
            logits = self.logit_transform(head(chunk))
            return F.log_softmax(logits, -1).gather(1, chunk_targets[:, None])[:, 0]

        rows = max(1, CHUNK_BYTES // (4 * self.model.config.get_text_config().vocab_size))
        chunks = zip(states.split(rows), targets.split(rows), strict=True)
        return torch.cat([checkpoint(chunk_logps, *chunk, use_reentrant=False) for chunk in chunks])
