"""A run of two processes is that of one: the same losses step by step, and either resumes what the other has left."""

import json

import pytest
import torch
import yaml

from diffalign.training.loop import train
from diffalign.training.recipe.load import load_recipe
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import text_pairs, tiny_llm
from tests.tiny_video import tiny_animatediff, tiny_clip_pairs
from tests.training.test_text import records
from tests.two_processes import in_two_processes

pytestmark = pytest.mark.long
SEPPO = {"name": "checkpoint", "every": 2, "select": "latest", "steps": 2, "guidance": 2.0, "batch": 2}
ROUNDS = {"name": "rounds", "judge": "length", "every": 2, "answers": 3, "max_new_tokens": 6, "replay": 0.3}
RUNS = {
    "text": ("text", {}),
    "text-fast-slow": ("text", {"train": {"fast_slow": {"interval": 2}}}),
    "text-rounds": ("text", {"pairs": ROUNDS}),
    "image": ("image", {}),
    "image-buckets": ("image", {"model": {"buckets": True}}),
    "image-fast-slow": ("image", {"train": {"fast_slow": {"interval": 2}}}),
    "image-seppo": ("image", {"pairs": SEPPO, "labels": "seppo_gate", "model": {"flip": "none"}}),
    "video": ("video", {}),
}
MODELS = {"text": tiny_llm, "image": tiny_sd, "video": tiny_animatediff}


@pytest.fixture(scope="module", params=RUNS)
def written(request, tmp_path_factory):
    """A function that writes the recipe of a kind of run, with its data beside it."""
    medium, changes = RUNS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    model = MODELS[medium](root / "model")
    pairs = {"text": lambda: text_pairs(8), "image": lambda: tiny_pairs(root / "files", 8)}
    pairs = pairs.get(medium, lambda: tiny_clip_pairs(root / "files", 8))()
    rows = [{"prompt": pair.prompt, "chosen": str(pair.chosen), "rejected": str(pair.rejected)} for pair in pairs]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def write(name, steps=4):
        values = {
            "model": {"kind": medium, "path": str(model), "cache": str(root / name / "cache"), "adapter": {"rank": 2}},
            "data": {"train": str(root / "pairs.jsonl")},
            "loss": {"name": "logistic", "beta": 10.0},
            "train": {"steps": steps, "batch_size": 4, "learning_rate": 1e-3, "mixed_precision": "no"},
            "log": {"every": 1},
            "checkpoint": {"every": 2},
            "guard": {"action": "off"},
            "output": str(root / name / "run"),
        }
        for key, value in changes.items():
            values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
        path = root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path, root / name / "run"

    return write


def weights(run):
    from safetensors.torch import load_file

    return load_file(next((run / "result").rglob("*.safetensors")))


def by_two(*commands):
    for statuses, printed in in_two_processes(*commands):
        assert statuses == [0, 0], printed


def check_alike(run, other):
    assert [record["loss"] for record in records(run)] == pytest.approx(
        [record["loss"] for record in records(other)], rel=2e-5, abs=1e-5
    )
    one, two = weights(run), weights(other)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


def test_two_processes_have_the_losses_of_one_and_either_resumes_the_others_run(written):
    alone, run = written("one")
    train(load_recipe(alone))
    together, shared = written("two")
    half, begun_by_two = written("two-then-one", steps=2)
    first, begun_by_one = written("one-then-two", steps=2)
    train(load_recipe(first))
    by_two(["train", together], ["train", half])
    check_alike(run, shared)
    train(load_recipe(written("two-then-one")[0]), resume=True)
    check_alike(run, begun_by_two)
    by_two(["train", written("one-then-two")[0], "--resume"])
    check_alike(run, begun_by_one)
