"""An image model with a motion adapter: the same network as diffusers', the schedule of motion, and what is refused
before weights are read."""

import json
import re
import shutil

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.adapters import AdapterConfig, find_targets
from diffalign.policies.diffusion.families import FAMILIES
from diffalign.policies.diffusion.families.motion_adapter import motion_adapter_of
from diffalign.policies.diffusion.load import ModelConfig, VideoModelConfig, load_policy
from diffalign.policies.diffusion.model_folder import find_model
from tests.tiny import SCHEDULER, tiny_sdxl, tiny_text_encoder, tiny_tokenizer
from tests.tiny_video import FRAMES, MOST_FRAMES, tiny_animatediff, tiny_modelscope


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a whole pipeline, and the image model and the adapter that it is made of."""
    return tiny_animatediff(tmp_path_factory.mktemp("animatediff")).parent


@pytest.fixture
def config(folder, tmp_path):
    def build(**settings):
        values = {
            "path": str(folder / "image"),
            "motion": str(folder / "motion"),
            "clip": {"frames": FRAMES},
            **settings,
        }
        return VideoModelConfig(cache=tmp_path / "cache", **values)

    return build


def altered(source, target, name, **values):
    """A copy of a folder whose configuration ``name`` says something else; its weights are gone."""
    shutil.copytree(source, target)
    for weights in (target / name).parent.glob("*.safetensors"):
        weights.unlink()
    settings = json.loads((target / name).read_text())
    (target / name).write_text(json.dumps({**settings, **values}))
    return target


def test_image_model_and_adapter_are_the_whole_pipeline_that_diffusers_makes_of_them(config, folder):
    composed, whole = (
        load_policy(config(adapter=None), "cpu"),
        load_policy(config(path=str(folder / "whole"), motion=None)),
    )
    assert composed.base_fingerprint == whole.base_fingerprint
    assert torch.equal(composed._denoiser.schedule.alphas_cumprod, _levels("linear"))
    assert torch.equal(whole._denoiser.schedule.alphas_cumprod, _levels("scaled_linear"))


def _levels(betas):
    from diffalign.latents.schedule import Schedule

    return Schedule.from_config({**SCHEDULER, "beta_schedule": betas}).alphas_cumprod


def test_a_composed_model_has_the_linear_levels_of_motion_adapters(config):
    policy = load_policy(config(), "cpu")
    assert float(policy._denoiser.schedule.alphas_cumprod[-1]) == pytest.approx(0.001581, rel=2e-3)
    assert policy.describe()["schedule"].startswith("linear, 0.00085, 0.012")
    own = load_policy(config(schedule="own"), "cpu")
    assert float(own._denoiser.schedule.alphas_cumprod[-1]) == pytest.approx(0.00466, abs=1e-5)
    assert "its own" in own.describe()["schedule"]


def test_parts_in_the_adapters_folder_take_the_place_of_the_image_models(config, folder, tmp_path):
    from diffusers import DDIMScheduler

    motion = shutil.copytree(folder / "motion", tmp_path / "motion")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        tiny_text_encoder().save_pretrained(motion / "text_encoder")
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length -= 2
    tokenizer.save_pretrained(motion / "tokenizer")
    DDIMScheduler(**{**SCHEDULER, "beta_end": 0.013}).save_pretrained(motion / "scheduler")
    usual, other = load_policy(config(), "cpu"), load_policy(config(motion=str(motion)), "cpu")
    one, two = (policy._frozen.prompt_encoder().encode(["a fox"])["encoder_hidden_states"] for policy in (usual, other))
    assert two.shape[1] == one.shape[1] - 2 and not torch.allclose(two, one[:, :-2])
    assert other._frozen.scheduler_config["beta_end"] == 0.013
    assert other._frozen.scheduler_config["beta_schedule"] == "scaled_linear"
    assert "with its own tokenizer and text_encoder and scheduler" in other.describe()["motion"]
    assert other.fingerprint() != usual.fingerprint()


def test_every_tensor_of_an_xl_base_is_copied(config, tmp_path):
    image = tiny_sdxl(tmp_path / "xl")
    made = [load_policy(config(path=str(image), adapter=None), "cpu").module for _ in range(2)]
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(image, subfolder="unet").state_dict()
    for network in made:
        tensors = network.state_dict()
        assert all(torch.equal(tensors[name], value) for name, value in unet.items())


def test_the_motion_modules_of_a_network_are_an_adapter_again(config, folder, tmp_path):
    adapter = motion_adapter_of(load_policy(config(adapter=None), "cpu").module)
    adapter.save_pretrained(tmp_path / "again")
    again = load_policy(config(motion=str(tmp_path / "again")), "cpu")
    assert again.base_fingerprint == load_policy(config(), "cpu").base_fingerprint


def test_what_was_trained_of_motion_modules_is_a_pipeline_and_an_adapter(config, tmp_path):
    policy = load_policy(config(adapter=None, trains="motion"), "cpu")
    for parameter in policy.trainable().values():
        parameter.data.add_(0.01)
    artifact = policy.save(tmp_path / "result", {})
    whole = load_policy(config(path=str(artifact), motion=None), "cpu")
    apart = load_policy(config(motion=str(artifact / "motion_adapter")), "cpu")
    for other in (whole, apart):
        tensors = other.module.state_dict()
        for name, value in policy.trainable().items():
            assert torch.equal(tensors[name] if name in tensors else _base(other, name), value)


def _base(policy, name):
    layer, _, last = name.rpartition(".")
    return policy.module.get_submodule(layer).get_base_layer().state_dict()[last]


REFUSED = {
    "other groups": ("motion", "config.json", {"motion_norm_num_groups": 2}, "groups of normalisation 2.*has 4"),
    "other channels": ("motion", "config.json", {"block_out_channels": [8, 32]}, "blocks of channels 8, 32"),
    "other layers": ("motion", "config.json", {"motion_layers_per_block": 2}, "layers per block 2"),
    "image to video": ("motion", "config.json", {"conv_in_channels": 9}, "image-to-video adapter"),
    "no adapter": ("motion", "config.json", {"_class_name": "ControlNetModel"}, "holds a ControlNetModel"),
    "no class": ("motion", "config.json", {"_class_name": None}, "its config.json names no class"),
    "v prediction": ("image", "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "v_prediction"),
    "lost settings": ("image", "unet/config.json", {"upcast_attention": True}, "upcast_attention = True"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_silently_wrong_is_refused_before_weights_are_read(config, folder, tmp_path, case):
    part, name, values, message = REFUSED[case]
    changed = {"motion": "motion", "image": "path"}[part]
    with pytest.raises(ConfigError, match=message):
        load_policy(config(**{changed: str(altered(folder / part, tmp_path / part, name, **values))}), "cpu")


def test_settings_that_say_what_is_usual_anyway_are_no_reason(config, folder, tmp_path):
    image = altered(folder / "image", tmp_path / "image", "unet/config.json", upcast_attention=None)
    family, source = find_model(config(path=str(image)))
    assert family is FAMILIES["AnimateDiffPipeline"] and source.betas == "linear"


def test_more_frames_than_positions_are_refused_and_any_number_where_there_are_none(config, folder, tmp_path):
    for settings in ({}, {"path": str(folder / "whole"), "motion": None}):
        with pytest.raises(ConfigError, match=f"knows positions for {MOST_FRAMES} frames.*--set model.clip.frames=8"):
            find_model(config(clip={"frames": MOST_FRAMES + 1}, **settings))
    free = config(path=str(tiny_modelscope(tmp_path / "ms")), motion=None, clip={"frames": 40})
    assert find_model(free)[0] is FAMILIES["TextToVideoSDPipeline"]


def test_a_model_and_an_adapter_that_do_not_belong_together_are_named(config, folder, tmp_path):
    for settings, message in (
        ({"motion": None}, "an image model, so it makes no clips.*model.motion"),
        ({"path": str(folder / "whole")}, "has its motion layers already.*model.motion=null"),
        ({"path": str(folder / "motion")}, "it holds a motion adapter.*model.motion="),
        ({"motion": str(tmp_path / "nothing")}, "model.motion .*nothing does not exist"),
        ({"motion": str(folder / "image")}, "folder without config.json"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_model(config(**settings))
    with pytest.raises(ConfigError, match="a video model. Type: --set model.kind=video"):
        find_model(ModelConfig(path=str(folder / "whole")))
    whole = altered(folder / "whole", tmp_path / "whole", "unet/config.json", in_channels=9)
    with pytest.raises(ConfigError, match="takes 9 channels where a latent has 4"):
        find_model(config(path=str(whole), motion=None))


def test_projections_of_motion_modules_take_no_adapter(config):
    for targets, advice in (
        (("proj_in", "to_q"), r"targets=\[attentions\.\.\.proj_in,to_q\]   or --set model.adapter.targets=all-linear"),
        (("proj_out",), r"targets=\[attentions\.\.\.proj_out\]   or"),
        (("motion_modules...proj_out",), r"Type: --set model.adapter.targets=all-linear"),
    ):
        with pytest.raises(ConfigError, match=r"motion_modules\.0\.proj.*no adapter on it takes.*" + advice) as caught:
            load_policy(config(adapter=AdapterConfig(rank=2, targets=targets)), "cpu")
        if "[" in advice:  # what is advised works
            advised = re.search(r"targets=\[(.*?)\]", str(caught.value)).group(1)
            load_policy(config(adapter=AdapterConfig(rank=2, targets=tuple(advised.split(",")))), "cpu")
    policy = load_policy(config(adapter=AdapterConfig(rank=2, targets="all-linear")), "cpu")
    names = {name.split(".lora_")[0] for name in policy.trainable()}
    assert names and not any("motion_modules" in name and "proj_" in name.split(".")[-1] for name in names)
    assert "without motion_modules proj_in and motion_modules proj_out" in policy.describe()["trains"]


def test_convolutions_over_frames_are_a_preset_where_there_are_any(config, tmp_path):
    model = tiny_modelscope(tmp_path / "ms")
    policy = load_policy(
        config(path=str(model), motion=None, adapter=AdapterConfig(rank=2, targets="temp-conv")), "cpu"
    )
    layers = {name.split(".lora_")[0] for name in policy.trainable()}
    convolutions = [n for n, m in policy.module.named_modules() if type(m).__name__ == "TemporalConvLayer"]
    assert len(layers) == 4 * len(convolutions) and all("temp_convs" in name.split(".") for name in layers)
    with pytest.raises(ConfigError, match="'temp-conv', which is not a preset"):
        load_policy(config(adapter=AdapterConfig(rank=2, targets="temp-conv")), "cpu")


def test_a_segment_is_a_whole_part_of_a_path(config, tmp_path):
    network = load_policy(config(path=str(tiny_modelscope(tmp_path / "ms")), motion=None, adapter=None), "cpu").module
    spatial = find_targets(network, ("attentions...to_q",))
    assert spatial and not any("temp_attentions" in name for name in spatial)
    assert set(find_targets(network, ("to_q",))) > set(spatial)
