"""Packed linear layers: what they compute, what they take, and what is refused."""

import copy
import sys

import pytest
import torch
from torch import nn

from diffalign.devices import quantized_linear
from diffalign.devices.device_memory import module_bytes
from diffalign.devices.quantized_linear import QuantizedLinear, quantize_linear_layers
from diffalign.errors import ConfigError

KINDS = ["nf4", "int8"]
ERROR = {"nf4": 0.11, "int8": 0.012}
"""Largest root mean square of the rounding, as a share of that of normal weights."""
BITS = {"nf4": 4.5, "int8": 8.1}


def layer(bias=True, size=(256, 192)):
    torch.manual_seed(0)
    return nn.Linear(*size, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_with_the_unpacked_weight_forward_and_backward(kind, bias):
    plain = layer(bias)
    nn.init.normal_(plain.weight)
    packed = QuantizedLinear(plain, kind)
    weight = packed.unpacked(torch.float32)
    rms = lambda x: x.square().mean().sqrt()
    assert 0 < rms(weight - plain.weight) <= ERROR[kind] * rms(plain.weight)
    x, other = (torch.randn(5, 3, 256, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    y, expected = packed(x), nn.functional.linear(other, weight, plain.bias)
    assert torch.equal(y, expected)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert torch.equal(x.grad, other.grad) and packed.weight.grad is None
    assert not any(parameter.requires_grad for parameter in packed.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_in_autocast_it_computes_as_a_linear_layer_does(kind):
    packed = QuantizedLinear(layer(), kind)
    x = torch.randn(4, 256).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = packed(x)
        expected = nn.functional.linear(x, packed.unpacked(torch.bfloat16), packed.bias)
    assert y.dtype == torch.bfloat16 and torch.equal(y, expected)
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_its_bits_and_keeps_nothing_unpacked_for_the_backward_pass(kind):
    plain = layer(bias=False, size=(1024, 512))
    packed = QuantizedLinear(plain, kind)
    assert 8 * module_bytes(packed) / plain.weight.numel() == pytest.approx(BITS[kind], rel=0.02)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        packed(torch.randn(2, 1024).requires_grad_())
    saved = [x for x in saved if x.data_ptr() not in (packed.weight.data_ptr(), packed.scale.data_ptr())]
    assert sum(x.numel() for x in saved) < plain.weight.numel() // 100


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_states_hold_the_packed_weight(kind):
    packed = QuantizedLinear(layer(), kind)
    x = torch.randn(2, 256)
    twin = copy.deepcopy(packed)
    other = QuantizedLinear(nn.Linear(256, 192), kind)
    other.load_state_dict(packed.state_dict())
    assert torch.equal(twin(x), packed(x)) and torch.equal(other(x), packed(x))


def test_zero_rows_and_large_values_survive_int8():
    plain = layer(bias=False)
    plain.weight[0] = 0.0
    plain.weight[1] *= 1e20
    weight = QuantizedLinear(plain, "int8").unpacked(torch.float32)
    assert torch.equal(weight[0], torch.zeros(256)) and weight.isfinite().all()
    assert torch.allclose(weight[1], plain.weight[1], atol=float(plain.weight[1].abs().max()) / 250)


def test_small_and_kept_layers_stay_and_a_network_without_others_is_refused():
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(128, 64), nn.Linear(64, 128))
    assert quantize_linear_layers(network, "int8", kept=[network[2]]) == 1
    assert [type(part) for part in network] == [nn.Linear, QuantizedLinear, nn.Linear]
    with pytest.raises(ConfigError, match="has none with 4,096 weights or more"):
        quantize_linear_layers(nn.Sequential(nn.Linear(8, 8)), "int8")


def test_without_the_library_nf4_is_refused_with_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"pip install 'diffalign\[lowbit\]'   or: --set model.quantize=int8"):
        quantize_linear_layers(nn.Sequential(layer()), "nf4")
    assert quantize_linear_layers(nn.Sequential(layer()), "int8") == 1
    assert quantized_linear.SMALLEST == 4096
