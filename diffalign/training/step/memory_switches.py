"""The settings that would still lower the memory of a step, for the message when one example does not fit."""

from __future__ import annotations

from diffalign.training.recipe.schema import Recipe


def memory_switches(recipe: Recipe) -> str:
    """Returns the settings that this model has and this recipe does not use yet, as a sentence with what to type."""
    model, train = recipe.model, recipe.train
    adapted = getattr(model, "adapter", None) is not None
    clip = getattr(model, "clip", None)
    possible = {
        "train.gradient_checkpointing=true": hasattr(model, "gradient_checkpointing")
        and not (train.gradient_checkpointing or model.gradient_checkpointing)
        and train.fast_slow is None,
        "train.mixed_precision=bf16": train.mixed_precision == "no",
        "model.dtype=bfloat16": adapted and getattr(model, "dtype", "") == "float32",
        "model.quantize=nf4": adapted and getattr(model, "quantize", "") is None,
        "model.offload=blocks": adapted
        and getattr(model, "offload", "") is None
        and bool(train.gradient_checkpointing or getattr(model, "gradient_checkpointing", False)),
        "train.draws_per_pair=1": train.draws_per_pair is None or train.draws_per_pair > 1,
        f"model.clip.frames={clip.frames // 2 if clip else 0}": clip is not None and clip.frames > 1,
        "model.resolution=PIXELS": hasattr(model, "resolution"),
        "model.max_length=TOKENS": hasattr(model, "max_length"),
        "model.adapter.rank=16": hasattr(model, "adapter") and not adapted,
    }
    switches = [f"--set {setting}" for setting, is_possible in possible.items() if is_possible]
    return f"Type one of: {', '.join(switches)}" if switches else "Take a smaller model"
