"""Adapters: where they go, what they weigh, and that switching them off is exact."""

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig, adapter_off, add_adapter, find_targets
from tests.tiny import UNET


def unet(dtype=torch.float32):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(**UNET, cross_attention_dim=16).to(dtype).eval()


def inputs(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x, states = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 16, generator=generator)
    return x.to(dtype), torch.tensor([10, 700]), states.to(dtype)


def randomise(network):
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return network


@pytest.mark.parametrize(
    "settings", [{}, {"dora": True}, {"rslora": True, "alpha": 9.0}, {"targets": "all-linear+conv"}]
)
def test_a_fresh_adapter_changes_nothing(settings):
    network = unet()
    before = network(*inputs()).sample
    add_adapter(network, AdapterConfig(rank=3, **settings))
    tolerance = 1e-5 if settings.get("dora") else 0.0  # DoRA divides by the norm that it multiplies with
    torch.testing.assert_close(network(*inputs()).sample, before, rtol=0, atol=tolerance)


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"targets": "all-linear+conv"}])
def test_switched_off_a_trained_adapter_leaves_the_base_exactly(settings):
    network = unet()
    before = network(*inputs()).sample
    add_adapter(network, AdapterConfig(rank=3, **settings))
    randomise(network)
    trained = network(*inputs()).sample
    with adapter_off(network):
        assert torch.equal(network(*inputs()).sample, before)
    assert not torch.allclose(trained, before)
    assert torch.equal(network(*inputs()).sample, trained)
    assert sum(parameter.requires_grad for parameter in network.parameters()) > 0


def test_adapters_are_float32_on_half_precision_bases():
    network = unet(torch.bfloat16)
    add_adapter(network, AdapterConfig(rank=3))
    kinds = {parameter.requires_grad: parameter.dtype for parameter in network.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert network(*inputs(torch.bfloat16)).sample.dtype == torch.bfloat16


def test_the_adapter_depends_on_its_seed_alone():
    def first(seed):
        network = unet()
        torch.rand(seed + 1)  # another state of the global generator
        add_adapter(network, AdapterConfig(rank=3, seed=seed))
        return next(value for name, value in network.named_parameters() if "lora_A" in name)

    assert torch.equal(first(0), first(0)) and not torch.equal(first(0), first(1))


def test_presets_nest():
    network = unet()
    attention, mlp, all_of_it = (
        set(find_targets(network, name)) for name in ("attention", "attention+mlp", "all-linear+conv")
    )
    assert attention < mlp < all_of_it
    assert all(".attn" in name for name in attention)
    assert {"conv_in", "down_blocks.0.resnets.0.conv1"} <= all_of_it


@pytest.mark.parametrize(
    ("targets", "hint"), [("atention", "attention"), (("to_qq",), "to_q"), (("to_q", "nowhere"), "nowhere")]
)
def test_targets_that_mean_no_layer_are_refused(targets, hint):
    with pytest.raises(ConfigError, match=hint):
        find_targets(unet(), targets)
