"""`diffalign data check --model`: measures how much noise an inversion would give the latents of these images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from diffalign.cli.key_value_settings import Model, parse
from diffalign.cli.progress_line import show_progress
from diffalign.data.check.report import CheckFinding, CheckReport
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import PairSet
from diffalign.errors import ConfigError, UserError, near_miss

if TYPE_CHECKING:
    from diffalign.policies.diffusion.config import LatentChoice

USUAL_METHODS = ("ddim_inpo", "smpo")
PLAIN = ("use_cache=false", "flip=none", "adapter={rank: 1}")
"""Nothing is written, images are encoded as they are, and the base is held once."""


def chosen_latents(methods: Sequence[str], inversions: Sequence[str]) -> list[LatentChoice]:
    """Returns the latents of methods and those written as NAME or NAME,KEY=VALUE,...; without either those of
    :data:`USUAL_METHODS`.
    """
    return [*_of_methods(methods or ([] if inversions else USUAL_METHODS)), *map(_parsed, inversions)]


def add_latent_noise(
    report: CheckReport,
    pairs: PairSet,
    model: str,
    settings: Sequence[str],
    choices: Sequence[LatentChoice],
    count: int,
    kept_latents: str = "",
) -> CheckReport:
    """Returns the report with the rms of ``tau`` by level for each kind of latents, and a warning where one is low.

    Args:
        report: The report on the pairs alone; where it found errors, nothing is measured.
        pairs: The pairs.
        model: An image model's folder or Hub id.
        settings: KEY=VALUE of its recipe's model section.
        choices: How latents are found.
        count: Number of pairs that are measured.
        kept_latents: A file of latents that take the place of the images.
    """
    from diffalign.data.records.with_latents import with_latents
    from diffalign.policies.latent_noise import MENDS
    from diffalign.policies.policy import SupportsKeptLatents, SupportsNoiseProbe
    from diffalign.training.recipe.model_kinds import MODELS, kind_named
    from diffalign.training.report.noise_watch import probe_pairs

    medium = MODELS[kind_named({"path": model})].medium
    if medium != "image":
        raise UserError(f"--model measures the latents of images, but '{model}' makes {medium}s. Leave it out.")
    if pairs.pairs and isinstance(pairs.pairs[0].chosen, (str, Conversation)):
        raise UserError(f"--model measures the latents of images, but '{pairs.source}' holds texts. Leave it out.")
    if report.severity == "error" or not pairs.pairs:
        return replace(report, facts={**report.facts, "latents": "not measured: fix the errors first"})
    opened = Model.from_options(model, "image", [*PLAIN, *settings])
    measured = with_latents(pairs, kept_latents) if kept_latents else pairs
    picked, policy = probe_pairs(measured.pairs, count), opened.open()
    assert isinstance(policy, SupportsNoiseProbe) and isinstance(policy, SupportsKeptLatents)
    policy.check_kept_latents(picked)
    found = []
    for done, choice in enumerate(choices, start=1):
        found.append(policy.latent_noise(picked, choice))
        show_progress("measure latents", done, len(choices))
    facts = {"latents": "\n".join(f"{noise.latents}: {noise.summary()}" for noise in found)}
    warnings = [CheckFinding("warning", lack, fix=MENDS) for noise in found if (lack := noise.lack())]
    return replace(report, facts={**report.facts, **facts}, findings=[*report.findings, *warnings])


def _of_methods(names: Sequence[str]) -> Iterator[LatentChoice]:
    from diffalign.methods import METHODS
    from diffalign.policies.diffusion.config import LatentChoice

    for name in names:
        if name not in METHODS:
            raise ConfigError(
                f"--method: there is no method '{name}'.{near_miss(name, METHODS)} Known: {', '.join(METHODS)}."
            )
        defaults = METHODS[name].defaults
        yield LatentChoice.model_validate(defaults.get("latents", "forward"))


def _parsed(text: str) -> LatentChoice:
    """Returns the latents of ``NAME,KEY=VALUE,...``."""
    from pydantic import ValidationError

    from diffalign.policies.diffusion.config import LatentChoice

    name, *settings = text.split(",")
    try:
        return LatentChoice.model_validate({"name": name.strip(), **parse(settings, "--inversion")})
    except ValidationError as error:
        message = error.errors()[0]
        raise ConfigError(f"--inversion {text}: {message.get('ctx', {}).get('error', message['msg'])}") from None
