"""Decides what happens when the device runs out of memory within a step."""

from __future__ import annotations

from diffalign.errors import RunError


def check_that_halving_helps(micro_batch_size: int, processes: int) -> None:
    """Raises RunError where a step cannot start over with smaller micro-batches.

    Only a single process can: others would wait for the gradients of the first attempt.
    """
    if micro_batch_size == 1:
        raise RunError(
            "one pair does not fit into the device's memory. Type: --set train.gradient_checkpointing=true, "
            "--set train.mixed_precision=bf16 or a smaller --set model.resolution"
        ) from None
    if processes > 1:
        raise RunError(
            f"micro-batches of {micro_batch_size} pairs do not fit into a device's memory. Type: "
            f"--set train.micro_batch_size={micro_batch_size // 2}"
        ) from None
