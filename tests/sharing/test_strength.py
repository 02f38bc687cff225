"""One reader decides what an adapter computes: for loading, merging and describing the strength is that of the program
that wrote it, and a file that is incomplete, not finite or more than a LoRA is refused.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.diffusion.load import ModelConfig, load_aligned
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_aligned as load_aligned_text
from diffalign.sharing.adapter_file import save_adapter
from diffalign.sharing.merge import merge_deltas, read_delta, write_merged
from diffalign.sharing.peft_folder import CONFIG, WEIGHTS, save_peft
from diffalign.sharing.read_adapter import load_into, read_adapter, read_info
from tests.policies.conftest import shake
from tests.sharing.foreign import LAYER, changed, diffusers_lora
from tests.sharing.test_peft_folder import logits, plain, trained
from tests.tiny_text import tiny_llm


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


def delta_of(module, layer=LAYER, name="default"):
    return module.get_submodule(layer).get_delta_weight(name).detach()


STRENGTHS = {
    "alpha 16 of rank 4": {},
    "rank-stabilised": {"use_rslora": True},
    "another alpha in one layer": {"alpha_pattern": {"attn1.to_q": 2.0}},
    "another alpha in one layer by its whole name": {"alpha_pattern": {f"^{LAYER}": 2.0}},
}


@pytest.mark.parametrize("settings", STRENGTHS.values(), ids=STRENGTHS)
def test_alpha_in_the_metadata_is_the_strength_of_every_reader(sd, tmp_path, settings):
    path, pipeline = diffusers_lora(sd, tmp_path / "theirs", **settings)
    mine = load_aligned(ModelConfig(path=str(sd), use_cache=False), path)
    written = write_merged([read_delta(path), read_delta(path)], [0.25, 0.75], tmp_path / "merged")
    merged = load_aligned(ModelConfig(path=str(sd), use_cache=False), written)
    for layer in (LAYER, LAYER.replace("to_q", "to_k")):
        theirs = delta_of(pipeline.unet, layer)
        torch.testing.assert_close(delta_of(mine.module, layer), theirs, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(delta_of(merged.module, layer), theirs, rtol=1e-5, atol=1e-7)
    scales = read_adapter(path).scales
    assert read_info(path)["scale"] == (scales[LAYER] if len(set(scales.values())) == 1 else "0.5 to 4")


def test_without_metadata_alpha_is_the_rank_as_in_diffusers(sd, tmp_path):
    from diffusers import StableDiffusionPipeline

    path, _ = diffusers_lora(sd, tmp_path, metadata=False)
    stock = StableDiffusionPipeline.from_pretrained(sd)
    stock.load_lora_weights(tmp_path, weight_name=path.name)
    mine = load_aligned(ModelConfig(path=str(sd), use_cache=False), path)
    theirs = delta_of(stock.unet, name="default_0")
    torch.testing.assert_close(delta_of(mine.module), theirs, rtol=1e-5, atol=1e-7)


def test_several_alphas_of_a_folder_of_peft_are_those_of_peft(llm, tmp_path):
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 8, "alpha_pattern": {"layers.1.self_attn.v_proj": 1, "q_proj": 3}}
    common = {"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    theirs = get_peft_model(plain(llm), LoraConfig(**settings, **common)).eval()
    theirs.save_pretrained(tmp_path)
    model = trained(llm, targets=read_adapter(tmp_path).shape.targets)
    load_into(model, tmp_path)
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-4, atol=1e-4)
    assert read_info(tmp_path)["scale"] == "0.25 to 2"


def test_tensors_of_the_text_encoder_are_refused_with_the_command_that_keeps_them(sd, tmp_path):
    path, _ = diffusers_lora(sd, tmp_path, text_encoder=True)
    read = (lambda: load_aligned(ModelConfig(path=str(sd)), path), lambda: read_delta(path), lambda: read_info(path))
    for reader in read:
        with pytest.raises(ConfigError, match=r"text encoder, in 8 of its 72 tensors.*diffalign merge .* --into BASE"):
            reader()


BROKEN = {
    "not a number": (lambda t: t[next(iter(t))].view(-1)[0].fill_(float("nan")) is None, "NaN or infinite in 1 of "),
    "infinite": (lambda t: t[next(iter(t))].view(-1)[0].fill_(float("inf")) is None, "NaN or infinite in 1 of "),
    "half a layer": (lambda t: t.pop(next(k for k in t if "up" in k or "_B" in k)) is None, "lacks 1 of "),
    "sizes": (lambda t: t.update({next(k for k in t if "up" in k or "_B" in k): torch.zeros(8, 3)}), "no LoRA of rank"),
    "whole numbers": (lambda t: t.update({k: v.int() for k, v in t.items()}), "no LoRA of rank"),
    "nothing": (lambda t: {"x": torch.zeros(1)}, "holds"),
}


@pytest.mark.parametrize(("change", "hint"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_tensors_that_make_no_whole_adapter_are_refused_by_loading_merging_and_describing(
    make, llm, tmp_path, kind, change, hint
):
    if kind == "file":
        path = changed(shake(make()).save(tmp_path, {}), change)
        load = lambda: load_aligned(make().config, path)
    else:
        path = save_peft(trained(llm), tmp_path, {})
        changed(path / WEIGHTS, change)
        load = lambda: load_aligned_text(LanguageConfig(path=str(llm)), path)
    for reader in (load, lambda: read_delta(path), lambda: read_info(path)):
        with pytest.raises(ConfigError, match=hint):
            reader()


def test_a_file_that_lost_whole_layers_is_refused_by_what_its_settings_name(make, llm, tmp_path):
    lose = lambda tensors: {key: value for key, value in tensors.items() if "attn1.to_q" not in key}
    path = changed(shake(make()).save(tmp_path, {}), lose)
    with pytest.raises(ConfigError, match=r"settings name 4 layers of tiny-base .*attn1.to_q"):
        load_aligned(make().config, path)
    folder = save_peft(trained(llm), tmp_path / "peft", {})
    changed(folder / WEIGHTS, lambda tensors: {key: value for key, value in tensors.items() if "layers.1." not in key})
    with pytest.raises(ConfigError, match=r"settings name 4 layers of model .*layers.1.self_attn"):
        load_aligned_text(LanguageConfig(path=str(llm)), folder)


def test_an_adapter_of_another_kind_of_network_is_refused_by_its_layers(make, sd, llm, tmp_path):
    image, text = shake(make()).save(tmp_path / "image", {}), save_peft(trained(llm), tmp_path / "text", {})
    with pytest.raises(ConfigError, match="32 of its 32 layers are not there, first down_blocks"):
        load_aligned_text(LanguageConfig(path=str(llm)), image)
    with pytest.raises(ConfigError, match="8 of its 8 layers are not there, first model.layers.0"):
        load_aligned(ModelConfig(path=str(sd)), text)


UNSUPPORTED = {
    "init_lora_weights": ("pissa", "init_lora_weights 'pissa', which changes the base"),
    "bias": ("all", "the setting bias"),
    "layer_replication": ([[0, 1]], "the setting layer_replication"),
    "a_setting_of_a_later_peft": (True, "the setting a_setting_of_a_later_peft"),
    "r": (8, "states rank 8, but its tensors have rank 4"),
    "use_dora": (True, "states use_dora True"),
    "use_rslora": ("false", "states use_rslora 'false'; true or false is expected"),
    "lora_alpha": ("much", "alpha 'much'"),
    "alpha_pattern": ({".*q_proj": 2}, "alpha_pattern by expressions"),
}


@pytest.mark.parametrize("key", UNSUPPORTED)
def test_settings_that_change_what_is_computed_are_refused(llm, tmp_path, key):
    folder = save_peft(trained(llm), tmp_path, {})
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, "unknown_but_off": None}))
    assert read_adapter(folder).shape.rank == 4
    (folder / CONFIG).write_text(json.dumps({**config, key: UNSUPPORTED[key][0]}))
    with pytest.raises(ConfigError, match=UNSUPPORTED[key][1]):
        read_adapter(folder)


def test_a_merge_keeps_the_networks_name_and_refuses_another_kind(make, llm, tmp_path):
    module = shake(make()).module
    one, other = (save_adapter(module, tmp_path / name, {}, "transformer") for name in ("one", "other"))
    merged = write_merged([read_delta(one), read_delta(other)], [0.5, 0.5], tmp_path / "merged")
    assert all(key.startswith("transformer.") for key in load_file(merged))
    found, parts = read_adapter(merged), read_adapter(one).folded()
    assert found.component == "transformer" and set(found.scales.values()) == {1.0}
    a, b = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
    torch.testing.assert_close(found.tensors[b] @ found.tensors[a], parts[b] @ parts[a], rtol=1e-5, atol=1e-6)
    unet = save_adapter(module, tmp_path / "unet", {}, "unet")
    text = save_peft(trained(llm), tmp_path / "text", {})
    for stranger in (unet, text):
        with pytest.raises(ConfigError, match="adapters of two kinds of networks"):
            merge_deltas([read_delta(one), read_delta(stranger)], [0.5, 0.5])


def test_a_merge_of_other_sizes_or_weights_that_are_no_numbers_is_refused(llm, tmp_path):
    wide = plain(tiny_llm(tmp_path / "wide", hidden_size=64))
    add_adapter(wide, AdapterConfig(rank=4))
    one, other = save_peft(trained(llm), tmp_path / "one", {}), save_peft(wide, tmp_path / "other", {})
    with pytest.raises(ConfigError, match="other sizes at model.layers.0"):
        merge_deltas([read_delta(one), read_delta(other)], [0.5, 0.5])
    with pytest.raises(ConfigError, match="a weight must be a number, got nan"):
        merge_deltas([read_delta(one), read_delta(one)], [float("nan"), 0.5])
