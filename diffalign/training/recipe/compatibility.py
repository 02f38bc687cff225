"""Fit: which loss goes with which pairs, labels and models, told before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.labels import Label
from diffalign.losses import LOSSES, Objective
from diffalign.losses.logp_settings import LD_ALPHA
from diffalign.pairs.source import PairSource


def check_loss_and_data(loss: Objective, data: PairSource, label: Label) -> None:
    """Raises ConfigError where a loss on single examples meets pairs, or a loss on pairs single examples; where one for
    desirable examples meets others, or one for both kinds finds one kind alone; and where a label says what the loss
    has no use for."""
    alone = not data.every and all(pair.rejected is None for pair in data.pairs)
    if loss.kind == "single" and not alone:
        raise ConfigError(
            f"the loss '{loss.name}' looks at one candidate alone, but pairs bring two, and both would be computed. "
            f"Type: --set pairs={'singles' if loss.accepts_undesirable else 'winners'}"
        )
    if loss.kind != "single" and alone:
        raise ConfigError(
            f"the loss '{loss.name}' compares two candidates, but there are single examples alone. Type: --set "
            "loss=sft for winners, --set loss=kto for examples that are judged good or bad, or let an earlier "
            "checkpoint bring the others: --set pairs=checkpoint"
        )
    if loss.kind == "single":
        _check_sides(loss, data)
    if not loss.needs_reference and (label.gate is not None or label.scale is not None):
        raise ConfigError(
            f"these labels act on what the policy gained against its reference, but the loss '{loss.name}' has none. "
            "Type: --set labels=hard   or take a loss that compares: --set loss.name=logistic --set loss.beta=2000"
        )
    if (label.scale is not None and not loss.is_pure_margin) or (label.gate is not None and loss.kind == "single"):
        raise ConfigError(
            f"these labels act on the two logratios of a pair, but the loss '{loss.name}' does not compare these "
            "alone. Type: --set labels=hard   or take a loss that does, such as logistic"
        )
    if label.offset is not None and any(term.loss.loss.takes != "margin" for term in loss):
        raise ConfigError(
            f"these labels say by how much the chosen candidate is ahead, but the loss '{loss.name}' is no function of "
            "one margin. Type: --set labels=hard   or take a loss that is, such as logistic"
        )
    if loss.kind == "single" and bool((label.probability < 1.0).any()):
        raise ConfigError(
            f"these labels doubt which candidate is the better one, but the loss '{loss.name}' looks at one alone. "
            "Type: --set labels=hard"
        )


def check_answers(loss: Objective, pairs: Sequence[Pair]) -> None:
    """Raises ConfigError where a loss reads further answers or lists that the pairs do not have."""
    if not loss.roles and loss.kind != "list":
        return
    for pair in pairs:
        missing = [role for role in loss.roles if role not in pair.further]
        if missing:
            raise ConfigError(
                f"the loss '{loss.name}' reads further answers ({', '.join(loss.roles)}), but {pair.source or pair.id} "
                f"has no {', '.join(missing)}. Give the data a column of that name"
                + (", or let them be made: --set pairs=drafts" if any("after" in role for role in missing) else "")
            )
        if loss.kind == "list" and "2" not in pair.further:
            raise ConfigError(
                f"the loss '{loss.name}' ranks lists, but {pair.source or pair.id} has two candidates alone. "
                "Type: --set pairs=lists   with data that have several per prompt, or take a loss on pairs"
            )


def _check_sides(loss: Objective, data: PairSource) -> None:
    bad = sum(not pair.desirable for pair in data.pairs)
    if bad and not loss.accepts_undesirable:
        raise ConfigError(
            f"the loss '{loss.name}' makes every candidate likelier, but {bad} of {len(data)} examples are "
            "undesirable. Type: --set pairs=winners   to leave them out, or --set loss=kto to learn from both kinds"
        )
    if loss.accepts_undesirable and (bad == 0 or bad == len(data) and not loss.allows_only_undesirable):
        there = "desirable" if not bad else "undesirable"
        raise ConfigError(
            f"the loss '{loss.name}' weighs desirable examples against undesirable ones, but all {len(data)} are "
            f"{there}. Type: --set pairs=singles   where the data are pairs; for good examples alone: "
            "--set pairs=winners --set loss=sft"
        )


def check_model(loss: Objective, model: Any) -> None:
    """Raises ConfigError where the model's section asks for what the loss does not use, or lacks what it needs.

    Args:
        loss: What is trained on.
        model: The model's section of the recipe.
    """
    by_parts = "divergence" in loss.needs
    if getattr(model, "masks", None) is not None and not by_parts:
        raise ConfigError(
            f"model.masks weighs parts one by one, but the loss '{loss.name}' sees their sums alone. Type: --set "
            "model.masks=null   or take a loss that looks at parts: --set loss.name=sparse_po"
        )
    if by_parts and getattr(model, "reference", "") == "stored":
        raise ConfigError(
            f"the loss '{loss.name}' compares policy and reference part by part, but of a stored reference its numbers "
            "alone are kept. Type: --set model.reference=auto"
        )
    tells = "degree" in loss.needs
    if tells and by_parts:
        raise ConfigError(
            f"'{loss.name}' asks the policy for its distributions and for degrees of removed content, which it tells "
            "one at a time. Take one of the two terms out of the sum."
        )
    if tells != (getattr(model, "degree", None) is not None):
        raise ConfigError(
            f"the loss '{loss.name}' tells degrees of removed content apart, and the model has none. Type: --set "
            "model.degree={}"
            if tells
            else f"model.degree trains a head, but the loss '{loss.name}' does not use it. Type: --set "
            "model.degree=null   or add the loss degree to a sum"
        )


def check_medium(loss: Objective, medium: str) -> None:
    """Raises ConfigError where a loss has no meaning for what the policy makes."""
    if medium not in loss.media:
        fit = [name for name, row in LOSSES.items() if medium in row.media and row.kind == loss.kind]
        raise ConfigError(
            f"the loss '{loss.name}' is made for {' and '.join(loss.media)}, but this model makes {medium}. "
            f"Losses for it: {', '.join(fit)}. Type for example: --set loss.name={fit[0]}"
        )
    for term in loss:
        if medium != "text" and term.loss.hyper.get(LD_ALPHA, 1.0) != 1.0:
            raise ConfigError(
                f"{LD_ALPHA} weighs the tokens that the longer answer has more, but this model makes {medium}, which "
                f"has none. Type: --set loss.{LD_ALPHA}=1"
            )
