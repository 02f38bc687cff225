"""A batch of pairs as tensors: posteriors of the candidates, conditioning of the prompts, masks of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from diffalign.data.records.conversation import plain_text
from diffalign.data.records.frame_weights import are_equal, check_frame_weights, scaled_to_mean_one
from diffalign.data.records.pair import Media, Pair
from diffalign.policies.answer_roles import roles_of
from diffalign.policies.diffusion.config import RegionConfig
from diffalign.policies.diffusion.encoding.encode import CachedEncoder
from diffalign.policies.diffusion.scoring.denoiser_scoring import EncodedCandidates
from diffalign.policies.diffusion.scoring.position_masks import read_masks


def encode_candidates(
    pairs: Sequence[Pair],
    keys: tuple[str, ...],
    encoder: CachedEncoder,
    masks: RegionConfig | None,
    resolution: int,
    device: torch.device,
) -> EncodedCandidates:
    """Returns posterior parameters and conditioning of a batch, on the device.

    Args:
        pairs: The batch, of one size.
        keys: Identity of everything that each pair's tensors are made from.
        encoder: The encoders.
        masks: Source of the masks of positions; None: there are none.
        resolution: Side of the images or clips, px.
        device: Where the tensors go.

    Raises:
        DataError: Pairs with other answers than the batch's first; a missing mask; weights of frames that do not fit.
    """
    roles = roles_of(pairs)
    candidates = [candidates_of(pair) for pair in pairs]
    size = encoder.sizes.of(pairs[0])
    images = encoder.images([media for row in candidates for media in row], size)
    mean, std = (
        torch.stack([entry[name].float() for entry in images]).unflatten(0, (len(pairs), -1)).to(device)
        for name in ("mean", "std")
    )

    def encode_prompts(texts: Sequence[str]) -> dict[str, Tensor]:
        encoded = encoder.prompts(texts)
        return {name: torch.stack([text[name] for text in encoded]).to(device) for name in encoded[0]}

    conditioning = encode_prompts([plain_text(pair.prompt) for pair in pairs])
    original = torch.stack([entry["size"] for entry in images[:: mean.shape[1]]]).to(device)
    conditioning |= encoder.size_conditions(original, size)
    by_candidate: tuple[Mapping[str, Tensor], ...] = ()
    if any(answer.prompt is not None for pair in pairs for answer in pair.answers.values()):
        texts = ([plain_text(pair.prompt_of(role)) for pair in pairs] for role in roles)
        by_candidate = tuple({**conditioning, **encode_prompts(row)} for row in texts)
    empty = {name: value[None].to(device) for name, value in encoder.empty().items()}
    regions = None
    if masks is not None and masks.folder is not None:
        regions = read_masks(masks.folder, pairs, resolution, (mean.shape[-2], mean.shape[-1])).to(device)
    weights = frame_weights(pairs, mean.shape[4] if mean.ndim == 7 else None, device)
    return EncodedCandidates(keys, mean, std, conditioning, empty, by_candidate, regions, weights)


def frame_weights(pairs: Sequence[Pair], frames: int | None, device: torch.device) -> Tensor | None:
    """Returns the weights of a batch's frames, ``(B, F)`` of mean 1; None where all frames of all pairs count alike.

    Args:
        pairs: The batch.
        frames: Frames of a clip; None for images.
        device: Where the tensor goes.

    Raises:
        ConfigError: Images with weights.
        DataError: A wrong number of weights, or weights that are none.
    """
    check_frame_weights(pairs, frames)
    if frames is None or all(are_equal(pair.frame_weights) for pair in pairs):
        return None
    return torch.tensor([scaled_to_mean_one(pair.frame_weights or [1.0] * frames) for pair in pairs], device=device)


def candidates_of(pair: Pair) -> tuple[Media, ...]:
    """Returns a pair's candidates, in the order of their roles."""
    return tuple(answer.candidate for answer in pair.answers.values())
