"""No weight is made up: every loader counts tensors that are missing, left over, of another shape or not finite, and
refuses in a sentence; what is rightly absent (tied weights, buffers, other heads) is no fault.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffalign.errors import ConfigError, UserError
from diffalign.policies.diffusion.load import ModelConfig
from diffalign.policies.diffusion.load import load_policy as load_image
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.load import load_policy as load_text
from diffalign.scorers import load_scorer
from tests.scorers import tiny
from tests.sharing.foreign import changed
from tests.tiny import tiny_sd
from tests.tiny_text import tiny_llm

FAMILIES = ("llama", "gpt2", "qwen2", "gemma2")


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    root = tmp_path_factory.mktemp("llms")
    return {family: tiny_llm(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def tiny_base(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd") / "base")


@pytest.fixture
def copied(tmp_path):
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")


def lose(part):
    return lambda t: t.pop(next(key for key in sorted(t) if part in key)) is None


def nan(tensors):
    next(iter(tensors.values())).view(-1)[0] = float("nan")


def narrow(tensors):
    key = next(key for key in sorted(tensors) if tensors[key].ndim == 2)
    tensors[key] = tensors[key][:, :3].contiguous()


def extend(key, value=1):
    return lambda t: t.update({key: torch.ones(value)})


LAYER = {"gpt2": "transformer.h.7.mlp.c_fc.weight"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_language_model_whose_file_is_not_whole_is_refused(llms, copied, family):
    folder = copied(llms[family])
    config, file = LanguageConfig(path=str(folder)), folder / "model.safetensors"
    good, kind = load_file(file), type(load_text(config).network.model).__name__
    for change, hint in (
        (lose(".1."), "tensors 1 missing"),
        (lose("wte" if family == "gpt2" else "embed_tokens"), "missing"),
        (extend(LAYER.get(family, "model.layers.7.mlp.up_proj.weight")), "tensors 1 left over"),
        (narrow, "of another shape"),
        (nan, "NaN or infinite in"),
    ):
        changed(file, change)
        with pytest.raises(ConfigError, match=hint) as refusal:
            load_text(config)
        assert kind in str(refusal.value) or "NaN" in str(refusal.value)
        save_file(good, file, metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_tied_weights_buffers_and_other_heads_are_no_fault(llms, copied, family):
    folder = copied(llms[family])
    body = "transformer.h.0.attn.masked_bias" if family == "gpt2" else "model.layers.0.self_attn.rotary_emb.inv_freq"
    changed(folder / "model.safetensors", lambda t: t.update({body: torch.ones(4), "v_head.weight": torch.ones(4)}))
    assert load_text(LanguageConfig(path=str(folder))).base_fingerprint
    assert ("lm_head.weight" in load_file(folder / "model.safetensors")) == (family == "llama")  # the others tie it


def test_shards_count_as_one_file(llms, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "shards"
    shutil.copytree(llms["llama"], folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(llms["llama"]).save_pretrained(folder, max_shard_size="40KB")
    config = LanguageConfig(path=str(folder))
    assert load_text(config).base_fingerprint == load_text(LanguageConfig(path=str(llms["llama"]))).base_fingerprint
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shard = content["weight_map"].pop("model.norm.weight")
    index.write_text(json.dumps(content))
    changed(folder / shard, lambda t: t.pop("model.norm.weight") is None)
    with pytest.raises(ConfigError, match="1 missing .first model.norm.weight"):
        load_text(config)
    (folder / shard).unlink()
    with pytest.raises(ConfigError, match="cannot be loaded as a causal language model"):
        load_text(config)


def test_an_adapter_beside_a_model_or_in_its_place_is_refused(llms, copied, tmp_path):
    folder = copied(llms["llama"])
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="a model and an adapter"):
        load_text(LanguageConfig(path=str(folder)))
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "pytorch_lora_weights.safetensors").write_bytes(b"")
    for load, config in ((load_image, ModelConfig), (load_text, LanguageConfig)):
        with pytest.raises(ConfigError, match="olds an adapter .*diffalign merge .* --into BASE"):
            load(config(path=str(tmp_path / "lora")))


PARTS = {
    "unet": ("unet/diffusion_pytorch_model.safetensors", "UNet2DConditionModel", "conv_in", "foo.weight"),
    "vae": ("vae/diffusion_pytorch_model.safetensors", "AutoencoderKL", "conv_in", "foo.weight"),
    "text_encoder": ("text_encoder/model.safetensors", "CLIPTextModel", "fc1", "encoder.layers.5.mlp.fc1.weight"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_pipeline_with_a_part_that_is_not_whole_is_refused(tiny_base, copied, part):
    folder, (name, kind, some, extra) = copied(tiny_base), PARTS[part]
    config, file = ModelConfig(path=str(folder), resolution=16), folder / name
    good = load_file(file)
    faults = (
        (lose(some), f"{kind}: of its .* 1 missing"),
        (extend(extra), f"{kind}: of its .* 1 left over"),
        (lambda t: t.update({next(key for key in sorted(t) if some in key): torch.ones(1)}), "shape"),
        (nan, "NaN or infinite in"),
    )
    for change, hint in faults:
        changed(file, change)
        with pytest.raises(ConfigError, match=hint):
            load_image(config)
        save_file(good, file, metadata={"format": "pt"})
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="cannot be loaded as a StableDiffusionPipeline"):
        load_image(config)
    shutil.rmtree(file.parent)
    with pytest.raises(ConfigError, match=f"has no {part}: the folder .* is missing"):
        load_image(config)


def test_old_names_and_other_heads_of_a_pipelines_parts_are_no_fault(tiny_base, copied):
    folder = copied(tiny_base)
    config = ModelConfig(path=str(folder), resolution=16)
    whole = load_image(config).base_fingerprint

    def older(tensors):
        """As CLIP is published: one level more, the positions as a buffer, the image half beside."""
        renamed = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in tensors.items()}
        renamed["text_model.embeddings.position_ids"] = torch.arange(26)[None]
        return renamed | {"vision_model.post_layernorm.weight": torch.ones(4), "logit_scale": torch.ones(())}

    changed(folder / "text_encoder" / "model.safetensors", older)
    assert load_image(config).base_fingerprint == whole


@pytest.mark.parametrize("medium", ["image", "text"])
def test_a_model_of_which_only_half_precision_was_saved_is_loaded(tiny_base, llms, tmp_path, medium):
    if medium == "image":
        from diffusers import StableDiffusionPipeline

        half = StableDiffusionPipeline.from_pretrained(tiny_base).to(torch.float16)
        load, config, base = load_image, ModelConfig, tiny_base
    else:
        from transformers import AutoModelForCausalLM

        shutil.copytree(llms["llama"], tmp_path / "half")
        (tmp_path / "half" / "model.safetensors").unlink()
        half = AutoModelForCausalLM.from_pretrained(llms["llama"]).half()
        load, config, base = load_text, LanguageConfig, llms["llama"]
    half.save_pretrained(tmp_path / "half", variant="fp16")
    assert not list((tmp_path / "half").rglob("*model.safetensors"))
    mine, whole = load(config(path=str(tmp_path / "half"))), load(config(path=str(base)))
    for (name, a), b in zip(mine.module.named_parameters(), whole.module.parameters(), strict=True):
        if ".lora_" not in name:
            torch.testing.assert_close(a, b.half().float(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["clip", "label_hit", "reward"])
def test_a_scorer_whose_file_is_not_whole_is_refused(tmp_path, kind):
    make = {"clip": tiny.dual_encoder, "label_hit": tiny.classifier, "reward": tiny.reward_model}[kind]
    folder = make(tmp_path / "model")
    load_scorer(f"{kind}:{folder}")
    file = folder / "model.safetensors"
    good = load_file(file)
    for change, hint in ((lose(".1." if kind != "label_hit" else ".0."), "1 missing"), (nan, "NaN"), (narrow, "shape")):
        changed(file, change)
        with pytest.raises(UserError, match=hint):
            load_scorer(f"{kind}:{folder}")
        save_file(good, file, metadata={"format": "pt"})
    file.write_bytes(b"half")
    with pytest.raises(UserError, match="Cannot load"):
        load_scorer(f"{kind}:{folder}")


@pytest.mark.parametrize("place", ["../{name}", "{folder}/{name}", 3])
def test_an_index_of_shards_leads_to_no_file_outside_of_its_folder(llms, copied, tmp_path, place):
    folder = copied(llms["llama"])
    outside = (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    named = place.format(name=outside.name, folder=tmp_path) if isinstance(place, str) else place
    files = dict.fromkeys(load_file(outside), named)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    with pytest.raises(ConfigError, match="as a file of its model; only names of files beside it are followed"):
        load_text(LanguageConfig(path=str(folder)))
    outside.rename(folder / outside.name)
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(files, outside.name)}))
    assert load_text(LanguageConfig(path=str(folder))).base_fingerprint
    index.write_text("{}")
    with pytest.raises(ConfigError, match="names no files of tensors in its weight_map"):
        load_text(LanguageConfig(path=str(folder)))


@pytest.mark.parametrize("spec", ["clip:{}/none", "pickscore:./none/at/all", "clip:~/none", "hpsv2:./none"])
def test_a_folder_that_is_not_there_is_no_wrong_name_of_the_hub(spec, tmp_path):
    with pytest.raises(UserError, match="there is no such file or folder, and it is no id of the hub"):
        load_scorer(spec.format(tmp_path))
