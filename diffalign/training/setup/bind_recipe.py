"""Stage 1: binds the names in a recipe to functions and rows, and checks that they fit together.

Nothing is loaded onto a device here and nothing is written, so a mistake in a recipe costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffalign.data.records.frame_weights import check_frame_weights
from diffalign.data.records.pair import Pair
from diffalign.labels.silence import silencing
from diffalign.losses import Objective
from diffalign.pairs.dataset import DatasetPairs, from_memory, read_dataset
from diffalign.pairs.prompt_rows import refuse_prompt_rows
from diffalign.pairs.source import ChecksRun, PairSource
from diffalign.training.held_out.drop_unused_answers import drop_unused_answers, like_training_pairs
from diffalign.training.held_out.evaluate import HeldOut
from diffalign.training.recipe.bind import bind_label, bind_loss, bind_pairs
from diffalign.training.recipe.compatibility import (
    check_answers,
    check_batch,
    check_buckets,
    check_data_medium,
    check_loss_and_data,
    check_model,
)
from diffalign.training.recipe.model_kinds import model_kind
from diffalign.training.recipe.schema import Recipe
from diffalign.training.setup.open_first_candidates import open_first_candidates
from diffalign.training.step.micro_batch_step import Labeller
from diffalign.training.step.stored_scores import check_rewards


@dataclass(frozen=True)
class BoundRecipe:
    """The names in a recipe as functions and rows.

    Args:
        loss: The loss, or the sum of several.
        label: Returns the labels of pairs.
        source: The source of the training pairs.
        held_out: The held-out pairs; None: the recipe names none.
        ranges: Smallest and largest scores of the training data.
        warnings: What is odd about the data, each a sentence.
    """

    loss: Objective
    label: Labeller
    source: PairSource
    held_out: HeldOut | None
    ranges: Mapping[str, tuple[float, float]]
    warnings: tuple[str, ...] = ()


def bind_recipe(recipe: Recipe, pairs: Sequence[Pair] | DatasetPairs | None) -> BoundRecipe:
    """Returns loss, label and pairs of a recipe.

    Args:
        recipe: The recipe.
        pairs: Taken instead of the recipe's data.

    Raises:
        ConfigError: Parts of the recipe do not fit together.
        DataError: A row lacks what the loss or the label reads.
    """
    rows, medium = _read_rows(recipe, pairs), model_kind(recipe.model).medium
    if pairs is None:
        check_data_medium(rows.pairs, medium, recipe.data.train)
    clip = getattr(recipe.model, "clip", None)
    frames = None if clip is None else clip.frames
    check_frame_weights(rows.pairs, frames)
    loss, label = bind_loss(recipe.loss), silencing(bind_label(recipe.labels, rows.ranges))
    check_model(loss, recipe.model)
    check_batch(loss, recipe.train.batch_size)
    refuse_prompt_rows(rows.pairs, recipe.pairs.name, rows.name)
    make_source = bind_pairs(recipe.pairs, model_kind(recipe.model).candidates())
    source = make_source(replace(rows, pairs=drop_unused_answers(rows.pairs, loss.roles)))
    if isinstance(source, ChecksRun):
        source.check_run(medium, recipe.train.steps, recipe.guard.action)
    check_buckets(recipe.model, source, recipe.data.latents or recipe.data.eval_latents)
    check_loss_and_data(loss, source, label(source.pairs))  # a label raises for a row that lacks what it needs
    held_out = HeldOut.read(recipe.data, **_frames(recipe))
    if held_out is not None:
        if pairs is None:
            check_data_medium(held_out.pairs, medium, str(recipe.data.eval))
        check_frame_weights(held_out.pairs, frames)
        pruned = HeldOut(drop_unused_answers(held_out.pairs, loss.roles))
        held_out = like_training_pairs(pruned, recipe.pairs.name, make_source).for_loss(loss, label)
    for examples in (source.pairs, held_out.pairs if held_out else []):
        check_answers(loss, examples)
        check_rewards(loss, examples)
    warnings: list[str] = []
    if pairs is None:
        for opened in (source.pairs, held_out.pairs if held_out else ()):
            warnings += open_first_candidates(opened, None if clip is None else clip.frame_rule)
    return BoundRecipe(loss, label, source, held_out, rows.ranges, tuple(dict.fromkeys(warnings)))


def _read_rows(recipe: Recipe, pairs: Sequence[Pair] | DatasetPairs | None) -> DatasetPairs:
    if isinstance(pairs, DatasetPairs):
        return pairs
    if pairs is not None:
        return from_memory(pairs)
    data = recipe.data
    files: Mapping[str, Any] = {"scores": data.scores, "latents": data.latents, **_frames(recipe)}
    return read_dataset(data.train, format=data.format, limit=data.limit, **files, **data.options)


def _frames(recipe: Recipe) -> dict[str, Any]:
    """Returns the rule of frames of a model of clips, by which a clip may be too short, as an option of reading."""
    clip = getattr(recipe.model, "clip", None)
    return {} if clip is None else {"frames": clip.frame_rule}
