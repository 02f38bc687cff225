"""The memory that a forward pass keeps is known without computing it."""

import gc
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from diffalign.devices.activation_memory import LiveBytes, activation_bytes
from diffalign.policies.language.load import LanguageConfig
from diffalign.policies.language.load import load_policy as load_language
from tests.tiny_text import text_pairs, tiny_llm

PRECISIONS = {"float32": nullcontext, "bf16": lambda: torch.autocast("cpu", dtype=torch.bfloat16)}


def make_unet(checkpointed=False):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=32,
    )
    if checkpointed:
        unet.enable_gradient_checkpointing()
    return unet.eval()


def unet_pass(rows=4, side=16):
    inputs = torch.zeros(rows, 4, 1, 1).expand(rows, 4, side, side), torch.zeros(rows, dtype=torch.long)
    states = torch.zeros(rows, 77, 32)
    return lambda unet: unet(*inputs, encoder_hidden_states=states, return_dict=False)[0].float().square().mean()


def saved_bytes(network, forward, precision):
    """What autograd itself saves in a real pass, each storage once, without the parameters."""
    saved, own = {}, {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def pack(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with precision, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward(network)
    assert loss.requires_grad
    return sum(size for key, size in saved.items() if key not in own)


def real_peak(network, forward, precision):
    """The most that is alive in a real forward and backward pass whose gradients are dropped at once."""
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))
    gc.collect()
    with LiveBytes() as alive:
        with precision:
            loss = forward(network)
        loss.backward()
    return alive.peak


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_unet_keeps_what_autograd_saves_in_a_real_pass(precision):
    unet, forward = make_unet(), unet_pass()
    estimate = activation_bytes(unet, forward, PRECISIONS[precision]())
    assert estimate == pytest.approx(saved_bytes(unet, forward, PRECISIONS[precision]()), rel=0.05)
    assert estimate == pytest.approx(real_peak(unet, forward, PRECISIONS[precision]()), rel=0.05)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_checkpointed_unet_keeps_inputs_of_segments_and_one_segment(precision):
    unet, forward = make_unet(checkpointed=True), unet_pass()
    estimate = activation_bytes(unet, forward, PRECISIONS[precision]())
    assert estimate == pytest.approx(real_peak(unet, forward, PRECISIONS[precision]()), rel=0.15)
    assert estimate < 0.6 * activation_bytes(make_unet(), forward, PRECISIONS[precision]())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("mode", ["shared", "padded", "plain"])
def test_a_language_model_keeps_what_a_real_pass_keeps(mode, checkpointed, precision, tmp_path):
    config = LanguageConfig(
        path=str(tiny_llm(tmp_path / "llm")), forward=mode, gradient_checkpointing=checkpointed, adapter={"rank": 2}
    )
    policy, pairs = load_language(config), text_pairs(4)
    estimate = activation_bytes(policy.module, policy.trial_forward(pairs, ()), PRECISIONS[precision]())
    real = real_peak(policy.module, policy.trial_forward(pairs, ()), PRECISIONS[precision]())
    assert estimate == pytest.approx(real, rel=0.25 if checkpointed else 0.08)


def test_two_hundred_gigabytes_are_followed_without_them():
    assert activation_bytes(make_unet(), unet_pass(rows=64, side=512), nullcontext()) > 1.5e11


def test_it_grows_with_the_batch_and_leaves_the_network_as_it_is():
    unet = make_unet(checkpointed=True)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    functions = [getattr(module, "_gradient_checkpointing_func", None) for module in unet.modules()]
    two, four = (activation_bytes(unet, unet_pass(rows), nullcontext()) for rows in (2, 4))
    assert four == pytest.approx(2 * two, rel=0.02)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert all(parameter.grad is None and type(parameter) is nn.Parameter for parameter in unet.parameters())
    assert functions == [getattr(module, "_gradient_checkpointing_func", None) for module in unet.modules()]


def test_bytes_alive_are_counted_once_until_they_are_freed():
    kept = torch.zeros(1000)
    with LiveBytes() as alive:
        a = kept + 1
        b = a[:10].reshape(2, 5)  # views
        kept.add_(1)
        assert alive.now == 4000
        c = a * 2
        del a, b
        assert (alive.now, alive.peak) == (4000, 8000)
        del c
        assert alive.now == 0
