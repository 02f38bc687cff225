"""A batch of pairs as tensors: posteriors of the candidates, conditioning of the prompts, masks of positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from diffalign.data.records.conversation import plain_text
from diffalign.data.records.pair import Media, Pair
from diffalign.policies.answer_roles import roles_of
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.encode import CachedEncoder
from diffalign.policies.diffusion.scoring.denoiser import EncodedImages
from diffalign.policies.diffusion.scoring.position_masks import read_regions


def encode_pairs(
    pairs: Sequence[Pair],
    keys: tuple[str, ...],
    encoding: CachedEncoder,
    config: ModelConfig,
    resolution: int,
    sizes: Callable[[Tensor, int, bool], dict[str, Tensor]],
    device: torch.device,
) -> EncodedImages:
    """Posterior parameters and conditioning of a batch, on the device.

    Args:
        pairs: The batch.
        keys: Identity of everything that each pair's tensors are made from.
        encoding: The encoders.
        config: The model's section of the recipe.
        resolution: Side of the images, px.
        sizes: Conditions that depend on an image's size.
        device: Where to.

    Raises:
        DataError: Pairs with other answers than the batch's first; a mask that is missing.
    """
    roles = roles_of(pairs)
    candidates = [candidates_of(pair) for pair in pairs]
    images = encoding.images([media for row in candidates for media in row])
    mean, std = (
        torch.stack([entry[name] for entry in images]).unflatten(0, (len(pairs), -1)).to(device)
        for name in ("mean", "std")
    )

    def prompts(texts: Sequence[str]) -> dict[str, Tensor]:
        found = encoding.prompts(texts)
        return {name: torch.stack([text[name] for text in found]).to(device) for name in found[0]}

    conditioning = prompts([plain_text(pair.prompt) for pair in pairs])
    size = torch.stack([entry["size"] for entry in images[:: mean.shape[1]]]).to(device)
    conditioning |= sizes(size, resolution, config.size_ids == "fixed")
    apart: tuple[Mapping[str, Tensor], ...] = ()
    if any(answer.prompt is not None for pair in pairs for answer in pair.answers.values()):
        texts = ([plain_text(pair.prompt_of(role)) for pair in pairs] for role in roles)
        apart = tuple({**conditioning, **prompts(row)} for row in texts)
    empty = {name: value[None].to(device) for name, value in encoding.empty().items()}
    regions = None
    if config.masks is not None and config.masks.folder is not None:
        regions = read_regions(config.masks.folder, pairs, resolution, (mean.shape[-2], mean.shape[-1])).to(device)
    return EncodedImages(keys, mean, std, conditioning, empty, apart, regions)


def candidates_of(pair: Pair) -> tuple[Media, ...]:
    """A pair's candidates, in the order of their roles."""
    return tuple(answer.candidate for answer in pair.answers.values())
