"""An adapter merged into its base: the whole model computes what base and adapter computed, also in plain diffusers."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.merge_into_base import merge_into_base
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy
from diffalign.policies.language.merge_into_base import merge_into_base as merge_text
from diffalign.sharing.peft_folder import save_peft
from tests.policies.conftest import shake
from tests.sharing.foreign import changed, diffusers_lora, kohya_lora
from tests.sharing.test_adapter_file import assert_same, latents, stock_latents
from tests.sharing.test_peft_folder import logits, plain, trained
from tests.tiny import tiny_sd
from tests.tiny_text import tiny_llm


def stock(folder):
    from diffusers import StableDiffusionPipeline

    return stock_latents(StableDiffusionPipeline.from_pretrained(folder))


def test_denoiser_and_text_encoder_of_a_file_are_merged_at_its_strength(sd, tmp_path):
    path, pipeline = diffusers_lora(sd, tmp_path / "lora", text_encoder=True)
    merged = merge_into_base(ModelConfig(path=str(sd)), path, tmp_path / "merged")
    assert_same(stock(merged), stock_latents(pipeline))
    only_unet, _ = diffusers_lora(sd, tmp_path / "unet")
    without = merge_into_base(ModelConfig(path=str(sd)), only_unet, tmp_path / "without")
    assert (stock(merged) - stock(without)).abs().max() > 1e-3


def test_a_file_of_kohya_is_merged_at_the_strength_of_its_alpha_tensors(sd, tmp_path):
    from diffusers import StableDiffusionPipeline

    path, _ = diffusers_lora(sd, tmp_path / "lora", metadata=False)
    theirs = kohya_lora(path, tmp_path / "kohya.safetensors", alpha=2.0)
    pipeline = StableDiffusionPipeline.from_pretrained(sd)
    pipeline.load_lora_weights(theirs.parent, weight_name=theirs.name)
    merged = merge_into_base(ModelConfig(path=str(sd)), theirs, tmp_path / "merged")
    assert_same(stock(merged), stock_latents(pipeline))


def test_a_text_encoder_in_a_file_of_kohya_is_merged_layer_by_layer_at_its_alpha(sd, tmp_path):
    layers = ("self_attn_q_proj", "self_attn_out_proj", "mlp_fc1")
    given, shapes = {}, {"mlp_fc1": (32, 16)}
    for name in layers:
        high, wide = shapes.get(name, (16, 16))
        key = f"lora_te_text_model_encoder_layers_0_{name}"
        given |= {f"{key}.lora_down.weight": torch.randn(4, wide), f"{key}.lora_up.weight": torch.randn(high, 4)}
        given[f"{key}.alpha"] = torch.tensor(2.0)
    file = tmp_path / "kohya.safetensors"
    save_file(given, file)
    merged = merge_into_base(ModelConfig(path=str(sd)), file, tmp_path / "merged")
    before, after = (load_file(folder / "text_encoder/model.safetensors") for folder in (sd, merged))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert len(moved) == len(layers)
    for name in layers:
        key = f"lora_te_text_model_encoder_layers_0_{name}"
        ending = f"layers.0.{name.replace('_attn_', '_attn.').replace('mlp_', 'mlp.')}.weight"
        (layer,) = (layer for layer in moved if layer.endswith(ending))
        delta = 2.0 / 4 * given[f"{key}.lora_up.weight"] @ given[f"{key}.lora_down.weight"]
        torch.testing.assert_close(after[layer] - before[layer], delta, rtol=1e-3, atol=1e-4)


def test_a_file_without_tensors_is_refused_instead_of_merged(sd, tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(ConfigError, match="holds no tensors, so there is nothing to merge"):
        merge_into_base(ModelConfig(path=str(sd)), tmp_path / "empty.safetensors", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("settings", [{"alpha": 10.0}, {"dora": True}], ids=["lora", "dora"])
def test_an_image_adapter_of_a_run_is_merged_as_it_samples(make, sd, tmp_path, settings):
    from diffalign.policies.adapters import AdapterConfig

    policy = shake(make(adapter=AdapterConfig(rank=4, **settings)), scale=0.05)
    path = policy.save(tmp_path / "out", {})
    assert_same(stock(merge_into_base(policy.config, path, tmp_path / "merged")), latents(policy))
    with pytest.raises(ConfigError, match="trained on tiny-base"):
        merge_into_base(ModelConfig(path=str(tiny_sd(tmp_path / "far", seed=9))), path, tmp_path / "other")


def test_tensors_without_a_place_are_refused(sd, tmp_path):
    path, _ = diffusers_lora(sd, tmp_path / "lora")
    changed(path, lambda t: t.update({"text_encoder_2.x.lora_A.weight": torch.zeros(4, 8)}))
    with pytest.raises(ConfigError, match="only 64 of the 65 tensors"):
        merge_into_base(ModelConfig(path=str(sd)), path, tmp_path / "merged")
    changed(path, lambda t: {key: value for key, value in t.items() if "_2" not in key and "attn2.to_v" not in key})
    with pytest.raises(ConfigError, match="is incomplete: its settings name 4 layers"):
        merge_into_base(ModelConfig(path=str(sd)), path, tmp_path / "merged")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_a_language_adapter_is_merged_into_a_model_of_its_own(tmp_path, family, dora):
    base = tiny_llm(tmp_path / "base", family)
    model = trained(base, alpha=6.0, dora=dora)
    adapter = save_peft(model, tmp_path / "adapter", {})
    merged = merge_text(LanguageConfig(path=str(base)), adapter, tmp_path / "merged")
    torch.testing.assert_close(logits(plain(merged)), logits(model), rtol=1e-4, atol=1e-4)
    assert load_file(merged / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()


def test_the_command_that_the_refusal_of_an_adapter_as_model_names_works(tmp_path):
    base = tiny_llm(tmp_path / "base")
    adapter, output = save_peft(trained(base), tmp_path / "adapter", {}), tmp_path / "merged"
    with pytest.raises(ConfigError, match="holds an adapter") as refusal:
        load_policy(LanguageConfig(path=str(adapter)))
    typed = str(refusal.value).partition("diffalign ")[2].replace("BASE", str(base)).replace("FOLDER", str(output))
    result = CliRunner().invoke(app, typed.split())
    assert result.exit_code == 0 and "Train or generate with it" in result.output, result.output
    assert load_policy(LanguageConfig(path=str(output))).base_fingerprint
    again = CliRunner().invoke(app, typed.split())
    assert again.exit_code != 0 and "not an empty folder" in str(again.exception)
    several = CliRunner().invoke(app, ["merge", "a", "b", "--into", str(base), "--output", str(output)])
    assert "merges one adapter" in str(several.exception)
