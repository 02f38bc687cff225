"""Weights of convolutions with their channels last: other kernels, the same numbers up to rounding, the same files."""

import pytest
import torch
from safetensors.torch import load_file

from diffalign.devices.movable import pinned_like
from diffalign.policies.diffusion.load import ModelConfig, load_policy
from diffalign.randomness import Draw
from tests.tiny import tiny_pairs, tiny_sd


@pytest.mark.parametrize("adapter", [{"rank": 2}, None])
def test_numbers_agree_up_to_rounding_and_files_are_laid_out_as_without(tmp_path, adapter):
    path, pairs = str(tiny_sd(tmp_path / "sd")), tiny_pairs(tmp_path / "pairs", 2)
    numbers, files = [], []
    for channels_last in (False, True):
        common = {"adapter": adapter, "reference": "auto", "cache": str(tmp_path / "cache")}
        policy = load_policy(ModelConfig(path=path, channels_last=channels_last, **common), "cpu")
        policy.prepare(pairs)
        encoded, draw = policy.encode(pairs), Draw(0, ("a", "b"), (0, 0))
        scored = policy.logps(encoded, draw)
        loss = torch.stack([candidate.logps for candidate in scored.candidates])
        loss.sum().backward()
        gradients = [parameter.grad.flatten() for _, parameter in sorted(policy.trainable().items())]
        numbers.append(torch.cat([loss.detach().flatten(), *gradients]))
        saved = policy.save(tmp_path / f"saved-{channels_last}", {})
        file = saved if saved.is_file() else next((saved / "unet").glob("*.safetensors"))
        files.append(load_file(file))
        convolutions = [module for module in policy.module.modules() if type(module) is torch.nn.Conv2d]
        wide = [module.weight for module in convolutions if module.kernel_size == (3, 3)]
        last = [weight.is_contiguous(memory_format=torch.channels_last) for weight in wide]
        assert (
            all(last)
            if channels_last
            else not any(weight.shape[1] > 1 and one for weight, one in zip(wide, last, strict=True))
        )
    torch.testing.assert_close(numbers[0], numbers[1], rtol=1e-3, atol=1e-6)
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(value, files[1][name]) for name, value in files[0].items())


def test_it_is_part_of_the_identity_of_stored_numbers_and_survives_a_move(tmp_path):
    path = str(tiny_sd(tmp_path / "sd"))
    plain, other = (load_policy(ModelConfig(path=path, channels_last=last), "cpu") for last in (False, True))
    assert plain.fingerprint() != other.fingerprint() and plain.base_fingerprint == other.base_fingerprint
    weight = torch.nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    assert pinned_like(weight.weight, torch.device("cpu")).stride() == (36, 1, 12, 4)
