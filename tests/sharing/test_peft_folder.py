"""Adapter folders: plain peft and plain transformers compute with them what the model computes that trained."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.errors import ConfigError, RunError
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.sharing.peft_folder import CONFIG, FACTS, WEIGHTS, is_peft_folder, save_peft
from diffalign.sharing.read_adapter import load_into, read_adapter, read_info
from tests.tiny_text import tiny_llm

ABOUT = {"method": "dpo", "beta": 0.1, "base_model": "base", "base_fingerprint": "1234567890", "eval": {"wins": 0.6}}
SHAPES = {
    "alpha is rank": {},
    "alpha is not rank": {"alpha": 7.0},
    "rank-stabilised": {"alpha": 6.0, "rslora": True},
    "every layer": {"targets": "all-linear", "alpha": 2.0},
    "dora": {"dora": True, "alpha": 8.0},
}
IDS = torch.arange(10, 40)[None]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {family: tiny_llm(root / family / "base", family) for family in ("llama", "gpt2", "gemma2")}


def plain(base):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base).eval()


def trained(base, seed=1, **adapter):
    model = plain(base)
    add_adapter(model, AdapterConfig(**{"rank": 4, **adapter}))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_peft_and_transformers_compute_the_outputs_of_the_trained_model(bases, tmp_path, family, shape):
    from peft import PeftModel

    model = trained(bases[family], **shape)
    folder = save_peft(model, tmp_path / "out", ABOUT)
    ours = logits(model)
    assert (ours - logits(plain(bases[family]))).abs().max() > 0.1
    # folding a rank-stabilised scale rounds again; otherwise the file holds what was trained, to the last bit
    tolerance = {"rtol": 0, "atol": 1e-4 if shape.get("rslora") else 0}
    by_peft = PeftModel.from_pretrained(plain(bases[family]), folder).eval()
    torch.testing.assert_close(logits(by_peft), ours, **tolerance)
    merged = by_peft.merge_and_unload()
    torch.testing.assert_close(logits(merged), ours, rtol=1e-3, atol=1e-3)
    if shape.get("dora"):
        return  # transformers 5 leaves the magnitudes out when it loads peft's own files, too
    by_transformers = plain(bases[family])
    by_transformers.load_adapter(str(folder))
    torch.testing.assert_close(logits(by_transformers.eval()), ours, **tolerance)


def test_transformers_finds_the_base_by_the_name_in_the_folder(bases, tmp_path, monkeypatch):
    model = trained(bases["llama"])
    folder = save_peft(model, tmp_path / "out", ABOUT)
    monkeypatch.chdir(bases["llama"].parent)  # here "base" is the base, as a hub name would be elsewhere
    torch.testing.assert_close(logits(plain(folder)), logits(model), rtol=0, atol=0)


def test_the_folder_holds_the_files_of_peft_and_the_facts_of_its_training(bases, tmp_path):
    folder = save_peft(trained(bases["gpt2"]), tmp_path, {**ABOUT, "dataset": None, "base_revision": "main"})
    config, facts = (json.loads((folder / name).read_text()) for name in (CONFIG, FACTS))
    assert config["target_modules"] == ["attn.c_attn", "attn.c_proj"]  # not mlp.c_proj
    assert (config["peft_type"], config["task_type"], config["base_model_name_or_path"]) == (
        "LORA",
        "CAUSAL_LM",
        "base",
    )
    assert config["inference_mode"] and config["fan_in_fan_out"] and config["revision"] == "main"
    assert facts["beta"] == 0.1 and facts["eval"] == {"wins": 0.6} and "dataset" not in facts and facts["version"]
    assert set(load_file(folder / WEIGHTS)) == {
        f"base_model.model.transformer.h.{block}.attn.{layer}.lora_{part}.weight"
        for block in (0, 1) for layer in ("c_attn", "c_proj") for part in "AB"
    }  # fmt: skip
    assert is_peft_folder(folder) and is_peft_folder(folder / WEIGHTS) and not is_peft_folder(folder.parent)


def test_layers_of_some_blocks_are_named_in_full(bases, tmp_path):
    layer = "model.layers.1.self_attn.q_proj"
    folder = save_peft(trained(bases["llama"], targets=(layer,)), tmp_path, ABOUT)
    assert json.loads((folder / CONFIG).read_text())["target_modules"] == ["1.self_attn.q_proj"]
    assert read_adapter(folder).shape.targets == (layer,)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_an_adapter_comes_back_into_a_model_of_any_strength(bases, tmp_path, shape):
    model = trained(bases["llama"], **shape)
    folder = save_peft(model, tmp_path, ABOUT)
    found = read_adapter(folder).shape
    other = trained(bases["llama"], seed=2, rank=found.rank, targets=found.targets, dora=found.dora, alpha=3.0)
    assert load_into(other, folder, base=("1234567890", "base")).about["beta"] == 0.1
    torch.testing.assert_close(logits(other), logits(model), rtol=1e-4, atol=1e-4)


def test_an_adapter_that_peft_wrote_comes_in(bases, tmp_path):
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 9, "use_rslora": True, "init_lora_weights": False, "target_modules": ["v_proj"]}
    theirs = get_peft_model(plain(bases["llama"]), LoraConfig(**settings, task_type="CAUSAL_LM")).eval()
    theirs.save_pretrained(tmp_path)
    model = trained(bases["llama"], targets=read_adapter(tmp_path).shape.targets)
    adapter = load_into(model, tmp_path, base=("any", "base"))  # no fingerprint to compare with
    torch.testing.assert_close(logits(model), logits(theirs), rtol=1e-4, atol=1e-4)
    assert adapter.about["base_model"] == str(bases["llama"]) and set(adapter.scales.values()) == {4.5}


def test_names_are_those_that_peft_writes(bases, tmp_path):
    from peft import LoraConfig, get_peft_model

    for number, dora in enumerate((False, True)):
        ours = save_peft(trained(bases["llama"], targets=("q_proj",), dora=dora), tmp_path / f"ours{number}", ABOUT)
        config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj"], use_dora=dora, task_type="CAUSAL_LM")
        get_peft_model(plain(bases["llama"]), config).save_pretrained(tmp_path / f"theirs{number}")
        one, other = (load_file(folder / WEIGHTS) for folder in (ours, tmp_path / f"theirs{number}"))
        assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in other.items()}


def test_an_adapter_of_another_base_is_refused_by_both_names(bases, tmp_path):
    folder = save_peft(trained(bases["llama"]), tmp_path, ABOUT)
    model = trained(bases["llama"])
    with pytest.raises(ConfigError, match="trained on base .weights 12345678.*this model is other"):
        load_into(model, folder, base=("abcdefghij", "other"))
    load_into(model, folder)


def test_an_adapter_of_other_layers_or_rank_is_refused(bases, tmp_path):
    folder = save_peft(trained(bases["llama"]), tmp_path, ABOUT)
    for adapter in ({"rank": 3}, {"targets": "all-linear"}):
        with pytest.raises(ConfigError, match="layers or ranks differ"):
            load_into(trained(bases["llama"], **adapter), folder)
    with pytest.raises(ConfigError, match="does not fit gpt2"):
        load_into(trained(bases["gpt2"]), folder, base=("1234567890", "gpt2"))


def test_folders_that_hold_no_such_adapter_are_refused(bases, tmp_path):
    from peft import IA3Config, LoraConfig, get_peft_model

    with pytest.raises(ConfigError, match="neither adapter_config.json nor pytorch_lora_weights.safetensors"):
        load_into(plain(bases["llama"]), tmp_path)
    folder = save_peft(trained(bases["llama"]), tmp_path / "torn", ABOUT)
    (folder / WEIGHTS).write_bytes(b"half")
    with pytest.raises(ConfigError, match="cannot be read as safetensors"):
        read_adapter(folder)
    (folder / CONFIG).write_text("[")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        read_adapter(folder)
    common = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    for number, (config, hint) in enumerate(
        [
            (IA3Config(**common, feedforward_modules=[]), "of kind IA3"),
            (LoraConfig(**common, modules_to_save=["lm_head"]), "with the setting modules_to_save"),
            (LoraConfig(**common, rank_pattern={"1.self_attn.q_proj": 2}), "ranks .2, 8."),
        ]
    ):
        get_peft_model(plain(bases["llama"]), config).save_pretrained(tmp_path / str(number))
        with pytest.raises(ConfigError, match=hint):
            read_adapter(tmp_path / str(number))


def test_tensors_that_are_not_deltas_are_named(bases, tmp_path):
    folder = save_peft(trained(bases["llama"]), tmp_path, ABOUT)
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "base_model.model.lm_head.bias": torch.zeros(3)}, folder / WEIGHTS)
    with pytest.raises(ConfigError, match="more than a LoRA.*lm_head.bias.*merge_and_unload"):
        read_adapter(folder)


def test_info_reads_the_facts_of_a_folder(bases, tmp_path):
    model = trained(bases["llama"], alpha=8.0)
    info = read_info(save_peft(model, tmp_path, ABOUT))
    assert (info["rank"], info["scale"], info["kind"], info["beta"], info["layers"]) == (4, 2.0, "LoRA", 0.1, 8)
    assert info["parameters"] == sum(value.numel() for value in model.parameters() if value.requires_grad)


def test_the_command_prints_the_facts_of_a_folder(bases, tmp_path):
    folder = save_peft(trained(bases["llama"]), tmp_path, ABOUT)
    shown = dict(line.split(maxsplit=1) for line in CliRunner().invoke(app, ["info", str(folder)]).output.splitlines())
    assert (shown["kind"], shown["rank"], shown["beta"]) == ("LoRA", "4", "0.1")
    assert shown["base_model"] == "base" and json.loads(shown["eval"]) == {"wins": 0.6}


def test_a_full_disk_leaves_the_old_weights_and_is_an_error(bases, tmp_path, monkeypatch):
    model = trained(bases["llama"])
    folder = save_peft(model, tmp_path, ABOUT)
    before = (folder / WEIGHTS).read_bytes()

    def full(tensors, target, metadata=None):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(RunError, match="disk is full"):
        save_peft(model, tmp_path, ABOUT)
    assert (folder / WEIGHTS).read_bytes() == before and len(list(folder.iterdir())) == 3
