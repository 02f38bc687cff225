"""Adapters: where they go, what they weigh, and that switching them off is exact."""

import warnings

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig, adapter_off, add_adapter, find_targets
from diffalign.policies.diffusion.families.unet import ADAPTER_LAYERS
from tests.tiny import UNET
from tests.tiny_text import FAMILIES, tiny_model


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
    add_adapter(network, AdapterConfig(rank=3, **settings), ADAPTER_LAYERS)
    tolerance = 1e-5 if settings.get("dora") else 0.0  # DoRA divides by the norm that it multiplies with
    torch.testing.assert_close(network(*inputs()).sample, before, rtol=0, atol=tolerance)


@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"targets": "all-linear+conv"}])
def test_switched_off_a_trained_adapter_leaves_the_base_exactly(settings):
    network = unet()
    before = network(*inputs()).sample
    add_adapter(network, AdapterConfig(rank=3, **settings), ADAPTER_LAYERS)
    randomise(network)
    trained = network(*inputs()).sample
    with adapter_off(network):
        assert torch.equal(network(*inputs()).sample, before)
    assert not torch.allclose(trained, before)
    assert torch.equal(network(*inputs()).sample, trained)
    assert sum(parameter.requires_grad for parameter in network.parameters()) > 0


def test_adapters_are_float32_on_half_precision_bases():
    network = unet(torch.bfloat16)
    add_adapter(network, AdapterConfig(rank=3), ADAPTER_LAYERS)
    kinds = {parameter.requires_grad: parameter.dtype for parameter in network.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    assert network(*inputs(torch.bfloat16)).sample.dtype == torch.bfloat16


def test_the_adapter_depends_on_its_seed_alone():
    def first(seed):
        network = unet()
        torch.rand(seed + 1)  # another state of the global generator
        add_adapter(network, AdapterConfig(rank=3, seed=seed), ADAPTER_LAYERS)
        return next(value for name, value in network.named_parameters() if "lora_A" in name)

    assert torch.equal(first(0), first(0)) and not torch.equal(first(0), first(1))


def test_presets_nest():
    network = unet()
    attention, mlp, all_of_it = (
        set(find_targets(network, name, ADAPTER_LAYERS)) for name in ("attention", "attention+mlp", "all-linear+conv")
    )
    assert attention < mlp < all_of_it
    assert all(".attn" in name for name in attention)
    assert {"conv_in", "down_blocks.0.resnets.0.conv1"} <= all_of_it


@pytest.mark.parametrize(
    ("targets", "hint"), [("atention", "attention"), (("to_qq",), "to_q"), (("to_q", "nowhere"), "nowhere")]
)
def test_targets_that_mean_no_layer_are_refused(targets, hint):
    with pytest.raises(ConfigError, match=hint):
        find_targets(unet(), targets, ADAPTER_LAYERS)


ATTENTION = {"gpt2": {"attn.c_attn", "attn.c_proj"}}
MLP = {"gpt2": {"mlp.c_fc", "mlp.c_proj"}}
LLAMA = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
LLAMA_MLP = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}


def tails(names):
    return {".".join(name.split(".")[-2:]) for name in names}


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_mean_the_layers_of_each_language_architecture(family):
    model = tiny_model(family)
    attention, mlp = ATTENTION.get(family, LLAMA), MLP.get(family, LLAMA_MLP)
    layers = model.config.num_hidden_layers
    found = find_targets(model, "attention")
    assert tails(found) == attention and len(found) == layers * len(attention)
    found = find_targets(model, "attention+mlp")
    assert tails(found) == attention | mlp and len(found) == layers * len(attention | mlp)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_leaves_the_head_out(family):
    model = tiny_model(family)
    assert find_targets(model, "all-linear") == find_targets(model, "attention+mlp")
    assert find_targets(model, ("lm_head",)) == ["lm_head"]  # unless it is named


@pytest.mark.parametrize(
    ("kind", "shape", "attention", "mlp"),
    [
        ("phi3", {"pad_token_id": 0}, "self_attn: qkv_proj o_proj", "mlp: gate_up_proj down_proj"),
        ("gpt_neox", {}, "attention: query_key_value dense", "mlp: dense_h_to_4h dense_4h_to_h"),
        ("falcon", {}, "self_attention: query_key_value dense", "mlp: dense_h_to_4h dense_4h_to_h"),
        ("opt", {"ffn_dim": 32, "word_embed_proj_dim": 16}, "self_attn: q_proj k_proj v_proj out_proj", "0: fc1 fc2"),
        ("phi", {}, "self_attn: q_proj k_proj v_proj dense", "mlp: fc1 fc2"),
        ("starcoder2", {"num_key_value_heads": 1}, "self_attn: q_proj k_proj v_proj o_proj", "mlp: c_fc c_proj"),
    ],
)
def test_presets_know_other_names_of_the_same_parts(kind, shape, attention, mlp):
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, **shape}
    ends = {"bos_token_id": 1, "eos_token_id": 1}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **small, **ends))
    attention, mlp = (
        {f"{parent}.{name}" for name in names.split()}
        for parent, names in (part.split(": ") for part in (attention, mlp))
    )
    assert tails(find_targets(model, "attention")) == attention
    assert tails(find_targets(model, "attention+mlp")) == attention | mlp


def test_a_network_without_attention_says_how_its_layers_are_called():
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4))
    with pytest.raises(ConfigError, match="known name of attention.*dt_proj.*all-linear"):
        find_targets(model, "attention")
    assert len(find_targets(model, "all-linear")) == 4


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("settings", [{}, {"dora": True}, {"targets": "all-linear", "rslora": True}])
def test_a_language_model_takes_an_adapter_and_loses_it_exactly(family, settings):
    model, ids = tiny_model(family), torch.arange(10, 20)[None]
    before = model(input_ids=ids).logits
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns where weights are transposed without a setting for that
        add_adapter(model, AdapterConfig(rank=3, **settings))
    model.eval()
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=0, atol=1e-4 if settings.get("dora") else 0.0)
    randomise(model)
    assert not torch.allclose(model(input_ids=ids).logits, before)
    with adapter_off(model):
        assert torch.equal(model(input_ids=ids).logits, before)
    assert model.peft_config["default"].task_type == "CAUSAL_LM"
