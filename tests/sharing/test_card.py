"""Model cards: front matter that the hub can read, examples that are shown literally, and snippets that run."""

import re

import numpy as np
import pytest
import yaml

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.sharing.card import Card, write_card
from diffalign.sharing.card_templates import image_style, language_style, show_images
from diffalign.sharing.peft_folder import save_peft
from diffalign.sharing.public_name import is_hub_name, public_name
from tests.policies.conftest import shake
from tests.sharing.test_peft_folder import trained
from tests.tiny_text import tiny_llm


def fields(path):
    return yaml.safe_load(path.read_text().split("---\n")[1])


CARD = Card(
    method="diffusion-dpo",
    datasets=["yuvalkirstain/pickapic_v2"],
    training={"beta": 5000.0, "steps": 200},
    evaluation=[{"scorer": "pickscore", "win rate": 0.612, "interval": "0.58 to 0.64"}, {"scorer": "a|b"}],
)


def test_the_front_matter_names_base_tags_and_images(tmp_path):
    image = tmp_path / "fox.png"
    image.write_bytes(b"png")
    base, weights = "stabilityai/stable-diffusion-xl-base-1.0", "pytorch_lora_weights.safetensors"
    style = image_style(base, "StableDiffusionXLPipeline", weights)
    card = Card(**{**vars(CARD), "examples": [("a fox", image)]})
    path = write_card(tmp_path / "my-lora", style, card)
    front, text = fields(path), path.read_text()
    assert front["base_model"] == base and front["datasets"] == ["yuvalkirstain/pickapic_v2"]
    assert (front["library_name"], front["base_model_relation"]) == ("diffusers", "adapter")
    assert {"lora", "template:sd-lora", "stable-diffusion-xl", "diffusion-dpo"} <= set(front["tags"])
    assert front["widget"] == [{"text": "a fox", "output": {"url": "images/example_0.png"}}]
    assert (tmp_path / "my-lora" / "images" / "example_0.png").read_bytes() == b"png"
    assert "| pickscore | 0.612 | 0.58 to 0.64 |" in text and "a\\|b" in text and "| beta | 5000 |" in text
    assert "# my-lora" in text and text.index("<Gallery />") < text.index("## Use")


def test_clips_are_copied_beside_the_card_and_play_in_its_gallery(tmp_path):
    clip = write_clip(tmp_path / "fox.webp", Clip(np.arange(8 * 48, dtype=np.uint8).reshape(8, 4, 4, 3), 8.0))
    shown = show_images(tmp_path / "card", [("a fox, leftwards", clip)])
    assert shown.widget == [{"text": "a fox, leftwards", "output": {"url": "images/example_0.webp"}}]
    assert open_clip(tmp_path / "card" / "images" / "example_0.webp") == open_clip(clip)


def test_a_whole_pipeline_is_no_adapter(tmp_path):
    path = write_card(tmp_path, image_style("org/base", "StableDiffusionPipeline", None), CARD)
    assert fields(path)["base_model_relation"] == "finetune" and "lora" not in fields(path)["tags"]
    assert "load_lora_weights" not in path.read_text() and "widget" not in fields(path)


def test_a_language_adapter_is_found_under_peft_and_text_generation(tmp_path):
    card = Card(method="dpo", examples=[("Why?", "Because.\nOf that."), ("Who?", tmp_path / "who.txt")])
    (tmp_path / "who.txt").write_text("Nobody.")
    path = write_card(tmp_path / "out", language_style("org/base", True), card)
    front, text = fields(path), path.read_text()
    assert (front["library_name"], front["pipeline_tag"]) == ("peft", "text-generation")
    assert front["base_model_relation"] == "adapter" and {"lora", "dpo"} <= set(front["tags"])
    assert front["widget"][1] == {"text": "Who?", "output": {"text": "Nobody."}}
    assert "**Why?**\n\n> Because.  \n> Of that." in text
    whole = write_card(tmp_path / "whole", language_style("org/base", False), CARD)
    assert (fields(whole)["library_name"], fields(whole)["base_model_relation"]) == ("transformers", "finetune")
    assert "peft" not in whole.read_text()


def test_texts_of_a_model_are_shown_literally_on_its_card(tmp_path):
    hostile = "---\n# Not a *heading*\n<script>x</script>\n```\n[link](http://x)\n" + "long " * 1000
    path = write_card(tmp_path, language_style("base", True), Card(method="dpo", examples=[("a\n# b <|x|>", hostile)]))
    shown = path.read_text().partition("## Examples")[2].strip().splitlines()
    assert shown[0] == r"**a # b &lt;\|x\|&gt;**" and len(path.read_text()) < 10_000 + len(hostile)
    assert all(line.startswith("> ") for line in shown[2:])
    assert [line.strip() for line in shown[2:7]] == [
        r"> \---", r"> \# Not a \*heading\*", "> &lt;script&gt;x&lt;/script&gt;", r"> \`\`\`", r"> \[link\](http://x)"
    ]  # fmt: skip


def test_the_snippet_of_images_runs_in_plain_diffusers(make, sd, tmp_path):
    shake(make()).save(tmp_path / "out", {})
    style = image_style(str(sd), "StableDiffusionPipeline", "pytorch_lora_weights.safetensors")
    code = style.snippet(str(tmp_path / "out"))
    code = re.sub(r'pipeline\("[^"]*"\)', 'image = pipeline("a fox", num_inference_steps=1)', code)
    names: dict = {}
    exec(code + "\n", names)
    assert names["image"].size == (16, 16)


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("chat", [True, False])
def test_the_snippet_of_texts_runs_in_plain_peft_and_transformers(tmp_path, capsys, adapter, chat):
    base = tiny_llm(tmp_path / "base", chat=chat)
    folder = save_peft(trained(base), tmp_path / "out", {}) if adapter else base
    code = language_style(str(base), adapter, chat=chat).snippet(str(folder)).replace("=128", "=3")
    exec(code + "\n", {})
    assert "Why is the sky blue?" in capsys.readouterr().out


@pytest.mark.parametrize("style", [language_style("my-model", True), image_style("my-model", "X", "x.safetensors")])
def test_a_local_base_and_local_data_are_named_but_not_linked(tmp_path, style):
    (tmp_path / "my pairs").mkdir()
    card = Card(method="dpo", datasets=[str(tmp_path / "my pairs"), "org/pairs"], training={"steps": 3})
    path = write_card(tmp_path, style, card)
    front, text = fields(path), path.read_text()
    assert "base_model" not in front and "base_model_relation" not in front and front["datasets"] == ["org/pairs"]
    assert "`my-model`" in text and "| data | my pairs, org/pairs |" in text and str(tmp_path) not in text


def test_names_from_outside_are_shown_literally_on_a_card(tmp_path):
    evil = 'a`b``<b>|[x](http://y)\n# c\x1b[31m"; import os'
    rows = [{"measured": f"win by {evil}", "result": "<i>1</i>", evil: evil}]
    card = Card(method=evil, datasets=[evil], training={evil: evil}, evaluation=rows)
    for style in (language_style(evil, True), image_style(evil, "StableDiffusionPipeline", "x.safetensors")):
        path = write_card(tmp_path / "# <b>_out_", style, card)
        text, front = path.read_text(), fields(path)
        body = text.split("---\n", 2)[2]
        assert front["tags"][-1] == evil and "\x1b" not in text and "base_model" not in front
        code = body.partition("```python\n")[2].partition("\n```")[0]
        compile(code, "snippet", "exec")
        assert "import os" not in [line.strip() for line in code.splitlines()]
        outside = body.replace(code, "").replace(body.partition(" `")[2].partition(", aligned")[0], "")
        assert not re.search(r"<b>|<i>|(?<!\\)\]\(", outside) and "\n# c" not in outside
        assert r"# &lt;b&gt;\_out\_" in body


def test_a_folder_of_the_hubs_cache_has_its_hub_name(tmp_path):
    folder = tmp_path / "models--org--base" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    assert public_name(str(folder)) == "org/base" and public_name("org/base") == "org/base"
    assert (
        public_name(str(tmp_path / "models--org--base")) == "org/base" and public_name(str(tmp_path)) == tmp_path.name
    )
    assert is_hub_name("org/base-1.0_x") and not any(
        map(is_hub_name, ("base", "a/b/c", "../x", "a b/c", "a/b\n", "/x"))
    )
