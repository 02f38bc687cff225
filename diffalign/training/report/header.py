"""The header of a run: its parts, batches, precision and memory, printed before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffalign.devices.device_memory import available_bytes, format_bytes
from diffalign.devices.plan.plan import MemoryPlan
from diffalign.devices.plan.stage import Stage
from diffalign.losses import Objective, equivalent_betas
from diffalign.named_choice import Choice
from diffalign.pairs.source import PairSource
from diffalign.policies.policy import LatentPolicy, Policy
from diffalign.training.optim.optimizer import learning_rate, state_bytes
from diffalign.training.recipe.bind import bind_label
from diffalign.training.recipe.schema import Recipe


def header(
    recipe: Recipe,
    policy: Policy,
    data: PairSource,
    loss: Objective,
    *,
    processes: int,
    micro: int,
    precision: str,
    activations: str = "activations",
    stages: Sequence[Stage] = (),
    changes: Sequence[str] = (),
) -> str:
    """Returns one line each for model, data, the four choices, batches, beta in other conventions, and memory.

    ``activations`` is a phrase on the memory of a micro-batch, ``stages`` are the planned stages. ``changes`` are
    sentences on how the data changed while the run was stopped.
    """
    rows = {
        **policy.describe(),
        "data": "; ".join([data.summary(), *changes]),
        "method": f"{recipe.method or 'own choice'}: {_parts(recipe, loss)}",
        **_gate_rows(recipe),
        "batch": batch_line(recipe, len(data), processes, micro),
        "optimizer": _optimizer_line(recipe),
        "precision": precision,
        **_beta_rows(recipe, policy, loss),
        "memory": _memory_line(recipe, policy, activations),
        **({"stages": MemoryPlan(stages).summary()} if len(stages) > 1 else {}),
        "guard": recipe.guard.action,
        "output": recipe.output,
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _gate_rows(recipe: Recipe) -> Mapping[str, str]:
    """Returns what a gate costs that votes on several noises."""
    noises = bind_label(recipe.labels)([]).gate_noises
    if noises == 1:
        return {}
    inverted = (
        f" and {noises - 1} inversions"
        if getattr(recipe.model, "latents", Choice(name="forward")).name != "forward"
        else ""
    )
    return {
        "gate": f"votes on means over {noises} noises: {2 * (noises - 1)} further forward passes{inverted} per pair"
    }


def batch_line(recipe: Recipe, pairs: int, processes: int, micro: int) -> str:
    """Returns how the effective batch is divided, and how often each pair will be seen."""
    train = recipe.train
    share = -(-train.batch_size // processes)
    accumulated = -(-share // micro)
    epochs = train.steps * train.batch_size / pairs
    parts = f"{accumulated} accumulated x up to {min(micro, share)}"
    if train.micro_batch_tokens is not None:
        parts = f"micro-batches of up to {train.micro_batch_tokens:,} tokens"
    return (
        f"{train.batch_size} pairs a step = {processes} process{'es' if processes > 1 else ''} x "
        f"{parts}; {train.steps} steps = {epochs:.3g} epochs of {pairs} pairs"
    )


def _parts(recipe: Recipe, loss: Objective) -> str:
    hyper = ", ".join(f"{name} {_short(value)}" for name, value in loss.shown_settings.items())
    latents = getattr(recipe.model, "latents", None)
    start = "" if loss.at_zero is None else f"; {loss.at_zero:.4g} at step 0"
    parts = {"pairs": recipe.pairs, **({"latents": latents} if isinstance(latents, Choice) else {})}
    shown = "  ".join(f"{axis}={_choice(choice)}" for axis, choice in {**parts, "labels": recipe.labels}.items())
    return f"{shown}  loss={loss.name} ({hyper}){start}"


def _choice(choice: Choice) -> str:
    return choice.name + "".join(f", {name} {_short(value)}" for name, value in choice.hyper.items())


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _optimizer_line(recipe: Recipe) -> str:
    train = recipe.train
    peak = learning_rate(train, min(train.warmup_steps, train.steps - 1))
    scaled = f" = {train.learning_rate:g} x {train.batch_size}" if train.scale_lr else ""
    warm = f", {train.warmup_steps} warm-up" if train.warmup_steps else ""
    clip = f", gradients clipped to norm {train.max_grad_norm:g}" if train.max_grad_norm else ""
    ema = f", average of weights with decay {train.ema_decay:g}" if train.ema_decay else ""
    rate = f"rate {peak:g}{scaled}, {train.schedule}{warm}"
    return f"{train.optimizer}, {rate}{clip}{ema}"


def _beta_rows(recipe: Recipe, policy: Policy, loss: Objective) -> Mapping[str, str]:
    """Returns beta in the conventions of other programs; only for log-probabilities that are errors of a latent."""
    if not isinstance(policy, LatentPolicy) or "beta" not in loss.lead.hyper:
        return {}
    ours = "sum_half" if getattr(recipe.model, "reduction", "mean") == "sum" else "mean_half"
    elements = policy.latent_elements
    same = equivalent_betas(loss.beta, convention=ours, elements=elements)
    rows = {"same beta": "; ".join(f"{row.value:.4g} as {name} ({row.explanation})" for name, row in same.items())}
    if policy.medium == "video":  # the same beta binds each number of a clip less, the more frames it has
        mean = same["mean_half"].value
        rows["beta / D"] = (
            f"{mean / elements:.3g} = {mean:.4g} / {elements:,} numbers of a latent; published: 0.12 for images "
            "(Diffusion-DPO, 2000 / 16,384), 0.031 for clips (VideoDPO, 5000 / 163,840)"
        )
    return rows


def _memory_line(recipe: Recipe, policy: Policy, activations: str) -> str:
    weights = sum(p.numel() * p.element_size() for p in policy.module.parameters())
    trained = list(policy.trainable().values())
    extra = sum(p.numel() for p in trained) * (8 if recipe.train.ema_decay else 4)
    extra += state_bytes(recipe.train.optimizer, trained)
    device = next(policy.module.parameters()).device
    return (
        f"{format_bytes(weights)} weights + {format_bytes(extra)} gradients, optimizer and average + {activations}; "
        f"{format_bytes(available_bytes(device))} free on {device}"
    )
