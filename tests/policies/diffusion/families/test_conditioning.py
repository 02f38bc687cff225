"""Prompts: what training feeds the network is what the stock pipelines feed it."""

import pytest
import torch

from diffalign.policies.diffusion.families.sd import StableDiffusionPrompts
from diffalign.policies.diffusion.families.sdxl import StableDiffusionXLPrompts
from diffalign.policies.diffusion.load import ModelConfig, load_policy
from tests.tiny import RESOLUTION, tiny_sdxl

PROMPT = "two blue foxes"


def fed(pipeline, prompt):
    """What the stock pipeline with guidance tells its network: an unconditional and a conditional row."""
    seen = []
    hook = pipeline.unet.register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline(prompt, num_inference_steps=1, guidance_scale=5.0, output_type="latent")
    hook.remove()
    added = seen[0].get("added_cond_kwargs") or {}
    return {"encoder_hidden_states": seen[0]["encoder_hidden_states"], **added}


def test_stable_diffusion_is_told_what_its_pipeline_tells_it(sd):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(sd)
    prompts, stock = StableDiffusionPrompts(pipeline), fed(pipeline, PROMPT)["encoder_hidden_states"]
    torch.testing.assert_close(prompts.encode([PROMPT])["encoder_hidden_states"], stock[1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prompts.empty()["encoder_hidden_states"], stock[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("force_zeros", [True, False])
def test_stable_diffusion_xl_is_told_what_its_pipeline_tells_it(tmp_path, force_zeros):
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(tmp_path, force_zeros=force_zeros))
    prompts, stock = StableDiffusionXLPrompts(pipeline), fed(pipeline, PROMPT)
    sizes = prompts.sizes(torch.zeros(1, 4, dtype=torch.long), RESOLUTION, True)
    for name, value in (prompts.encode([PROMPT]) | sizes).items():
        torch.testing.assert_close(value, stock[name][1:], rtol=1e-5, atol=1e-5)
    for name, value in (prompts.empty() | sizes).items():
        torch.testing.assert_close(value, stock[name][:1], rtol=1e-5, atol=1e-5)
    assert bool((prompts.empty()["text_embeds"] == 0).all()) == force_zeros


@pytest.mark.parametrize(("size_ids", "ids"), [("fixed", [16, 16, 0, 0, 16, 16]), ("true", [20, 24, 0, 2, 16, 16])])
def test_size_ids_are_fixed_or_the_images_own(sdxl, pairs, tmp_path, size_ids, ids):
    """24 x 20 px become 19 x 16; the middle 16 start at 1.5, which rounds to 2."""
    policy = load_policy(ModelConfig(path=str(sdxl), cache=tmp_path, size_ids=size_ids), "cpu")
    encoded = policy.encode(pairs[:1])
    assert encoded.conditioning["time_ids"].tolist() == [ids]
    assert "time_ids" not in encoded.empty
