"""The file of an ensemble whose means and scales were measured on scored samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from diffalign.errors import DataError
from diffalign.scorers.composed.combine_scores import PENALISED, Combine, check_combination
from diffalign.scorers.composed.sum_of_scores import sum_of_scores


def declare_members(
    columns: Mapping[str, Sequence[float]], units: Mapping[str, str], combine: Combine = "mean", k: float = 1.0
) -> str:
    """Returns the text of a file for ``ensemble:FILE``, in YAML.

    Args:
        columns: By scorer, as ``--scorer`` names it, its scores of a set of samples.
        units: By scorer its unit.
        combine, k: As in the ensemble.

    Raises:
        DataError: A score is not finite, or a scorer gives all samples one score, so that it has no scale.
        ConfigError: There are too few scorers, or k is no number of 0 or more.
    """
    _, terms = sum_of_scores(columns)
    flat = [term.scorer for term in terms if not term.scale]
    if flat:
        raise DataError(f"{flat[0]} gives all samples one score, so it has no scale. Score samples that differ.")
    check_combination(len(columns), combine, k, "ensemble")
    members = [
        {
            "scorer": term.scorer,
            "mean": float(f"{term.offset:.6g}"),
            "scale": float(f"{term.scale:.6g}"),
            "unit": units[term.scorer],
        }
        for term in terms
    ]
    content = {"combine": combine, **({"k": k} if combine in PENALISED else {}), "members": members}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
