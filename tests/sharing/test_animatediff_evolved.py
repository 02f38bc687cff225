"""Motion LoRA for ComfyUI-AnimateDiff-Evolved: its reader, rewritten here from its rule, computes the same weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.errors import ConfigError, UserError
from diffalign.sharing.adapter_file import FILE_NAME
from diffalign.sharing.animatediff_evolved import animatediff_evolved_layer, write_animatediff_evolved
from diffalign.sharing.export_formats import write_export
from diffalign.sharing.read_adapter import read_adapter

PARTS = ("to_q", "to_k", "to_v", "to_out.0")
PATHS = ("down_blocks.0.motion_modules.1", "mid_block.motion_modules.0", "up_blocks.2.motion_modules.0")
LAYERS = [f"{path}.transformer_blocks.0.attn{n}.{part}" for path in PATHS for n in (1, 2) for part in PARTS]


def write_adapter(folder, layers, alpha=6.0, rank=3, suffixes=("lora_A.weight", "lora_B.weight")):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in layers:
        for suffix, shape in zip(suffixes, ((rank, 8), (10, rank)), strict=True):
            tensors[f"unet.{layer}.{suffix}"] = torch.randn(shape, generator=generator)
    config = {f"unet.{key}": value for key, value in {"r": rank, "lora_alpha": alpha}.items()}
    folder.mkdir()
    save_file(tensors, folder / FILE_NAME, metadata={"lora_adapter_metadata": json.dumps(config)})
    return read_adapter(folder)


def readers_update(file, layer):
    """What the reader adds to the weight of a layer: it looks up the key without its marks, ``to_out.0`` for the
    projection after attention, and multiplies up and down."""
    for key, down in load_file(file).items():
        if ".down." not in key:
            continue
        name = key.replace("processor.", "").replace("_lora.down.weight", "")
        name = name.replace("to_out", "to_out.0").replace(".temporal_transformer", "")
        name = name.replace("attention_blocks.0", "attn1").replace("attention_blocks.1", "attn2")
        if name == layer:
            return load_file(file)[key.replace(".down.", ".up.")] @ down
    raise AssertionError(f"the reader finds no {layer}")


def test_the_reader_adds_the_same_to_every_layer(tmp_path):
    adapter = write_adapter(tmp_path / "run", LAYERS)
    file = write_animatediff_evolved(adapter, tmp_path / "motion.safetensors")
    assert len(load_file(file)) == 2 * len(LAYERS)
    for layer in LAYERS:
        up, down = (adapter.tensors[f"{layer}.lora_{side}.weight"] for side in "BA")
        torch.testing.assert_close(readers_update(file, layer), 2.0 * up @ down)  # alpha 6 of rank 3


def test_a_name_is_the_one_of_published_motion_adapters():
    layer = "down_blocks.0.motion_modules.0.transformer_blocks.0.attn1.to_out.0"
    assert animatediff_evolved_layer(layer) == (
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_out"
    )


@pytest.mark.parametrize(
    "layer",
    (
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "down_blocks.0.motion_modules.0.transformer_blocks.0.ff.net.2",
        "down_blocks.0.motion_modules.0.proj_in",
    ),
)
def test_a_layer_that_the_reader_does_not_know_is_refused(tmp_path, layer):
    adapter = write_adapter(tmp_path / "run", [*LAYERS, layer])
    with pytest.raises(ConfigError, match=f"1 layers besides.*{layer}.*targets=motion"):
        write_animatediff_evolved(adapter, tmp_path / "motion.safetensors")
    assert not (tmp_path / "motion.safetensors").exists()


def test_the_command_writes_the_file_and_never_replaces_one(tmp_path):
    folder, file = write_adapter(tmp_path / "run", LAYERS).path, tmp_path / "motion.safetensors"
    arguments = ["export", str(folder), "--to", "animatediff-evolved", "--output", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    before = file.read_bytes()
    with pytest.raises(UserError, match="exists. Give another file"):
        write_export(folder, "animatediff-evolved", file)
    assert file.read_bytes() == before


def test_an_unknown_format_and_another_ending_are_refused(tmp_path):
    folder = write_adapter(tmp_path / "run", LAYERS).path
    with pytest.raises(ConfigError, match="no format 'animatedif-evolved'.*animatediff-evolved"):
        write_export(folder, "animatedif-evolved", tmp_path / "motion.safetensors")
    with pytest.raises(UserError, match="--output motion.safetensors"):
        write_export(folder, "animatediff-evolved", tmp_path / "motion.ckpt")
