"""A batch whose pairs have several sizes: each size is scored by itself, and the rows are put back in order.

Nothing outside of a policy knows of it: rows depend on their own pair and draw only, so a batch of several sizes has
the numbers of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from diffalign.errors import ConfigError
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.diffusion.scoring.denoiser_scoring import EncodedCandidates
from diffalign.policies.policy import BatchLogps
from diffalign.randomness import Draw


@dataclass(frozen=True)
class EncodedBySize:
    """A batch in parts of one size each.

    Args:
        groups: The rows of each part, which are all rows together.
        parts: The parts.
    """

    groups: tuple[tuple[int, ...], ...]
    parts: tuple[EncodedCandidates, ...]


Encoded = EncodedCandidates | EncodedBySize


def score(compute: Callable[[EncodedCandidates, Draw], BatchLogps], encoded: Encoded, draw: Draw) -> BatchLogps:
    """Returns the log-probabilities of a batch, part by part where it has several sizes.

    Args:
        compute: Returns those of a batch of one size.
        encoded: The batch.
        draw: Its draw.
    """
    if isinstance(encoded, EncodedCandidates):
        return compute(encoded, draw)
    found = [compute(part, rows_of(draw, rows)) for rows, part in zip(encoded.groups, encoded.parts, strict=True)]
    back = torch.tensor([row for rows in encoded.groups for row in rows]).argsort()
    candidates = tuple(_joined([one.candidates[k] for one in found], back) for k in range(len(found[0].candidates)))
    return BatchLogps(candidates, _joined_info([one.info for one in found], back))


def only(encoded: Encoded) -> EncodedCandidates:
    """Returns a batch of one size. Raises ConfigError for losses that look at positions where there are several."""
    if isinstance(encoded, EncodedBySize):
        raise ConfigError(
            "this loss compares predictions at every position, and pairs of several sizes have other positions. Type: "
            "--set model.buckets=false   or another loss: --set loss.name=logistic"
        )
    return encoded


def rows_of(draw: Draw, rows: Sequence[int]) -> Draw:
    """Returns the draw of some rows."""
    return Draw(draw.seed, tuple(draw.ids[row] for row in rows), tuple(draw.visits[row] for row in rows))


def _joined(parts: Sequence[CandidateLogps], back: Tensor) -> CandidateLogps:
    values = {}
    for field in fields(CandidateLogps):
        found = [getattr(part, field.name) for part in parts]
        if all(value is not None and value.ndim == 1 for value in found):
            values[field.name] = torch.cat(found)[back.to(found[0].device)]
    return CandidateLogps(**values)


def _joined_info(parts: Sequence[Mapping[str, Tensor]], back: Tensor) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts])[back.to(parts[0][name].device)] for name in parts[0]}
