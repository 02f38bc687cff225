"""Puts kept latents in the place of images: every candidate of a data set becomes a handle of its latent."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from diffalign.data.records.lazy_pairs import map_pairs
from diffalign.data.records.pair import Answer, Media, Pair, PairSet
from diffalign.data.storage.kept_latents import LATENTS, KeptLatent, latent_names
from diffalign.errors import DataError


def with_latents(pairs: PairSet, file: str) -> PairSet:
    """Returns the data set with the latents of ``file`` in the place of its images.

    A latent belongs to the image whose path, relative to the file's folder, is its key.

    Raises:
        DataError: It is no file of latents, or it lacks the latent of a candidate.
    """
    names, folder = latent_names(file), os.path.abspath(Path(file).parent)

    def kept(candidate: Media) -> Media:
        name = _name(candidate, folder)
        return KeptLatent(file, name, Path(str(candidate))) if name in names else candidate

    def with_kept(pair: Pair) -> Pair:
        rejected = None if pair.rejected is None else kept(pair.rejected)
        further = {role: Answer(kept(answer.candidate), answer.prompt) for role, answer in pair.further.items()}
        return replace(pair, chosen=kept(pair.chosen), rejected=rejected, further=further)

    found = replace(pairs, pairs=map_pairs(pairs.pairs, with_kept))
    lacking = {_shown(c): None for pair in found.pairs for c in candidates(pair) if not isinstance(c, KeptLatent)}
    if lacking:
        total = len({_shown(c) for pair in pairs.pairs for c in candidates(pair)})
        raise DataError(
            f"'{file}' lacks the latents of {len(lacking):,} of {total:,} images, the first is {next(iter(lacking))}; "
            f"its keys are paths of images relative to its folder. {_ADVICE}"
        )
    return found


def candidates(pair: Pair) -> list[Media]:
    """Returns the candidates of a pair."""
    return [answer.candidate for answer in pair.answers.values()]


def describe_latents(pairs: PairSet, file: str) -> str:
    """Returns how many latents take the place of images, for the header."""
    names = {c.name for pair in pairs.pairs for c in candidates(pair) if isinstance(c, KeptLatent)}
    return f"the kept latents of {len(names):,} images are scored ({file}), so no image is encoded"


def unused_latents(path: str, prefix: str = "data") -> str:
    """Returns the hint that latents lie beside a table and are not used; "" where there are none."""
    place = Path(path)
    file = (place if place.is_dir() else place.parent) / LATENTS
    return f"latents beside it are not used (--set {prefix}.latents={file})" if file.is_file() else ""


def _name(candidate: Media, folder: str) -> str:
    if not isinstance(candidate, Path):
        return ""
    return Path(os.path.relpath(os.path.abspath(candidate), folder)).as_posix()


def _shown(candidate: Media) -> str:
    return f"'{candidate}'" if isinstance(candidate, Path) else f"of {type(candidate).__name__} instead of a file"


_ADVICE = "Make the file again (`diffalign data make --latents`), or encode the images: --set data.latents=null"
