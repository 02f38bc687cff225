"""Winners decoded and encoded again, as the samples are that they are compared with: each once, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.media.decode import media_digest
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import ConfigError, RunError
from diffalign.pairs.make_reference_samples import fill_cache
from diffalign.pairs.source import RoundContext
from diffalign.policies.policy import SupportsRoundtrip

NONE, SAMPLES, BOTH = "none", "samples", "both"
"""What ``pairs.roundtrip`` decodes and encodes again."""


def roundtrip_winners(
    winners: Sequence[Pair], folder: object, context: RoundContext, *, batch: int
) -> dict[str, CachedCandidate]:
    """Returns handles of winners after the trip through the autoencoder, by the ids of their pairs.

    Each winner is made once in a run, by one of the processes; an interrupted call resumes.

    Args:
        winners: The pairs of a round.
        folder: Where the tensors are kept, the same for all processes.
        context: Its policy decodes and encodes.
        batch: Winners at once.

    Raises:
        RunError: The policy has no autoencoder, the disk is full, or processes do not see the same folder.
    """
    policy = context.policy
    if not isinstance(policy, SupportsRoundtrip):
        raise RunError("this model decodes and encodes no candidates. Type: --set pairs.roundtrip=none")
    cache = TensorCache(str(folder), f"winners decoded and encoded by {policy.fingerprint()}")
    media = {media_digest(pair.chosen): pair.chosen for pair in winners}

    def make(keys: Sequence[str]) -> None:
        policy.roundtrip_candidates([media[key] for key in keys], cache, keys)

    fill_cache(list(media), cache, context, "decode and encode winners", batch=batch, make=make)
    return {pair.id: CachedCandidate(str(cache.root), cache.maker, media_digest(pair.chosen)) for pair in winners}


def check_roundtrip(winners: Sequence[Pair], roundtrip: str) -> None:
    """Raises ConfigError where winners keep their latents but samples are decoded and encoded, which marks them."""
    if roundtrip == SAMPLES and any(_is_kept(pair.chosen) for pair in winners):
        raise ConfigError(
            "the winners are kept latents (data.latents), but samples are decoded and encoded, by which they can be "
            "distinguished. Type, to leave both as they were drawn: --set pairs.roundtrip=none   or, to decode and "
            "encode both: --set pairs.roundtrip=both"
        )


def _is_kept(candidate: Media) -> bool:
    return isinstance(candidate, KeptLatent)
