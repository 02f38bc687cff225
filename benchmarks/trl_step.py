"""TRL's DPOTrainer, unchanged and stepped from outside, for comparison.

A step does the work of TRL's own loop: collate, ``training_step`` (policy and reference forward, its metrics,
backward), clip, AdamW. Its callbacks and logs are left out, in TRL's favour.

On a GPU TRL puts only the completion's positions through the head, elsewhere all of them. ``compact`` selects the GPU's
behaviour on the CPU: the losses are the same, and it is the TRL that most users run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

from benchmarks.text_setting import BETA, LEARNING_RATE, LORA_TARGETS, MAX_GRAD_NORM, Job


class TrlLoop:
    """A training loop, stepped from outside.

    Args:
        job: Model, pairs and their order.
        compact: Whether only completions' positions go through the head, as on a GPU.
        bf16: Whether networks compute under bfloat16 autocast.
        lora: Rank of a LoRA on attention, with the disabled adapter as reference; None trains every weight.
        stored: Whether the reference's log-probabilities are computed once, before the first step.
        checkpointing: Whether to recompute activations in the backward pass.
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
        # As the trainer's own loop before its first step.
        trainer.current_gradient_accumulation_steps = 1
        self.model, self.optimizer = trainer.accelerator.prepare(trainer.model, trainer.create_optimizer())
        self.trainer, self.rows = trainer, list(trainer.train_dataset)
        self._check()

    def step(self) -> tuple[float, ...]:
        """Does one optimizer step and returns the losses of all steps so far."""
        inputs = self.trainer.data_collator([self.rows[index] for index, _ in self.job.visits(len(self.losses))])
        with self.head():
            loss = self.trainer.training_step(self.model, inputs)
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.model.zero_grad()
        self.losses.append(float(loss))
        return tuple(self.losses)

    def _check(self) -> None:
        """Raises SystemExit if the tokens of the texts differ from those that the texts were made from."""
        for row, expected in zip(self.rows, self.job.rows, strict=True):
            if [row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] != [
                list(expected.prompt),
                list(expected.chosen),
                list(expected.rejected),
            ]:
                raise SystemExit("TRL's tokens of the texts differ from those that the texts were made from")


@contextmanager
def compact_head() -> Iterator[None]:
    """Makes TRL compute only labelled positions in the head, as it does with Triton; its kernels are not changed."""
    from trl.trainer import utils

    with mock.patch.object(utils, "_use_triton", lambda device: True):
        yield
