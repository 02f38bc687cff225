"""A hand-written DPO loop on a causal language model, the baseline of the text benchmarks.

``RawText`` computes each prompt once: its keys and values stay in the graph, and both responses read them. The head
computes only the positions that predict a response's token.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.text_setting import BETA, LEARNING_RATE, LORA_TARGETS, MAX_GRAD_NORM, PAD, Job, Row


@dataclass(frozen=True)
class Batch:
    """B pairs, padded on the right.

    Args:
        prompt: ``(B, P)``.
        lengths: ``(B,)``, lengths of the prompts.
        response: ``(2 B, R)``, chosen and rejected of a pair in adjacent rows.
        scored: ``(2 B, R)``, False at padding.
    """

    prompt: Tensor
    lengths: Tensor
    response: Tensor
    scored: Tensor

    @staticmethod
    def from_rows(rows: Sequence[Row]) -> Batch:
        """Pads the rows to a batch."""
        prompt, lengths = _padded([row.prompt for row in rows])
        response, sizes = _padded([side for row in rows for side in (row.chosen, row.rejected)])
        return Batch(prompt, lengths, response, torch.arange(response.shape[1]) < sizes[:, None])


class RawText:
    """A training loop, stepped from outside.

    Args:
        job: Model, pairs and their order.
        bf16: Whether networks compute under bfloat16 autocast.
        lora: Rank of a LoRA on attention, with the disabled adapter as reference; None trains every weight.
        stored: Whether the reference's log-probabilities are computed once, before the first step.
    """

    def __init__(self, job: Job, *, bf16: bool = False, lora: int | None = None, stored: bool = False) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.job, self.lora, self.losses = job, lora, []
        self.tokenizer = AutoTokenizer.from_pretrained(job.model)
        self.rows = [self._tokenize(row.texts()) for row in job.rows]
        self.model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
        self.frozen_copy = None
        if lora is not None:
            from peft import LoraConfig

            self.model.add_adapter(LoraConfig(r=lora, lora_alpha=lora, target_modules=list(LORA_TARGETS)))
        elif not stored:
            self.frozen_copy = copy.deepcopy(self.model).requires_grad_(False)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        self.stored_logps = [self.reference(Batch.from_rows([row])) for row in self.rows] if stored else None

    def _tokenize(self, texts: dict[str, str]) -> Row:
        """Returns the tokens of a pair. Words are never merged, so prompt and response are tokenized separately."""
        prompt, *sides = (tuple(self.tokenizer(texts[name])["input_ids"]) for name in ("prompt", "chosen", "rejected"))
        return Row(prompt, *((*side, self.tokenizer.eos_token_id) for side in sides))

    @torch.no_grad()
    def reference(self, batch: Batch) -> Tensor:
        """Returns the log-probabilities ``(2 B,)`` under the initial model."""
        if self.frozen_copy is None and self.lora is not None:
            self.model.disable_adapters()
        with self.autocast():
            ref_logps = logps(self.frozen_copy or self.model, batch)
        if self.frozen_copy is None and self.lora is not None:
            self.model.enable_adapters()
        return ref_logps

    def step(self) -> tuple[float, ...]:
        """Does one optimizer step and returns the losses of all steps so far."""
        visits = self.job.visits(len(self.losses))
        batch = Batch.from_rows([self.rows[index] for index, _ in visits])
        if self.stored_logps:
            reference = torch.cat([self.stored_logps[index] for index, _ in visits])
        else:
            reference = self.reference(batch)
        with self.autocast():
            policy = logps(self.model, batch)
        chosen, rejected = (policy - reference).view(-1, 2).unbind(1)
        loss = -F.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(float(loss.detach()))
        return tuple(self.losses)


def logps(model: Any, batch: Batch) -> Tensor:
    """Returns ``(2 B,)``, the sums of the log-probabilities of each response's tokens."""
    from transformers import DynamicCache

    body, cache, pairs, width = model.model, DynamicCache(config=model.config), *batch.prompt.shape
    prompt_mask = torch.arange(width) < batch.lengths[:, None]
    unpadded = bool(prompt_mask.all() and batch.scored.all())
    prompt_states = body(
        input_ids=batch.prompt, attention_mask=None if unpadded else prompt_mask, past_key_values=cache, use_cache=True
    ).last_hidden_state
    cache.batch_repeat_interleave(2)
    lengths = batch.lengths.repeat_interleave(2)
    # The last token predicts nothing, so it is not computed.
    mask = None if unpadded else torch.cat([prompt_mask.repeat_interleave(2, 0), batch.scored[:, :-1]], 1)
    response_states = body(
        input_ids=batch.response[:, :-1],
        attention_mask=mask,
        position_ids=lengths[:, None] + torch.arange(batch.response.shape[1] - 1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    last_of_prompt = prompt_states[torch.arange(pairs), batch.lengths - 1].repeat_interleave(2, 0)
    hidden = torch.cat([last_of_prompt[:, None], response_states], 1)[batch.scored]
    token_logps = F.log_softmax(model.lm_head(hidden).float(), -1).gather(-1, batch.response[batch.scored][:, None])
    response_of_token = torch.arange(2 * pairs).repeat_interleave(batch.scored.sum(1))
    return torch.zeros(2 * pairs).index_add(0, response_of_token, token_logps.squeeze(-1))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), PAD)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids, lengths
