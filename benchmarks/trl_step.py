"""The peer: TRL's DPOTrainer, unchanged, stepped by hand.

A step is what its own loop does and no more: collate, ``training_step`` (policy and reference forward, its metrics,
backward), clip, AdamW. Dispatching callbacks and writing logs, which its loop also does, are left out, in its favour.

On a GPU TRL puts only the completion's positions through the head; elsewhere all of them. ``compact`` answers that
question for it as a GPU would: the losses are the same, and it is the TRL that most people have.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

from benchmarks.text_setting import BETA, LEARNING_RATE, LORA_TARGETS, MAX_GRAD_NORM, Job


class TrlLoop:
    """One optimizer step after another.

    Args:
        job: What to train.
        compact: Only completions' positions go through the head, as on a GPU.
        bf16: Networks under bfloat16 autocast.
        lora: Rank of a LoRA on attention, with the adapter switched off as reference; None trains every weight.
        stored: The reference's numbers are computed once, before the first step.
        checkpointing: Activations are computed twice.
    """

    def __init__(
        self,
        job: Job,
        *,
        compact: bool = True,
        bf16: bool = False,
        lora: int | None = None,
        stored: bool = False,
        checkpointing: bool = False,
    ) -> None:
        from datasets import Dataset, disable_progress_bars
        from peft import LoraConfig
        from transformers import AutoTokenizer
        from trl import DPOConfig, DPOTrainer

        disable_progress_bars()
        self.job, self.losses, self.head = job, [], compact_head if compact else nullcontext
        settings = DPOConfig(
            output_dir=tempfile.mkdtemp(dir=job.model.parent),
            use_cpu=True,
            bf16=bf16,
            beta=BETA,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=MAX_GRAD_NORM,
            per_device_train_batch_size=job.order.batch_size,
            precompute_ref_log_probs=stored,
            gradient_checkpointing=checkpointing,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        with self.head():
            trainer = DPOTrainer(
                model=str(job.model),
                args=settings,
                train_dataset=Dataset.from_list([row.texts() for row in job.rows]),
                processing_class=AutoTokenizer.from_pretrained(job.model),
                peft_config=LoraConfig(r=lora, lora_alpha=lora, target_modules=list(LORA_TARGETS)) if lora else None,
            )
        # What the trainer's own loop does before its first step.
        trainer.current_gradient_accumulation_steps = 1
        self.model, self.optimizer = trainer.accelerator.prepare(trainer.model, trainer.create_optimizer())
        self.trainer, self.rows = trainer, list(trainer.train_dataset)
        self._check()

    def step(self) -> tuple[float, ...]:
        """One optimizer step; returns the losses of all steps so far."""
        inputs = self.trainer.data_collator([self.rows[index] for index, _ in self.job.visits(len(self.losses))])
        with self.head():
            loss = self.trainer.training_step(self.model, inputs)
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.model.zero_grad()
        self.losses.append(float(loss))
        return tuple(self.losses)

    def _check(self) -> None:
        """Raises where the texts gave other tokens than those that were meant."""
        for row, meant in zip(self.rows, self.job.rows, strict=True):
            if [row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] != [
                list(meant.prompt),
                list(meant.chosen),
                list(meant.rejected),
            ]:
                raise SystemExit("TRL read other tokens from the texts than those they were written from")


@contextmanager
def compact_head() -> Iterator[None]:
    """Within it TRL scores only what has a label, as it does where Triton runs; its kernels still see the device."""
    from trl.trainer import utils

    with mock.patch.object(utils, "_use_triton", lambda device: True):
        yield
