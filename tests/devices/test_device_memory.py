"""Bytes: counted once, and free ones within what the machine has."""

import torch
from torch import nn

from diffalign.devices.device_memory import available_bytes, best_device, format_bytes, module_bytes


def test_a_module_weighs_its_parameters_and_buffers_once():
    layer = nn.BatchNorm1d(8, dtype=torch.float16)  # 2 x 8 weights, 2 x 8 statistics of 2 bytes, a counter of 8 bytes
    assert module_bytes(layer) == 4 * 8 * 2 + 8
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    assert module_bytes(tied) == 4 * 4 * 4


def test_free_memory_is_positive_and_less_than_a_petabyte():
    assert 10**6 < available_bytes("cpu") < 10**15


def test_the_best_device_can_hold_a_tensor():
    assert torch.zeros(1, device=best_device()).item() == 0


def test_bytes_are_formatted_in_decimal_units():
    assert [format_bytes(n) for n in (12, 3400, 12_000_000, 3_440_000_000)] == ["12 bytes", "3.4 kB", "12 MB", "3.4 GB"]
