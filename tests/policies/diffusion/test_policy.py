"""The image policy: margin 0 at step 0; equal results cached and live, in any batch, and from stock diffusers."""

import math

import pytest
import torch

from diffalign.errors import RunError
from diffalign.policies.diffusion.load import AdapterConfig
from diffalign.policies.module_utils import weights_digest
from tests.policies.conftest import draw_for, margin, shake
from tests.tiny import tiny_sd


def train_a_little(policy, pairs, steps=3):
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-3)
    for step in range(steps):
        encoded, draw = policy.encode(pairs), draw_for(pairs, step)
        loss = -torch.nn.functional.logsigmoid(2000 * margin(policy, encoded, draw)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return float(loss)


def test_a_fresh_adapter_costs_exactly_log_two(make, pairs):
    policy = make()
    u = 5000 * margin(policy, policy.encode(pairs), draw_for(pairs))
    assert torch.equal(u, torch.zeros(len(pairs)))
    assert -torch.nn.functional.logsigmoid(u).mean().item() == pytest.approx(math.log(2), abs=1e-7)


@pytest.mark.parametrize("adapter", [AdapterConfig(rank=2), None], ids=["adapter", "every weight"])
def test_the_reference_gets_no_gradient_and_never_moves(make, pairs, adapter):
    policy = make(adapter=adapter, reference="auto")
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    before = [candidate.logps for candidate in policy.reference_logps(encoded, draw).candidates]
    with policy._policy_and_reference.reference.network() as network:
        frozen = {name: value.clone() for name, value in network.named_parameters() if ".lora_" not in name}
    train_a_little(policy, pairs)
    after = policy.reference_logps(encoded, draw).candidates
    assert all(torch.equal(candidate.logps, old) for candidate, old in zip(after, before, strict=True))
    assert not after[0].logps.requires_grad
    with policy._policy_and_reference.reference.network() as network:
        assert all(torch.equal(value, frozen[name]) for name, value in network.named_parameters() if name in frozen)
    assert margin(policy, encoded, draw).abs().max() > 0


def test_gradients_reach_every_trainable_tensor(make, pairs):
    policy = shake(make())
    margin(policy, policy.encode(pairs), draw_for(pairs)).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in policy.trainable().values())
    frozen = [value for value in policy.module.parameters() if not value.requires_grad]
    assert frozen and all(value.grad is None for value in frozen)


def test_full_fine_tuning_trains_every_weight_in_float32(make):
    policy = make(adapter=None, dtype="bfloat16", reference="copy")
    assert set(policy.trainable()) == {name for name, _ in policy.module.named_parameters()}
    assert {value.dtype for value in policy.trainable().values()} == {torch.float32}


@pytest.mark.parametrize("model", ["sd", "sdxl"])
def test_cached_tensors_equal_live_ones(make, pairs, request, model):
    path = request.getfixturevalue(model)
    live, cached = make(path, use_cache=False), make(path)
    progress = []
    cached.prepare(pairs, lambda task, done, total: progress.append((task, done, total)))
    assert not cached._frozen.present and progress[-1][1] == progress[-1][2] == 2
    one, other = live.encode(pairs), cached.encode(pairs)
    assert not cached._frozen.present, "encoding from the cache brought the encoders back"
    assert one.mean.shape == (4, 2, 2, 4, 8, 8)
    torch.testing.assert_close(other.mean, one.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.std, one.std, rtol=1e-4, atol=1e-5)
    for name, value in one.conditioning.items():
        torch.testing.assert_close(other.conditioning[name], value, rtol=1e-4, atol=1e-5)


def test_a_second_preparation_encodes_nothing(make, pairs, monkeypatch):
    make().prepare(pairs)
    again = make()
    monkeypatch.setattr(again._frozen, "posterior", lambda pixels: pytest.fail("encoded again"))
    monkeypatch.setattr(again._frozen.prompt_encoder(), "encode", lambda prompts: pytest.fail("encoded again"))
    again.prepare(pairs)


def test_four_pairs_together_equal_four_times_one(make, pairs):
    policy = shake(make(caption_dropout=0.5))
    together = margin(policy, policy.encode(pairs), draw_for(pairs))
    single = torch.cat([margin(policy, policy.encode([pair]), draw_for([pair])) for pair in pairs])
    torch.testing.assert_close(single, together, rtol=1e-4, atol=1e-6)


def test_a_state_comes_back_exactly(make, pairs):
    policy = shake(make())
    state, u = policy.state(), margin(policy, policy.encode(pairs), draw_for(pairs))
    other = make()
    other.load_state(state)
    assert torch.equal(margin(other, other.encode(pairs), draw_for(pairs)), u)
    with pytest.raises(RunError, match="other tensors"):
        make(adapter=AdapterConfig(rank=2)).load_state(state)


def test_errors_of_half_precision_bases_are_float32(make, pairs):
    policy = shake(make(dtype="bfloat16"))
    u = margin(policy, policy.encode(pairs), draw_for(pairs))
    assert u.dtype == torch.float32 and u.abs().max() > 0
    u.sum().backward()


def test_autocast_around_the_step_leaves_a_fresh_margin_at_zero(make, pairs):
    policy = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(margin(policy, policy.encode(pairs), draw_for(pairs)), torch.zeros(len(pairs)))


def test_samples_are_those_of_the_stock_pipeline_and_release_the_encoders(make, sd):
    from diffusers import StableDiffusionPipeline

    policy = make()
    policy.prepare([])
    stock = StableDiffusionPipeline.from_pretrained(sd)
    stock.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 3, "guidance_scale": 4.0}
    expected = stock("a fox", generator=torch.Generator().manual_seed(7), **settings).images[0]
    image = policy.sample(["a fox"], [7], steps=3, guidance=4.0)[0]
    difference = torch.tensor([list(image.tobytes()), list(expected.tobytes())]).diff(dim=0).abs().max()
    assert image.size == expected.size and difference <= 1  # one level of 8 bits
    assert not policy._frozen.present


def test_equal_seeds_draw_equal_images_in_any_batch(make):
    policy = shake(make())
    prompts, seeds = ["a fox", "two foxes", "a fox"], [1, 2, 1]
    one, two, three = policy.sample(prompts, seeds, steps=2, latents_only=True)
    torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(one, two)
    torch.testing.assert_close(
        policy.sample(["two foxes"], [2], steps=2, latents_only=True)[0], two, rtol=1e-4, atol=1e-4
    )


def test_sampling_as_reference_ignores_the_adapter_and_keeps_the_mode(make):
    fresh, policy = make(), shake(make())
    policy.module.train()
    settings = {"steps": 2, "latents_only": True}
    base = policy.sample(["a fox"], [3], reference=True, **settings)[0]
    assert torch.equal(base, fresh.sample(["a fox"], [3], **settings)[0])
    assert not torch.allclose(base, policy.sample(["a fox"], [3], **settings)[0])
    assert policy.module.training and not base.requires_grad


def test_fingerprints_differ_by_model_and_rules_but_not_by_adapter(make, tmp_path):
    policy = make()
    same = shake(make(adapter=AdapterConfig(rank=2)))
    other = make(tiny_sd(tmp_path / "other", seed=1))
    assert policy.fingerprint() == same.fingerprint()
    assert policy.fingerprint() != other.fingerprint() != make(caption_dropout=0.1).fingerprint()
    assert policy.base_fingerprint == weights_digest([policy.module.to(torch.bfloat16)])


def test_the_description_names_trained_weights_and_reference(make):
    described = make().describe()
    assert "LoRA rank 4" in described["trains"] and "switched off" in described["reference"]
    assert "GB" in make(adapter=None, reference="copy").describe()["reference"] or "kB" in described["model"]


def test_the_second_view_is_the_mirrored_image(make, tmp_path):
    from PIL import Image, ImageOps

    from diffalign.data.records.pair import Pair

    image = Image.effect_noise((16, 16), 90).convert("RGB")
    image.save(tmp_path / "one.png")
    ImageOps.mirror(image).save(tmp_path / "other.png")
    pair = Pair(id="a", prompt="a fox", chosen=tmp_path / "one.png", rejected=tmp_path / "other.png")
    mean = make().encode([pair]).mean[0]
    torch.testing.assert_close(mean[0, 1], mean[1, 0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(mean[0, 0], mean[0, 1], atol=1e-3)


def test_caches_that_earlier_versions_wrote_are_found_by_name(make):
    policy = make()
    images, texts = policy._frozen.digests()
    # A window of latents is stored under the policy's fingerprint, which these names are part of: another word would
    # invert again when an old run resumes, with weights that have moved by then.
    assert policy._encoder.image_maker.startswith(f"pictures-{images}-")
    assert policy._encoder.text_maker == f"texts-{texts}"
