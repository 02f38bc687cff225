"""The scorer interface: prompts and samples (images, clips or texts) in, one number per sample out, higher is better.

A scorer has a unit and a range, because published numbers of "the same" scorer differ by factors of 26 and 100, and a
hash of its weights, because two checkpoints with one name are two scorers.

:class:`Scorer` holds what every scorer implements. The small protocols after it are optional abilities; a caller checks
for them with ``isinstance``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from diffalign.errors import UserError


class Scorer(Protocol):
    """The interface that evaluation and pair making require of a judge."""

    name: str
    """Its name in reports, including the model: ``"clip:openai/clip-vit-large-patch14"``."""

    unit: str
    """Unit of a score: ``"cosine"``, ``"probability"``, ``"share of border pixels"``."""

    range: tuple[float, float]
    """Lowest and highest possible score."""

    license: str
    """Licence of the published weights, or ``"see the model's page"`` where the user names the model."""

    paper: str
    """The paper that describes it."""

    medium: str
    """Medium of its samples: ``"image"``, ``"video"`` or ``"text"``."""

    preprocessing: str
    """What is done to a sample before the model sees it, such as ``"224 shortest bicubic, centre crop"``; empty where
    nothing is done."""

    @property
    def weights(self) -> str:
        """Hash of the parameters; empty for a scorer without any."""

    def score(self, prompts: Sequence[Any], samples: Sequence[Any], /) -> Tensor:
        """Returns ``(B,)`` float32 on the CPU, higher is better.

        Args:
            prompts: ``B`` prompts, one for each sample.
            samples: Images are PIL images, ``(H, W, 3)`` uint8 arrays, paths or encoded bytes, of any size and mode.
                Clips are :class:`~diffalign.data.media.clips.clip.Clip` objects, paths or encoded bytes.
                Texts are strings, conversations or paths of text files.
        """


@runtime_checkable
class SupportsCompare(Protocol):
    """A scorer that decides between two samples. What ``load_scorer`` returns always does."""

    def compare(self, prompts: Sequence[Any], a: Sequence[Any], b: Sequence[Any], /) -> Tensor:
        """Returns the probability that each sample of ``a`` beats its partner of ``b``, ``(B,)`` float32 on the CPU.

        The probabilities of both orders sum to exactly 1. :mod:`diffalign.scorers.compare` says for which scorers it is
        more than an order.
        """


@runtime_checkable
class SupportsPromptCheck(Protocol):
    """A scorer that can score samples of some prompts only."""

    def check_prompts(self, prompts: Sequence[Any], /) -> None:
        """Raises :class:`DataError` for a prompt that it cannot score, before a sample is made for it."""


@runtime_checkable
class SupportsHits(Protocol):
    """A scorer that also decides whether a sample is right."""

    def scores_and_hits(self, prompts: Sequence[str], samples: Sequence[Any], /) -> tuple[Tensor, Tensor]:
        """Returns the scores as :meth:`Scorer.score` does, and ``(B,)`` bool: whether each sample is a hit."""


@runtime_checkable
class SupportsImageFeatures(Protocol):
    """A scorer that embeds images."""

    def image_features(self, images: Sequence[Any], /) -> Tensor:
        """Returns the embeddings of ``N`` images, ``(N, D)`` float32 of unit length, on the CPU."""


@runtime_checkable
class SupportsNotes(Protocol):
    """A scorer that has something to say of what it judged, such as how often a verdict changed with the order."""

    def notes(self) -> list[str]:
        """Returns lines for the end of a pass, over everything that it judged since it was loaded."""


@dataclass(frozen=True)
class ScorerEntry:
    """An entry of the registry, which loads a scorer on demand.

    Args:
        load: ``load(argument, device)`` returns the scorer; the argument follows the colon and may be empty.
        argument: Description of the argument.
        summary: One line for lists.
        medium: Medium of its samples: ``"image"``, ``"video"`` or ``"text"``; empty where the argument decides.
        extra: The extra to install for it; empty when diffalign's own dependencies suffice.
        beside: Scorers of which one has to be used with it, because alone it rewards a defect; empty for most.
        medium_of: ``medium_of(argument)`` returns the medium where the argument decides, as a file of scorers does; it
            loads no model.
    """

    load: Callable[[str, str], Scorer]
    argument: str
    summary: str
    medium: str = "image"
    extra: str = ""
    beside: tuple[str, ...] = ()
    medium_of: Callable[[str], str] | None = None


def reads_prompt(scorer: Scorer) -> bool:
    """Returns whether a score depends on the prompt. A scorer for which it does not says ``reads_prompt = False``; it
    scores samples without a prompt too.
    """
    return bool(getattr(scorer, "reads_prompt", True))


def check_prompt_count(prompts: Sequence[Any], samples: Sequence[Any]) -> None:
    """Raises :class:`UserError` unless there is one prompt for each sample."""
    if len(prompts) != len(samples):
        raise UserError(
            f"A scorer takes one prompt for each sample; got {len(prompts)} prompts and {len(samples)} samples. "
            "Repeat the prompt for each of its samples."
        )


def missing_package(scorer: str, package: str, extra: str) -> UserError:
    """Returns the error of a scorer whose package is not installed; ``extra`` of diffalign brings it."""
    return UserError(
        f"The scorer '{scorer}' needs {package}, which is not installed. Type: pip install 'diffalign[{extra}]'"
    )


def chunks(values: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Splits ``values`` into parts of at most ``size``, in order."""
    return [values[start : start + size] for start in range(0, len(values), size)]


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Returns the first 16 hex digits of the SHA-256 over names and values of a state dictionary; it does not depend on
    the layout of a file.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu").contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
