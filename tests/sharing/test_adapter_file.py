"""Adapter files: plain diffusers draws from them what the policy draws, and another base is refused."""

import json

import pytest
import torch
from safetensors import safe_open

from diffalign.errors import ConfigError, RunError
from diffalign.policies.diffusion.load import AdapterConfig, ModelConfig, load_aligned
from diffalign.sharing.adapter_file import FILE_NAME
from diffalign.sharing.read_adapter import read_adapter, read_info
from tests.policies.conftest import shake
from tests.tiny import tiny_sd, tiny_sdxl

ABOUT = {"method": "diffusion-dpo", "beta": 2000.0, "dataset": "images", "eval": {"win_rate": 0.6}}
SHAPES = {
    "alpha is rank": {},
    "alpha is not rank": {"alpha": 10.0},
    "rank-stabilised": {"alpha": 6.0, "rslora": True},
    "every layer": {"targets": "all-linear+conv", "alpha": 2.0},
    "dora": {"dora": True, "alpha": 8.0},
}


def stock_latents(pipeline, seed=5):
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent"}
    return pipeline("a fox", generator=torch.Generator().manual_seed(seed), **settings).images[0]


def latents(policy, seed=5, **settings):
    return policy.sample(["a fox"], [seed], steps=2, guidance=3.0, latents_only=True, **settings)[0]


def assert_same(one, other):
    """Equal within 3e-5 of the largest value: folding the scale rounds differently, a random network amplifies that."""
    assert (one - other).abs().max() <= 3e-5 * other.abs().max()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_diffusers_samples_the_images_of_the_policy(make, sd, tmp_path, shape):
    from diffusers import StableDiffusionPipeline

    policy = shake(make(adapter=AdapterConfig(rank=4, **shape)), scale=0.05)
    path = policy.save(tmp_path / "out", ABOUT)
    stock = StableDiffusionPipeline.from_pretrained(sd)
    base = stock_latents(stock)
    stock.load_lora_weights(path.parent, weight_name=path.name)
    assert (stock_latents(stock) - base).abs().max() > 1e-2
    assert_same(stock_latents(stock), latents(policy))


def test_plain_diffusers_draws_the_same_of_a_larger_model(make, tmp_path):
    from diffusers import StableDiffusionXLPipeline

    base = tiny_sdxl(tmp_path / "xl")
    policy = shake(make(base, adapter=AdapterConfig(rank=2, alpha=5.0)), scale=0.05)
    path = policy.save(tmp_path / "out", ABOUT)
    stock = StableDiffusionXLPipeline.from_pretrained(base)
    stock.load_lora_weights(path.parent, weight_name=path.name)
    assert_same(stock_latents(stock), latents(policy))


@pytest.mark.parametrize("with_metadata", [True, False])
def test_readers_with_and_without_metadata_see_scale_one(make, sd, tmp_path, with_metadata):
    """A reader that knows no metadata takes alpha = rank; the file must mean the same to both."""
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import load_file, save_file

    policy = shake(make(adapter=AdapterConfig(rank=4, alpha=12.0)), scale=0.05)
    path = policy.save(tmp_path / "out", ABOUT)
    if not with_metadata:
        save_file(load_file(path), path)
    stock = StableDiffusionPipeline.from_pretrained(sd)
    stock.load_lora_weights(path.parent, weight_name=path.name)
    assert_same(stock_latents(stock), latents(policy))


def test_one_file_uses_one_kind_of_names(make, tmp_path):
    """Diffusers drops one half of a file that mixes its older names with peft's."""
    for targets, ending in (("attention", ".lora.down.weight"), ("attention+mlp", ".lora_A.weight")):
        path = make(adapter=AdapterConfig(rank=2, targets=targets)).save(tmp_path / targets, ABOUT)
        with safe_open(path, framework="pt") as stored:
            assert sum(key.endswith(ending) for key in stored.keys()) == len(stored.keys()) / 2  # noqa: SIM118


def test_keys_and_metadata_are_those_of_diffusers(make, tmp_path):
    path = make(adapter=AdapterConfig(rank=4, alpha=8.0)).save(tmp_path, ABOUT)
    assert path.name == FILE_NAME
    with safe_open(path, framework="pt") as stored:
        metadata, keys = stored.metadata(), set(stored.keys())
    assert "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight" in keys
    config = json.loads(metadata["lora_adapter_metadata"])
    assert config["unet.r"] == config["unet.lora_alpha"] == 4 and config["unet.lora_dropout"] == 0
    assert metadata["diffalign.method"] == "diffusion-dpo" and metadata["diffalign.base_model"] == "tiny-base"
    assert json.loads(metadata["diffalign.eval"]) == {"win_rate": 0.6}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_an_adapter_comes_back_into_a_policy(make, sd, tmp_path, shape):
    policy = shake(make(adapter=AdapterConfig(rank=4, **shape)), scale=0.05)
    path = policy.save(tmp_path / "out", ABOUT)
    same = make(adapter=AdapterConfig(rank=4, **shape))
    assert same.load_adapter(path)["beta"] == 2000.0
    aligned = load_aligned(ModelConfig(path=str(sd), cache=tmp_path), path, "cpu")
    for other in (same, aligned):
        assert_same(latents(other), latents(policy))
    assert torch.equal(latents(aligned, reference=True), latents(make(), reference=True))


def test_a_transformers_adapter_has_its_own_prefix_and_peft_names(make, tmp_path):
    """Only UNets have older names of layers; a pipeline with a transformer reads peft's."""
    from diffalign.sharing.adapter_file import save_adapter

    module = shake(make()).module
    by_unet, by_transformer = (save_adapter(module, tmp_path / name, ABOUT, name) for name in ("unet", "transformer"))
    with safe_open(by_transformer, framework="pt") as stored:
        assert all(key.startswith("transformer.") and ".lora_" in key for key in stored.keys())  # noqa: SIM118
        assert "transformer.r" in json.loads(stored.metadata()["lora_adapter_metadata"])
    one, other = read_adapter(by_unet), read_adapter(by_transformer)
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[key], other.tensors[key]) for key in one.tensors)
    assert other.config["r"] == 4 and (one.component, other.component) == ("unet", "transformer")


def test_an_adapter_of_another_base_is_refused_by_both_names(make, tmp_path):
    path = make().save(tmp_path / "out", ABOUT)
    other = make(tiny_sd(tmp_path / "other-base", seed=9))
    with pytest.raises(ConfigError, match="trained on tiny-base .*this model is other-base"):
        other.load_adapter(path)
    other.load_adapter(path, any_base=True)
    with pytest.raises(ConfigError) as refused:
        other.load_adapter(make().save(tmp_path / "clips", {**ABOUT, "frames": "3"}))
    assert "--model-setting motion=ADAPTER" in str(refused.value)


def test_an_adapter_of_other_layers_or_rank_is_refused(make, tmp_path):
    path = make().save(tmp_path / "out", ABOUT)
    for adapter in (AdapterConfig(rank=3), AdapterConfig(rank=4, targets="attention+mlp")):
        with pytest.raises(ConfigError, match="layers or ranks differ"):
            make(adapter=adapter).load_adapter(path)
    wide = tiny_sd(tmp_path / "wide", block_out_channels=(8, 32))
    with pytest.raises(ConfigError, match="this model is wide"):
        make(wide).load_adapter(path)


def test_files_that_hold_no_adapter_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ConfigError, match="no adapter folder"):
        read_adapter(tmp_path)
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match="whole holds a whole pipeline, not an adapter.*--model .*whole"):
        read_adapter(whole)
    with pytest.raises(ConfigError, match="no adapter file"):
        read_adapter(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).write_bytes(b"not safetensors")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_adapter(tmp_path)
    save_file({"lora_unet_mid_block.lora_up.weight": torch.zeros(1)}, tmp_path / FILE_NAME)
    with pytest.raises(ConfigError, match="Kohya"):
        read_adapter(tmp_path)


def test_info_reads_back_how_it_was_aligned(make, tmp_path):
    policy = make(adapter=AdapterConfig(rank=4, alpha=8.0))
    path = policy.save(tmp_path / "out", ABOUT)
    info = read_info(path.parent)
    assert (info["rank"], info["scale"], info["kind"], info["beta"]) == (4, 1.0, "LoRA", 2000.0)
    assert info["parameters"] == sum(value.numel() for value in policy.trainable().values())
    assert info["base_fingerprint"] == policy.base_fingerprint
    assert len(read_adapter(path).shape.targets) == info["layers"]


def test_full_fine_tuning_saves_a_pipeline_that_draws_the_same(make, tmp_path):
    from diffusers import StableDiffusionPipeline

    policy = shake(make(adapter=None, reference="copy"), scale=0.01)
    policy.prepare([])
    folder = policy.save(tmp_path / "model", ABOUT)
    stock = StableDiffusionPipeline.from_pretrained(folder)
    assert_same(stock_latents(stock), latents(policy))


def test_a_full_disk_leaves_the_old_file_and_is_an_error(make, tmp_path, monkeypatch):
    policy = make()
    path = policy.save(tmp_path, ABOUT)
    before = path.read_bytes()

    def full(tensors, target, metadata=None):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunError, match="disk is full"):
        policy.save(tmp_path, ABOUT)
    assert path.read_bytes() == before and [item.name for item in tmp_path.glob("*pytorch*")] == [path.name]
