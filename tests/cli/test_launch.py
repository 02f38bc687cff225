"""Several processes, started by torch's launcher: the same adapter as one process, for images, clips and texts.

`accelerate launch` calls the same launcher for several GPUs; for CPUs it always starts a single process.
"""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import chat_pairs, tiny_llm
from tests.tiny_video import FRAMES, tiny_clip_pairs, tiny_motion


def adapter(recipe: dict, folder, processes: int = 1) -> dict[str, torch.Tensor]:
    recipe = {**recipe, "output": str(folder)}
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "diffalign", "train", str(path)]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command[2:2] = ["torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", port, "-m"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=850)
    assert done.returncode == 0, done.stderr[-3000:]
    # One header: processes that do not find each other would each write their own.
    assert re.findall(r"pairs a step = (\d+) process", " ".join(done.stderr.split())) == [str(processes)]
    (file,) = (folder / "result").glob("*.safetensors")
    return load_file(file)


def images(folder):
    """A tiny image model and pairs of images."""
    rows = [
        {"prompt": pair.prompt, "chosen_file_name": pair.chosen.name, "rejected_file_name": pair.rejected.name}
        for pair in tiny_pairs(folder / "pairs", 4)
    ]
    (folder / "pairs" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tiny_sd(folder / "model"), folder / "pairs", {"beta": 500.0}, {}


def clips(folder):
    """A tiny image model with a motion adapter, and pairs of clips."""
    rows = [
        {"prompt": pair.prompt, "chosen_file_name": pair.chosen.name, "rejected_file_name": pair.rejected.name}
        for pair in tiny_clip_pairs(folder / "pairs", 4)
    ]
    (folder / "pairs" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    video = {"motion": str(tiny_motion(folder / "motion")), "clip": {"frames": FRAMES}}
    return tiny_sd(folder / "model"), folder / "pairs", {"beta": 500.0}, video


def texts(folder):
    """A tiny chat model and pairs of answers of varied lengths."""
    rows = [
        {"prompt": pair.prompt.rows(), "chosen": pair.chosen.rows(), "rejected": pair.rejected.rows()}
        for pair in chat_pairs(4)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tiny_llm(folder / "model"), folder / "pairs.jsonl", {"beta": 0.1}, {}


def with_cache(recipe, folder):
    return {**recipe, "model": {**recipe["model"], "cache": str(folder)}}


def cached(folder) -> dict[str, torch.Tensor]:
    """The tensors of every shard of a cache, by their place in it."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name}/{name}": value for file in files for name, value in load_file(file).items()}


def shown_losses(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("parts", [images, pytest.param(clips, marks=pytest.mark.long), texts])
def test_two_launched_processes_train_the_adapter_of_one(tmp_path, parts):
    model, pairs, hyper, settings = parts(tmp_path)
    recipe = {
        "model": {"path": str(model), "adapter": {"rank": 2}, **settings},
        "data": {"train": str(pairs)},
        "loss": {"name": "logistic", **hyper},
        # Plain gradient steps: Adam would make a difference in sign out of a gradient's rounding.
        "train": {"steps": 2, "batch_size": 4, "learning_rate": 1e-2, "optimizer": "sgd", "mixed_precision": "no"},
        "guard": {"action": "off"},
    }
    one = adapter(with_cache(recipe, tmp_path / "cache-1"), tmp_path / "one")
    two = adapter(with_cache(recipe, tmp_path / "cache-2"), tmp_path / "two", processes=2)
    latents, again = cached(tmp_path / "cache-1"), cached(tmp_path / "cache-2")
    assert latents.keys() == again.keys() and all(torch.equal(value, again[name]) for name, value in latents.items())
    # Other draws of level or noise would be another loss.
    assert shown_losses(tmp_path / "two") == pytest.approx(shown_losses(tmp_path / "one"), rel=1e-5)
    assert set(one) == set(two)
    moved = max(float(one[name].abs().max()) for name in one if "up" in name or "lora_B" in name)
    assert moved > 1e-5
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)
