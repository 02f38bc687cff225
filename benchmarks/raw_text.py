"""The other side: DPO on a causal language model as one would write it by hand, with nothing around it.

``RawText`` computes each prompt once: its keys and values stay in the graph, and both responses read them. The head
sees the positions that predict a response's token, and no others.
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
        lengths: ``(B,)`` of prompts.
        response: ``(2 B, R)``, chosen and rejected of a pair side by side.
        scored: ``(2 B, R)``, False where padded.
    """

    prompt: Tensor
    lengths: Tensor
    response: Tensor
    scored: Tensor

    @staticmethod
    def of(rows: Sequence[Row]) -> Batch:
        """Pads."""
        prompt, lengths = _padded([row.prompt for row in rows])
        response, sizes = _padded([side for row in rows for side in (row.chosen, row.rejected)])
        return Batch(prompt, lengths, response, torch.arange(response.shape[1]) < sizes[:, None])


class RawText:
    """One optimizer step after another.

    Args:
        job: What to train.
        bf16: Networks under bfloat16 autocast.
        lora: Rank of a LoRA on attention, with the adapter switched off as reference; None trains every weight.
        stored: The reference's numbers are computed once, before the first step.
    """

    def __init__(self, job: Job, *, bf16: bool = False, lora: int | None = None, stored: bool = False) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.job, self.lora, self.losses = job, lora, []
        self.tokenizer = AutoTokenizer.from_pretrained(job.model)
        self.rows = [self._read(row.texts()) for row in job.rows]
        self.model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
        self.autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
        self.other = None
        if lora is not None:
            from peft import LoraConfig

            self.model.add_adapter(LoraConfig(r=lora, lora_alpha=lora, target_modules=list(LORA_TARGETS)))
        elif not stored:
            self.other = copy.deepcopy(self.model).requires_grad_(False)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        self.known = [self.reference(Batch.of([row])) for row in self.rows] if stored else None

    def _read(self, texts: dict[str, str]) -> Row:
        """Tokens of a pair. Between words nothing is merged, so prompt and response can be read apart."""
        prompt, *sides = (tuple(self.tokenizer(texts[name])["input_ids"]) for name in ("prompt", "chosen", "rejected"))
        return Row(prompt, *((*side, self.tokenizer.eos_token_id) for side in sides))

    @torch.no_grad()
    def reference(self, batch: Batch) -> Tensor:
        """``(2 B,)`` of the model that training started from."""
        if self.other is None and self.lora is not None:
            self.model.disable_adapters()
        with self.autocast():
            scores = logps(self.other or self.model, batch)
        if self.other is None and self.lora is not None:
            self.model.enable_adapters()
        return scores

    def step(self) -> tuple[float, ...]:
        """One optimizer step; returns the losses of all steps so far."""
        visits = self.job.visits(len(self.losses))
        batch = Batch.of([self.rows[index] for index, _ in visits])
        reference = torch.cat([self.known[index] for index, _ in visits]) if self.known else self.reference(batch)
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
    """``(2 B,)`` sums of the log-probabilities of each response's tokens."""
    from transformers import DynamicCache

    body, cache, pairs, width = model.model, DynamicCache(config=model.config), *batch.prompt.shape
    real = torch.arange(width) < batch.lengths[:, None]
    even = bool(real.all() and batch.scored.all())
    first = body(
        input_ids=batch.prompt, attention_mask=None if even else real, past_key_values=cache, use_cache=True
    ).last_hidden_state
    cache.batch_repeat_interleave(2)
    lengths = batch.lengths.repeat_interleave(2)
    # The last token predicts nothing, so it is not computed.
    rest = body(
        input_ids=batch.response[:, :-1],
        attention_mask=None if even else torch.cat([real.repeat_interleave(2, 0), batch.scored[:, :-1]], 1),
        position_ids=lengths[:, None] + torch.arange(batch.response.shape[1] - 1),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    last = first[torch.arange(pairs), batch.lengths - 1].repeat_interleave(2, 0)
    hidden = torch.cat([last[:, None], rest], 1)[batch.scored]
    values = F.log_softmax(model.lm_head(hidden).float(), -1).gather(-1, batch.response[batch.scored][:, None])
    owner = torch.arange(2 * pairs).repeat_interleave(batch.scored.sum(1))
    return torch.zeros(2 * pairs).index_add(0, owner, values.squeeze(-1))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), PAD)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids, lengths
