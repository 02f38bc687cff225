"""Checks that a loss fits pairs, labels and model, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.errors import ConfigError
from diffalign.labels import Label
from diffalign.losses import LOSSES, Objective
from diffalign.losses.logp_settings import F_DIVERGENCE, LD_ALPHA
from diffalign.pairs.source import PairSource


def check_loss_and_data(loss: Objective, data: PairSource, label: Label) -> None:
    """Raises ConfigError where pairs or labels do not fit the loss.

    These are: pairs for a loss on single examples and the reverse; undesirable examples for a loss on desirable ones;
    only one kind for a loss that needs both; labels with values that the loss cannot use.
    """
    sampled_later = data.every and not any(isinstance(pair.chosen, ToSample) for pair in islice(data.pairs, 1))
    are_singles = not sampled_later and all(pair.rejected is None for pair in data.pairs)
    if loss.kind == "single" and not are_singles:
        raise ConfigError(
            f"the loss '{loss.name}' looks at one candidate only, but pairs have two, and both would be computed. "
            f"Type: --set pairs={'singles' if loss.accepts_undesirable else 'winners'}"
        )
    if loss.kind != "single" and are_singles:
        raise ConfigError(
            f"the loss '{loss.name}' compares two candidates, but there are only single examples. Type: --set "
            "loss=sft for winners, --set loss=kto for examples that are judged good or bad, or let an earlier "
            "checkpoint make the rejected ones: --set pairs=checkpoint"
        )
    if loss.kind == "single":
        _check_sides(loss, data)
    if not loss.needs_reference and (label.gate is not None or label.scale is not None):
        raise ConfigError(
            f"these labels act on the logratios of policy and reference, but the loss '{loss.name}' has no reference. "
            "Type: --set labels=hard   or take a loss that compares: --set loss.name=logistic --set loss.beta=2000"
        )
    if (label.scale is not None and not loss.is_pure_margin) or (label.gate is not None and loss.kind == "single"):
        raise ConfigError(
            f"these labels act on the two logratios of a pair, but the loss '{loss.name}' reads more than these. "
            "Type: --set labels=hard   or take a loss that does, such as logistic"
        )
    if label.scale is not None:
        _check_scale(loss)
    if label.offset is not None and any(term.loss.loss.takes != "margin" for term in loss):
        raise ConfigError(
            f"these labels contain by how much the chosen candidate is ahead, but the loss '{loss.name}' is no "
            "function of one margin. Type: --set labels=hard   or take a loss that is, such as logistic"
        )
    if loss.kind == "single" and bool((label.probability < 1.0).any()):
        raise ConfigError(
            f"these labels are uncertain which candidate is better, but the loss '{loss.name}' looks at one only. "
            "Type: --set labels=hard"
        )


def _check_scale(loss: Objective) -> None:
    """Raises ConfigError where a factor on a pair's logratios is no beta of its own, so that the labels would train
    something else than they say.
    """
    for term in loss:
        if term.loss.scale_is_beta:
            continue
        if term.loss.divergence != "reverse_kl":
            raise ConfigError(
                "these labels give each pair a beta of its own, a factor on its logratios, but under "
                f"{F_DIVERGENCE}: {term.loss.divergence} the reward is a curve of the logratio, where a factor is no "
                f"beta. Type: --set loss.{F_DIVERGENCE}=reverse_kl   or: --set labels=hard"
            )
        raise ConfigError(
            f"these labels give each pair a beta of its own, but in the loss '{term.loss.name}' as it is set beta is "
            "no factor on the margin: a scaled pair would get another target at the same beta. Type: --set "
            "loss.relative=true   or: --set labels=hard"
        )


def check_batch(loss: Objective, batch_size: int) -> None:
    """Raises ConfigError where a batch is too small for a number that the loss takes from the whole batch."""
    if "kto_baseline" in loss.needs and batch_size < 2:
        raise ConfigError(
            f"the loss '{loss.name}' measures gains from a reference point, the mean over the answers of a batch under "
            "each other's prompts, and a batch of one example has no other answer. Type: --set train.batch_size=8   "
            "(train.micro_batch_size=1 keeps one in memory at a time), or --set loss.name=bco, whose point is a "
            "running mean"
        )


def check_answers(loss: Objective, pairs: Sequence[Pair]) -> None:
    """Raises ConfigError where the pairs lack further answers or lists that the loss reads."""
    if not loss.roles and loss.kind != "list":
        return
    for pair in pairs:
        missing = [role for role in loss.roles if role not in pair.further]
        if missing:
            raise ConfigError(
                f"the loss '{loss.name}' reads further answers ({', '.join(loss.roles)}), but {pair.source or pair.id} "
                f"has no {', '.join(missing)}. Give the data a column of that name"
                + (", or generate them: --set pairs=drafts" if any("after" in role for role in missing) else "")
            )
        if loss.kind == "list" and "2" not in pair.further:
            raise ConfigError(
                f"the loss '{loss.name}' ranks lists, but {pair.source or pair.id} has only two candidates. "
                "Type: --set pairs=lists   with data that have several per prompt, or take a loss on pairs"
            )


def _check_sides(loss: Objective, data: PairSource) -> None:
    bad = sum(not pair.desirable for pair in data.pairs)
    if bad and not loss.accepts_undesirable:
        raise ConfigError(
            f"the loss '{loss.name}' increases the probability of every candidate, but {bad} of {len(data)} examples "
            "are undesirable. Type: --set pairs=winners   to leave them out, or --set loss=kto to learn from both kinds"
        )
    if loss.accepts_undesirable and (bad == 0 or bad == len(data) and not loss.allows_only_undesirable):
        kind = "desirable" if not bad else "undesirable"
        raise ConfigError(
            f"the loss '{loss.name}' compares desirable examples with undesirable ones, but all {len(data)} are "
            f"{kind}. Type: --set pairs=singles   where the data are pairs; for good examples alone: "
            "--set pairs=winners --set loss=sft"
        )


def check_buckets(model: Any, source: PairSource, latents: str | None) -> None:
    """Raises ConfigError where pairs should keep the shape of their files, and candidates are no files.

    Args:
        model: The model section of the recipe.
        source: The source of the pairs.
        latents: The file of kept latents of the training or held-out data; None: there is none.
    """
    if getattr(model, "buckets", None) is not None and (source.every or latents):
        what = "samples of the policy are" if source.every else "kept latents (data.latents) are"
        raise ConfigError(
            f"model.buckets gives pairs the shape of their files, but {what} square. Type: --set model.buckets=false"
        )


def check_model(loss: Objective, model: Any) -> None:
    """Raises ConfigError where the model section has settings that the loss does not use, or lacks some that it needs.

    Args:
        loss: The loss that is trained on.
        model: The model section of the recipe.
    """
    by_parts = "divergence" in loss.needs
    if getattr(model, "buckets", None) is not None and by_parts:
        raise ConfigError(
            f"the loss '{loss.name}' compares predictions at every position, and pairs in buckets have several numbers "
            "of them. Type: --set model.buckets=false"
        )
    if getattr(model, "masks", None) is not None and not by_parts:
        raise ConfigError(
            f"model.masks weighs parts one by one, but the loss '{loss.name}' reads only their sums. Type: --set "
            "model.masks=null   or take a loss that looks at parts: --set loss.name=sparse_po"
        )
    if by_parts and getattr(model, "reference", "") == "stored":
        raise ConfigError(
            f"the loss '{loss.name}' compares policy and reference part by part, but a stored reference consists of "
            "numbers per candidate. Type: --set model.reference=auto"
        )
    reads_degrees = "degree" in loss.needs
    if reads_degrees and by_parts:
        raise ConfigError(
            f"'{loss.name}' reads distributions and degrees of removed content, which a policy computes in separate "
            "forward passes. Take one of the two terms out of the sum."
        )
    if reads_degrees != (getattr(model, "degree", None) is not None):
        raise ConfigError(
            f"the loss '{loss.name}' distinguishes degrees of removed content, and the model has none. Type: --set "
            "model.degree={}"
            if reads_degrees
            else f"model.degree trains a head, but the loss '{loss.name}' does not use it. Type: --set "
            "model.degree=null   or add the loss degree to a sum"
        )


LOOKED_AT, OPENED = 256, 16
"""Rows whose medium is checked before the model is opened, and those whose files are looked at for it; each is checked
again where it is encoded."""
_KIND_OF = {kind: f" --set model.kind={kind}" for kind in ("text", "image", "video")}


def check_data_medium(pairs: Sequence[Pair], medium: str, name: str) -> None:
    """Raises ConfigError where candidates are of another medium than what the model makes: texts, images or clips.

    Args:
        pairs: The pairs.
        medium: What the model makes.
        name: Where the pairs come from, for the message.
    """
    for number, pair in enumerate(islice(pairs, LOOKED_AT)):
        for answer in pair.answers.values():
            if isinstance(answer.candidate, ToSample):
                continue
            looked_at = "text" if isinstance(answer.candidate, (str, Conversation)) else ""
            found = looked_at or (medium_of(answer.candidate) if number < OPENED else "")
            if not found and medium == "text":
                found = "image or video"  # which of them no longer matters
            if not found or found == medium:
                continue
            plural = found.replace(" ", "s ") + "s"
            raise ConfigError(
                f"{pair.source or name}: the candidates are {plural}, but this model makes {medium}s. Give a model of "
                f"their kind, --set model.path=FOLDER{_KIND_OF.get(found, '')}, or pairs of {medium}s: "
                "--set data.train=PATH"
            )


def check_medium(loss: Objective, medium: str) -> None:
    """Raises ConfigError where the loss has no meaning for the policy's medium."""
    if medium not in loss.media:
        fitting = [name for name, row in LOSSES.items() if medium in row.media and row.kind == loss.kind]
        raise ConfigError(
            f"the loss '{loss.name}' is made for {' and '.join(loss.media)}, but this model makes {medium}. "
            f"Losses for it: {', '.join(fitting)}. Type for example: --set loss.name={fitting[0]}"
        )
    for term in loss:
        if medium != "text" and term.loss.hyper.get(LD_ALPHA, 1.0) != 1.0:
            raise ConfigError(
                f"{LD_ALPHA} weighs the tokens that the longer answer has more, but this model makes {medium}, which "
                f"has none. Type: --set loss.{LD_ALPHA}=1"
            )
