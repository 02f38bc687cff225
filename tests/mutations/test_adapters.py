"""Faulty adapters: whatever a file or folder holds, describing, merging and loading read it or refuse in a sentence."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.sharing.merge import merge_deltas, read_delta
from diffalign.sharing.peft_folder import CONFIG, FACTS, WEIGHTS, save_peft
from diffalign.sharing.read_adapter import load_into, read_info
from tests.mutations import mutated_bytes, mutated_folders, mutated_json, try_all
from tests.tiny_text import tiny_model

ABOUT = {"method": "dpo", "beta": 0.1, "base_model": "base", "base_fingerprint": "12345678", "eval": {"wins": 0.6}}


@pytest.fixture(scope="module")
def model():
    """A network with an adapter."""
    module = tiny_model("llama")
    add_adapter(module, AdapterConfig(rank=2))
    return module


@pytest.fixture
def use(model):
    """Does with an adapter what the commands do."""

    def use(path):
        adapter = read_delta(path)
        assert read_info(path)["rank"] == adapter.shape.rank
        merge_deltas([adapter, adapter], [0.25, 0.75])
        load_into(model, adapter, base=("12345678", "base"))
        values = [value for name, value in model.named_parameters() if ".lora_" in name]
        assert all(bool(value.isfinite().all()) for value in values), "a value that is no number was loaded"

    return use


def file_of_diffusers(folder, target):
    """The folder's adapter in one file, as diffusers names it, so that both formats are mutated alike."""
    tensors = {key.replace("base_model.model", "transformer"): value for key, value in load_file(folder).items()}
    config = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    packed = {f"transformer.{key}": value for key, value in config.items()}
    metadata = {"lora_adapter_metadata": json.dumps(packed), "diffalign.beta": "0.1", "diffalign.method": "dpo"}
    save_file(tensors, target, metadata=metadata)
    return packed, metadata, tensors


def test_mutated_adapter_files(model, use, tmp_path):
    folder, file = save_peft(model, tmp_path / "good", ABOUT), tmp_path / "adapter.safetensors"
    packed, metadata, tensors = file_of_diffusers(folder / WEIGHTS, file)
    use(file)
    content = file.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]

    def inputs():
        for name, mutated in mutated_bytes(content, 42, seed=0):
            yield name, mutated
        for name, mutated in mutated_bytes(content[8:header], 42, seed=1):
            yield f"header: {name}", struct.pack("<Q", len(mutated)) + mutated + content[header:]
        for name, said in mutated_json(packed, 60, seed=2):
            text = said.decode("utf-8", "replace")
            save_file(tensors, file, metadata={**metadata, "lora_adapter_metadata": text})
            yield f"metadata: {name}", file.read_bytes()

    def read(mutated):
        file.write_bytes(mutated)
        use(file)

    try_all("adapter files", read, inputs()).check()


def test_mutated_tensors_of_adapters(model, use, tmp_path):
    folder, file = save_peft(model, tmp_path / "good", ABOUT), tmp_path / "adapter.safetensors"
    _, metadata, tensors = file_of_diffusers(folder / WEIGHTS, file)
    changes = {
        "transposed": lambda value: value.T.contiguous(),
        "flat": lambda value: value.reshape(-1),
        "one number": lambda value: value.sum(),
        "empty": lambda value: value[:0],
        "another rank": lambda value: torch.cat([value, value]),
        "another axis": lambda value: value[None].contiguous(),
        "whole numbers": lambda value: value.long(),
        "truths": lambda value: value > 0,
        "complex": lambda value: value.to(torch.complex64),
        "not a number": lambda value: value * float("nan"),
        "infinite": lambda value: value + float("inf"),
        "huge": lambda value: torch.full_like(value, 3e38),
        "halves": lambda value: value.half(),
        "eighths": lambda value: value.to(torch.float8_e4m3fn),
    }

    def inputs():
        for name, change in changes.items():
            for key in sorted(tensors)[:4]:
                yield f"{name} {key}", {**tensors, key: change(tensors[key])}
        for key in sorted(tensors)[:4]:
            rest = {name: value for name, value in tensors.items() if name != key}
            for other in ("x", f"unet.{key}", f"text_encoder.{key}", f"{key}.alpha", key.upper(), f"transformer.{key}"):
                yield f"{key} is called {other}", {**rest, other: tensors[key]}

    def read(mutated):
        save_file(mutated, file, metadata=metadata)
        use(file)

    try_all("sets of tensors", read, inputs()).check()


def test_mutated_adapter_folders(model, use, tmp_path):
    folder, copies = save_peft(model, tmp_path / "good", ABOUT), tmp_path / "copies"
    copies.mkdir()
    use(folder)
    try_all("adapter folders", use, mutated_folders(folder, copies, 40, seed=0)).check()
    for name, count in ((CONFIG, 80), (FACTS, 30)):
        value = json.loads((folder / name).read_text())

        def read(content, path=folder / name):
            path.write_bytes(content)
            use(folder)

        try_all(f"files {name}", read, mutated_json(value, count, seed=3)).check()
        (folder / name).write_text(json.dumps(value))
