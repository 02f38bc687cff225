"""`diffalign plan`: what a recipe needs, before anything is loaded, and what to change so that it fits."""

import json
from contextlib import nullcontext
from fnmatch import fnmatch

import pytest
import torch
import yaml
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.devices.device_memory import module_bytes
from diffalign.errors import ConfigError
from diffalign.files.weightless import without_weights
from diffalign.policies.policy import SupportsPlan
from diffalign.training.recipe.load import load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import open_model
from diffalign.training.setup.plan_run import plan_recipe, with_settings
from tests.tiny import tiny_pairs, tiny_sd, tiny_sdxl
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import tiny_animatediff, tiny_clip_pairs, tiny_modelscope

CONTEXT = 1_200_000_000
CLIP = {"kind": "video", "clip": {"frames": 4}}
MODELS = {
    "sd": (tiny_sd, {}),
    "sdxl": (tiny_sdxl, {}),
    "animatediff": (tiny_animatediff, CLIP),
    "modelscope": (tiny_modelscope, CLIP),
    "text": (tiny_llm, {"kind": "text"}),
}


def recipe_of(folder, name, model=None, **train):
    make, settings = MODELS[name]
    values = {"model": {"path": str(make(folder / name)), "cache": str(folder / "cache"), **settings, **(model or {})}}
    values |= {"data": {"train": "memory"}, "loss": {"name": "logistic", "beta": 1.0}, "output": str(folder / "run")}
    values |= {"train": {"steps": 4, "batch_size": 4, "learning_rate": 1e-4, "mixed_precision": "no", **train}}
    return make_recipe({**values, "previews": {"prompts": ["a fox"], **({} if name == "text" else {"steps": 2})}})


def pairs_of(folder, name):
    if name == "text":
        return text_pairs(4)
    return tiny_clip_pairs(folder / "pairs", 4) if MODELS[name][1] else tiny_pairs(folder / "pairs", 4)


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_without_weights_is_that_with_weights_and_writes_nothing(tmp_path, name, monkeypatch):
    recipe, pairs = recipe_of(tmp_path, name), pairs_of(tmp_path, name)
    with without_weights():
        empty = open_model(recipe.model)
    real = open_model(recipe.model)
    assert isinstance(real, SupportsPlan) and isinstance(empty, SupportsPlan)
    assert set(real.parts()) == set(empty.parts())
    for part, modules in real.parts().items():
        assert sum(map(module_bytes, empty.parts()[part])) == sum(map(module_bytes, modules)), part
    names = sorted(path.name for path in tmp_path.rglob("*"))
    (found, without), (_, again) = plan_recipe(recipe, 10**12, pairs=pairs), plan_recipe(recipe, 10**12, pairs=pairs)
    assert sorted(path.name for path in tmp_path.rglob("*")) == names
    assert without == again and without.fits and not without.changes and found == recipe
    monkeypatch.setattr("diffalign.training.setup.plan_run.without_weights", torch.enable_grad)
    assert plan_recipe(recipe, 10**12, pairs=pairs)[1] == without
    stages = {stage.name: stage for stage in without.stages}
    assert set(stages) == ({"sample", "update"} if name == "text" else {"encode", "sample", "update"})
    assert all(stage.activations for stage in without.stages)


def test_weights_that_are_not_opened_take_no_memory(tmp_path):
    recipe = recipe_of(tmp_path, "text")
    with without_weights():
        policy = open_model(recipe.model)
    frozen = [value for name, value in policy.module.named_parameters() if "lora" not in name]
    assert frozen and all(value.untyped_storage().nbytes() <= 8 for value in frozen)
    assert not any(value.is_meta for value in policy.module.parameters())


def test_less_memory_takes_smaller_micro_batches_then_computes_activations_twice(tmp_path):
    recipe, pairs = recipe_of(tmp_path, "sd"), pairs_of(tmp_path, "sd")
    whole = plan_recipe(recipe, 10**12, pairs=pairs)[1]
    update = whole.stages[-1]
    little = CONTEXT + update.resident + update.activations // 2
    found, plan = plan_recipe(recipe, little, pairs=pairs)
    assert plan.fits and [list(change.settings) for change in plan.changes] == [["train.micro_batch_size"]]
    assert 1 <= found.train.micro_batch_size <= 2
    assert found.train.batch_size == 4  # the effective batch stays
    less = CONTEXT + update.resident + update.activations // 8
    _, smaller = plan_recipe(recipe, less, pairs=pairs)
    paths = [path for change in smaller.changes for path in change.settings]
    assert "train.gradient_checkpointing" in paths and len(smaller.changes) > len(plan.changes)


def test_a_full_training_stores_its_reference_before_it_changes_its_optimizer(tmp_path):
    recipe = recipe_of(tmp_path, "text", {"adapter": None, "reference": "copy"}, optimizer="adamw")
    pairs = pairs_of(tmp_path, "text")
    whole = plan_recipe(recipe, 10**12, pairs=pairs)[1]
    assert whole.stages[-1].weights["reference"] == whole.stages[-1].weights["network"]
    found, plan = plan_recipe(recipe, CONTEXT + 1, pairs=pairs)
    paths = [path for change in plan.changes for path in change.settings]
    assert paths.index("model.reference") < paths.index("train.optimizer") and not plan.fits
    tried = [change.settings["train.optimizer"] for change in plan.changes if "train.optimizer" in change.settings]
    assert tried == ["adamw8bit", "adafactor"]
    assert found.model.reference == "stored" and "reference" not in plan.stages[-1].weights
    assert {stage.name for stage in plan.stages} == {"reference", "sample", "update"}


def test_blocks_are_offloaded_after_the_base_is_packed_and_two_of_them_are_counted(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 6}
    path = tiny_llm(tmp_path / "large", num_key_value_heads=4, **sizes)
    recipe, pairs = recipe_of(tmp_path, "text", {"path": str(path)}), pairs_of(tmp_path, "text")
    _, plan = plan_recipe(recipe, CONTEXT + 1, pairs=pairs)
    paths = [path for change in plan.changes for path in change.settings]
    assert paths.index("train.gradient_checkpointing") < paths.index("model.quantize") < paths.index("model.offload")
    assert paths[paths.index("model.offload") + 1] == "train.optimizer"
    found = [
        plan_recipe(with_settings(recipe, {"train.gradient_checkpointing": True, **more}), 10**12, pairs=pairs)[1]
        for more in ({}, {"model.offload": "blocks"})
    ]
    whole, less = (plan.stages[-1].weights["network"] for plan in found)
    with without_weights():
        network = open_model(with_settings(recipe, {"model.gradient_checkpointing": True}).model).parts()["network"][0]
    layer = sum(
        value.nbytes for name, value in network.named_parameters() if "layers.0." in name and "lora" not in name
    )
    assert less == pytest.approx(whole - 4 * layer, rel=0.02)


def test_devices_share_the_batch(tmp_path):
    recipe, pairs = recipe_of(tmp_path, "sd"), pairs_of(tmp_path, "sd")
    shares = [plan_recipe(recipe, 10**12, count, pairs)[1].stages[-1].at_once for count in (1, 2, 4)]
    assert shares == ["4 pairs", "2 pairs", "1 pair"]
    with pytest.raises(ConfigError, match="8 devices each need a pair"):
        plan_recipe(recipe, 10**12, 8, pairs)


def test_the_command_shows_the_plan_and_writes_its_changes_into_the_recipe(tmp_path):
    values = recipe_of(tmp_path, "text", batch_size=8).model_dump(mode="json")
    rows = [{"prompt": "a", "chosen": "b " * 40, "rejected": "c " * 40} for _ in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values["data"] = {"train": str(tmp_path / "pairs.jsonl")}
    path = tmp_path / "recipe.yaml"
    path.write_text("# mine\n" + yaml.safe_dump(values))
    shown = CliRunner().invoke(app, ["plan", str(path), "--memory", "24GB"])
    assert shown.exit_code == 0 and "fits" in shown.output and "checkpoints and result" in shown.output, shown.output
    recipe = load_recipe(path)
    update = plan_recipe(recipe, 10**12)[1].stages[-1]
    size = (CONTEXT + update.resident + update.activations * 9 // 10) // 1000
    shown = CliRunner().invoke(app, ["plan", str(path), "--memory", f"{size}kB", "--write"])
    assert shown.exit_code == 0 and f"written to {path}" in shown.output, shown.output
    assert load_recipe(path) != recipe and path.read_text().startswith("# mine\n")
    assert plan_recipe(load_recipe(path), size * 1000)[1].fits
    shown = CliRunner().invoke(app, ["plan", str(path), "--memory", "1GB"])
    assert shown.exit_code == 1 and "Even so it does not fit" in shown.output
    shown = CliRunner().invoke(app, ["plan", str(path), "--memory", "much"])
    assert shown.exit_code != 0


def test_a_run_says_what_its_stages_take_and_what_the_first_step_took(tmp_path, capsys, monkeypatch):
    from diffalign.training.loop import train

    class Growth(nullcontext):
        """A measurement that does not depend on what ran in this process before."""

        bytes = 123_000_000

        def __enter__(self):
            return self

    monkeypatch.setattr("diffalign.training.setup.assemble_run.SMALL", 0)
    monkeypatch.setattr("diffalign.training.loop.PeakGrowth", Growth)
    recipe, pairs = recipe_of(tmp_path, "text"), pairs_of(tmp_path, "text")
    train(recipe, pairs=pairs)
    shown = capsys.readouterr().err
    assert "stages" in shown and "sample" in shown and "the first step took 123 MB" in shown
    assert plan_recipe(recipe, None, pairs=pairs)[1].seconds > 0  # it is remembered
    assert plan_recipe(recipe_of(tmp_path, "text", batch_size=2), None, pairs=pairs)[1].seconds is None


def test_a_plan_of_a_model_on_the_hub_fetches_no_weights(tmp_path, monkeypatch):
    folder, asked = tiny_sd(tmp_path / "sd"), []
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()

    def fetch(name, *, revision, allow_patterns):
        found = [path.name for path in folder.rglob("*") if any(fnmatch(path.name, one) for one in allow_patterns)]
        asked.append((name, revision, found))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    recipe = recipe_of(tmp_path, "sd", {"path": "owner/model", "revision": "main"})
    assert plan_recipe(recipe, 10**12, pairs=pairs_of(tmp_path, "sd"))[1].fits
    name, revision, files = asked[0]
    assert (name, revision) == ("owner/model", "main") and {"model_index.json", "config.json", "tokenizer.json"} <= set(
        files
    )
