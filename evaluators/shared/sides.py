"""The samples that a program judges: those of a model, of a base and its aligned model, or of a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from diffalign.cli.key_value_settings import Model
from diffalign.cli.progress_line import show_progress
from diffalign.data.suites import SuitePrompt, merge_categories, read_suite
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.gallery import Gallery, Sample, read_gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.prompts import read_prompts_of_suites
from evaluators.shared.options import evenly_spaced, need_file

Sides = dict[str, Gallery]
"""``{"model": ...}``, or ``{"base": ..., "aligned": ...}`` with an adapter: the samples of each, in one order."""


def read_prompts(
    args: argparse.Namespace, suite: str, keep: Callable[[SuitePrompt], bool] = lambda prompt: True
) -> list[SuitePrompt]:
    """Returns the prompts that ``--prompts`` names: a file of ``suite``, or anything that ``@`` introduces.

    Each prompt is there once, with the categories of all its rows. Of those that ``keep`` accepts, ``--limit`` takes
    some evenly spaced.
    """
    given = args.prompts
    if isinstance(given, str) and given.startswith("@"):
        prompts = read_prompts_of_suites([given])
    else:
        prompts = read_suite(suite, need_file(given, "--prompts", f"the prompts of {suite}"))
    categories = merge_categories(prompts)
    rows = {prompt.prompt: prompt.row for prompt in reversed(prompts)}
    unique = [SuitePrompt(text, values, rows[text]) for text, values in categories.items()]
    return evenly_spaced([prompt for prompt in unique if keep(prompt)], args.limit)


def sample_sides(args: argparse.Namespace, prompts: Sequence[SuitePrompt], medium: str) -> Sides:
    """Generates the samples, ``--seeds`` for each prompt, into ``base`` and ``aligned`` (or ``model``) of the output.

    Samples that are there are kept, so an interrupted program resumes. Each prompt has noises of its own, which base
    and aligned model share.

    Raises:
        UserError: Neither model nor folder, or a model of another medium.
        DataError: The folder lacks a prompt.
    """
    if bool(args.samples) == bool(args.model):
        raise UserError("give either --model, whose samples are judged, or --samples, a folder that has them.")
    if args.samples:
        return {"model": _of_prompts(read_gallery(args.samples), prompts, medium, args.seeds)}
    model = Model.from_options(args.model, args.kind, args.model_setting, args.adapter)
    if model.kind.medium != medium:
        raise UserError(f"this program judges {medium}s, and '{args.model}' makes {model.kind.medium}s. Give another.")
    settings, policy = model.sampling(args.setting), model.open()
    sides: Sides = {}
    for side in ("base", "aligned") if args.adapter else ("model",):
        sides[side] = generate(
            policy,
            [prompt.prompt for prompt in prompts],
            range(args.seeds),
            args.output / side,
            reference=side == "base",
            stride=args.seeds,
            batch_size=args.batch,
            categories={prompt.prompt: prompt.categories for prompt in prompts},
            progress=show_progress,
            **settings,
        )
    return sides


def _of_prompts(gallery: Gallery, prompts: Sequence[SuitePrompt], medium: str, seeds: int) -> Gallery:
    """Returns the first ``seeds`` samples of each prompt, in the order of the prompts, with their categories."""
    if gallery.medium != medium:
        raise DataError(f"{gallery.folder} holds {gallery.medium}s, and this program judges {medium}s.")
    by_prompt: dict[str, list[Sample]] = {}
    for sample in gallery.samples:
        by_prompt.setdefault(sample.prompt, []).append(sample)
    missing = [prompt.prompt for prompt in prompts if len(by_prompt.get(prompt.prompt, ())) < seeds]
    if missing:
        raise DataError(
            f"{gallery.folder} has fewer than {seeds} samples of {len(missing)} of {len(prompts)} prompts, such as "
            f"'{missing[0]}'. Generate them, or give fewer with --limit or --seeds."
        )
    samples = [
        Sample(sample.path, sample.prompt, sample.seed, prompt.categories)
        for prompt in prompts
        for sample in by_prompt[prompt.prompt][:seeds]
    ]
    return Gallery(gallery.folder, tuple(samples), gallery.made_by, gallery.medium)
