"""Model cards: front matter that the hub can read, and a snippet that runs."""

import re

import yaml

from diffalign.sharing.card import snippet, write_card
from tests.policies.conftest import shake


def fields(path):
    return yaml.safe_load(path.read_text().split("---\n")[1])


def test_the_front_matter_names_base_tags_and_pictures(tmp_path):
    path = write_card(
        tmp_path / "my-lora",
        base_model="stabilityai/stable-diffusion-xl-base-1.0",
        method="diffusion-dpo",
        pipeline="StableDiffusionXLPipeline",
        license="openrail++",
        datasets=["yuvalkirstain/pickapic_v2"],
        training={"beta": 5000.0, "steps": 200},
        evaluation=[{"scorer": "pickscore", "win rate": 0.612, "interval": "0.58 to 0.64"}, {"scorer": "a|b"}],
        prompts=["a fox"],
        images=["images/0.png"],
    )
    front, text = fields(path), path.read_text()
    assert front["base_model"] == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (front["license"], front["library_name"], front["base_model_relation"]) == (
        "openrail++",
        "diffusers",
        "adapter",
    )
    assert {"lora", "template:sd-lora", "stable-diffusion-xl", "diffusion-dpo"} <= set(front["tags"])
    assert front["widget"] == [{"text": "a fox", "output": {"url": "images/0.png"}}]
    assert "| pickscore | 0.612 | 0.58 to 0.64 |" in text and "a\\|b" in text and "| beta | 5000 |" in text
    assert text.index("<Gallery />") < text.index("## Use")


def test_a_whole_model_is_no_adapter(tmp_path):
    path = write_card(tmp_path, base_model="base", method="diffusion-dpo", weight_name=None)
    assert fields(path)["base_model_relation"] == "finetune" and "lora" not in fields(path)["tags"]
    assert "load_lora_weights" not in path.read_text()


def test_the_snippet_runs_in_plain_diffusers(make, sd, tmp_path):
    shake(make()).save(tmp_path / "out", {})
    code = snippet(str(sd), "StableDiffusionPipeline", "pytorch_lora_weights.safetensors", str(tmp_path / "out"))
    code = re.sub(r'pipeline\("[^"]*"\)', 'picture = pipeline("a fox", num_inference_steps=1)', code)
    names: dict = {}
    exec(code + "\n", names)
    assert names["picture"].size == (16, 16)
