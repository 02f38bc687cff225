"""Stable Diffusion XL: its unconditional branch and its size ids."""

import pytest
import torch

from diffalign.policies.diffusion.families.sdxl import StableDiffusionXLPrompts
from diffalign.policies.diffusion.load import ModelConfig, load_policy
from tests.tiny import tiny_sdxl


@pytest.mark.parametrize("force_zeros", [True, False])
def test_the_unconditional_branch_is_that_of_the_pipelines_configuration(tmp_path, force_zeros):
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(tmp_path, force_zeros=force_zeros))
    empty = StableDiffusionXLPrompts(pipeline).empty()
    _, negative, _, pooled_negative = pipeline.encode_prompt("a fox", do_classifier_free_guidance=True)
    assert torch.equal(empty["encoder_hidden_states"], negative)
    assert torch.equal(empty["text_embeds"], pooled_negative)
    assert bool((empty["text_embeds"] == 0).all()) == force_zeros


@pytest.mark.parametrize(("size_ids", "ids"), [("fixed", [16, 16, 0, 0, 16, 16]), ("true", [20, 24, 0, 2, 16, 16])])
def test_size_ids_are_fixed_or_the_images_own(sdxl, pairs, tmp_path, size_ids, ids):
    """24 x 20 px become 19 x 16; the middle 16 start at 1.5, which rounds to 2."""
    policy = load_policy(ModelConfig(path=str(sdxl), cache=tmp_path, size_ids=size_ids), "cpu")
    encoded = policy.encode(pairs[:1])
    assert encoded.conditioning["time_ids"].tolist() == [ids]
    assert "time_ids" not in encoded.empty
