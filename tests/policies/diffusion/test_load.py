"""Loading: folders and settings that are no model are refused with a correction."""

import json

import pytest

from diffalign.errors import ConfigError, RunError
from diffalign.policies.diffusion.load import ModelConfig, load_policy
from diffalign.policies.diffusion.model_folder import find_folder


def test_a_missing_folder_names_its_neighbour(sd, tmp_path):
    (tmp_path / "tiny-model").symlink_to(sd)
    with pytest.raises(ConfigError, match="Did you mean 'tiny-model'"):
        find_folder(str(tmp_path / "tiny-modle"))


def test_a_folder_above_or_below_the_pipeline_is_pointed_out(sd, tmp_path):
    (tmp_path / "model").symlink_to(sd)
    with pytest.raises(ConfigError, match="did you mean .*model"):
        find_folder(str(tmp_path))
    with pytest.raises(ConfigError, match="single model"):
        find_folder(str(sd / "unet"))


def test_a_single_file_is_refused_with_the_conversion(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="from_single_file"):
        find_folder(str(tmp_path / "model.safetensors"))


def test_another_family_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ConfigError, match="FluxPipeline.*StableDiffusionXLPipeline"):
        load_policy(ModelConfig(path=str(tmp_path)), "cpu")


def test_a_damaged_index_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        load_policy(ModelConfig(path=str(tmp_path)), "cpu")
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ConfigError, match="names no pipeline"):
        load_policy(ModelConfig(path=str(tmp_path)), "cpu")


def test_a_hub_name_that_cannot_be_fetched_is_reported(monkeypatch):
    import diffusers

    def fail(name, revision=None):
        raise OSError("no network")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", fail)
    with pytest.raises(RunError, match="neither a folder here nor"):
        find_folder("someone/some-model")


def test_a_resolution_that_does_not_halve_is_refused(make):
    with pytest.raises(ConfigError, match="multiple of 4 px.*Try 16"):
        make(resolution=17)


def test_an_unknown_estimator_is_refused(make):
    with pytest.raises(ValueError, match="Did you mean 'forward'"):
        make(latents="foward")


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="rnak"):
        ModelConfig(path="model", adapter={"rnak": 4})
