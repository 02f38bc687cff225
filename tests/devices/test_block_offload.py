"""Blocks whose frozen weights come from host memory when they run: the same bits, and two of them at most."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from diffalign.devices.block_offload import _OWNERS, bytes_saved, offload_blocks
from diffalign.devices.movable import OFFLOADED, distinct_tensors
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.load import ModelConfig, VideoModelConfig
from diffalign.policies.diffusion.load import load_policy as load_denoiser
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy as load_language_model
from diffalign.randomness import Draw
from diffalign.training.step.memory_switches import memory_switches
from tests.tiny import tiny_pairs, tiny_sd, tiny_sdxl
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import tiny_animatediff, tiny_clip_pairs, tiny_modelscope
from tests.training.setup.test_plan_run import recipe_of

CPU = torch.device("cpu")
COUNT, WIDTH = 6, 32


class Layer(nn.Module):
    """A frozen matrix, and a vector that trains."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.register_buffer("shift", torch.randn(WIDTH))

    def forward(self, x):
        return torch.tanh(self.linear(x) * self.scale + self.shift)


class Network(nn.Module):
    """Layers one after the other, each computed again in the backward pass."""

    def __init__(self, checkpointed=True):
        super().__init__()
        self.layers, self.checkpointed = nn.ModuleList(Layer() for _ in range(COUNT)), checkpointed

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.checkpointed else layer(x)
        return x


def step(network, seed):
    """Returns the output and all gradients, and moves what trains."""
    x = torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(seed))
    output = network(x)
    output.square().sum().backward()
    gradients = [layer.scale.grad.clone() for layer in network.layers]
    with torch.no_grad():
        for layer in network.layers:
            layer.scale -= 0.1 * layer.scale.grad
            layer.scale.grad = None
    return [output.detach(), *gradients]


def twins(**settings):
    torch.manual_seed(0)
    plain = Network(**settings)
    torch.manual_seed(0)
    other = Network(**settings)
    return plain, other, offload_blocks(other.layers, CPU)


def test_outputs_and_gradients_are_equal_to_the_bit_and_two_blocks_are_there_at_most():
    plain, other, owner = twins()
    size = _OWNERS[other.layers[0]][1].bytes
    for seed in range(4):
        assert all(torch.equal(a, b) for a, b in zip(step(plain, seed), step(other, seed), strict=True))
        assert owner.peak <= 2 * size and owner.resident <= 2 * size
    with torch.no_grad():
        assert torch.equal(plain(torch.ones(1, WIDTH)), other(torch.ones(1, WIDTH)))
    assert list(plain.state_dict()) == list(other.state_dict())
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in other.state_dict().items())


def test_the_block_that_follows_is_sent_for_while_one_runs():
    _, other, owner = twins()
    order, fetch = [], owner._fetch
    number = {id(_OWNERS[layer][1]): k for k, layer in enumerate(other.layers)}
    owner._fetch = lambda block: order.append(number[id(block)]) or fetch(block)
    step(other, 0)
    forward, backward = list(range(COUNT)), list(range(COUNT - 1, -1, -1))
    assert order == forward + backward
    step(other, 1)
    order.clear()
    step(other, 2)
    # Once the order is known nothing is fetched twice: the last block of a pass is the first of the next.
    assert order == [*forward[1:], *backward[1:]]
    ahead, block = owner._ahead, _OWNERS[other.layers[0]][1]
    assert ahead is not None and ahead[0] is block


def test_without_checkpoints_the_graph_would_keep_every_block():
    _, other, owner = twins(checkpointed=False)
    step(other, 0)
    assert owner.peak >= (COUNT - 1) * _OWNERS[other.layers[0]][1].bytes


def test_what_trains_stays_on_the_device_and_the_rest_does_not_move_with_the_network():
    _, other, _ = twins()
    assert {id(tensor) for tensor in distinct_tensors([other])} == {id(layer.scale) for layer in other.layers}
    assert not any(hasattr(layer.scale, OFFLOADED) for layer in other.layers)
    sizes = [_OWNERS[layer][1].bytes for layer in other.layers]
    assert bytes_saved(other) == sum(sizes[2:]) and bytes_saved(other, own_memory=False) == -sum(sizes[:2])
    assert bytes_saved(Network()) == 0


DENOISERS = {
    "sd": (tiny_sd, ModelConfig, {}),
    "sdxl": (tiny_sdxl, ModelConfig, {"dtype": "bfloat16"}),
    "animatediff": (tiny_animatediff, VideoModelConfig, {"clip": {"frames": 3}}),
    "modelscope": (tiny_modelscope, VideoModelConfig, {"clip": {"frames": 3}}),
}


def opened(name, folder, **settings):
    common = {"adapter": {"rank": 2}, "gradient_checkpointing": True, "cache": str(folder / "cache"), **settings}
    if name == "text":
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
        path = tiny_llm(folder / name, num_key_value_heads=4, **sizes)
        return load_language_model(LanguageConfig(path=str(path), **common), "cpu"), text_pairs(2)
    make, config, own = DENOISERS[name]
    pairs = tiny_clip_pairs(folder / "pairs", 2) if "clip" in own else tiny_pairs(folder / "pairs", 2)
    return load_denoiser(config(path=str(make(folder / name)), **{**own, **common}), "cpu"), pairs


def scored(policy, pairs):
    """Returns log-probabilities of policy and reference, and the gradients of the adapter after it was moved."""
    with torch.no_grad():
        for name, parameter in sorted(policy.trainable().items()):
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    policy.prepare(pairs, lambda *_: None)
    encoded, draw = policy.encode(pairs), Draw(0, tuple(pair.id for pair in pairs), (0,) * len(pairs))
    numbers = [candidate.logps for candidate in policy.reference_logps(encoded, draw).candidates]
    own = [candidate.logps for candidate in policy.logps(encoded, draw).candidates]
    torch.stack(own).sum().backward()
    gradients = [parameter.grad for _, parameter in sorted(policy.trainable().items())]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    return [value.detach() for value in (*numbers, *own, *gradients)]


@pytest.mark.parametrize("quantize", [None, "int8", "nf4"])
def test_a_language_model_computes_the_same_bits(tmp_path, quantize):
    check_equal("text", tmp_path, quantize=quantize)


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_computes_the_same_bits(tmp_path, name):
    check_equal(name, tmp_path)


def check_equal(name, folder, **settings):
    plain, pairs = opened(name, folder, **settings)
    other, _ = opened(name, folder, offload="blocks", **settings)
    blocks = [_OWNERS[module][1] for module in other.module.modules() if module in _OWNERS]
    owner = next(_OWNERS[module][0] for module in other.module.modules() if module in _OWNERS)
    assert len(blocks) > 2 and plain.fingerprint() == other.fingerprint()
    expected, found = scored(plain, pairs), scored(other, pairs)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert owner.peak <= sum(sorted(block.bytes for block in blocks)[-2:])
    prompt = "a fox" if name != "text" else "hello"
    settings = {"max_new_tokens": 3} if name == "text" else {"steps": 1, "latents_only": True}
    one, two = (policy.sample([prompt], [0], **settings)[0] for policy in (plain, other))
    assert one == two if isinstance(one, str) else torch.equal(one, two)
    assert list(plain.module.state_dict()) == list(other.module.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adapter": None}, "keeps weights that do not train in host memory, but adapter is null"),
        ({"adapter": {"rank": 2}, "reference": "copy"}, "would load a second network"),
    ],
)
def test_what_cannot_be_offloaded_is_refused_in_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        LanguageConfig(path="x", offload="blocks", **settings)


def test_without_checkpoints_it_is_refused_before_anything_is_loaded():
    with pytest.raises(ConfigError, match="Type: --set train.gradient_checkpointing=true   or"):
        load_language_model(LanguageConfig(path="nowhere", offload="blocks", adapter={"rank": 2}), "cpu")


def test_the_message_on_memory_names_the_switch(tmp_path):
    recipe = recipe_of(tmp_path, "text", gradient_checkpointing=True)
    assert "--set model.offload=blocks" in memory_switches(recipe)
    assert "offload" not in memory_switches(recipe_of(tmp_path, "text"))


def test_a_run_that_is_resumed_with_offloaded_blocks_ends_in_the_same_adapter(tmp_path):
    from diffalign.training.loop import train
    from diffalign.training.setup.plan_run import with_settings

    recipe = with_settings(recipe_of(tmp_path, "text", gradient_checkpointing=True), {"previews.prompts": "[]"})
    straight = with_settings(recipe, {"output": str(tmp_path / "straight")})
    expected = train(straight, pairs=text_pairs(4)).policy.state()
    train(with_settings(recipe, {"train.steps": 2}), pairs=text_pairs(4))
    found = train(with_settings(recipe, {"model.offload": "blocks"}), pairs=text_pairs(4), resume=True).policy.state()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
