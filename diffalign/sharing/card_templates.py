"""Card styles of image and language models: metadata for the hub, a usage snippet, and the display of examples."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from diffalign.files.atomic import write_atomically
from diffalign.sharing.card import CardExamples, CardStyle, Example
from diffalign.sharing.markdown import escape, literal

IMAGES = ("text-to-image", "diffusers", "diffusers-training")
ADAPTED_IMAGES = (*IMAGES, "lora", "template:sd-lora")
MAX_CHARACTERS = 1200  # of an example's text on a card


def image_style(base_model: str, pipeline: str, weight_name: str | None) -> CardStyle:
    """Returns the style of an adapter that diffusers loads into ``pipeline``, or of a whole pipeline (``weight_name``
    None).
    """
    family = "stable-diffusion-xl" if "XL" in pipeline else "stable-diffusion"

    def snippet(name: str) -> str:
        lines = [f"from diffusers import {pipeline}", ""]
        if weight_name is None:
            lines.append(f"pipeline = {pipeline}.from_pretrained({literal(name)})")
        else:
            lines.append(f"pipeline = {pipeline}.from_pretrained({literal(base_model)})")
            lines.append(f"pipeline.load_lora_weights({literal(name)}, weight_name={literal(weight_name)})")
        return "\n".join([*lines, 'pipeline("a galaxy-colored figurine floating over the sea").images[0]'])

    return CardStyle(
        base_model=base_model,
        adapter=weight_name is not None,
        library="diffusers",
        task="text-to-image",
        tags=(*(IMAGES if weight_name is None else ADAPTED_IMAGES), family, f"{family}-diffusers"),
        snippet=snippet,
        show=show_images,
    )


def language_style(base_model: str, adapter: bool, *, chat: bool = False) -> CardStyle:
    """Returns the style of an adapter that peft loads, or of a whole causal language model.

    Args:
        base_model: Hub name of the base, or another name.
        adapter: Whether the folder holds an adapter.
        chat: Whether prompts go through the tokenizer's chat template.
    """

    def snippet(name: str) -> str:
        base = literal(base_model if adapter else name)
        lines = ["from peft import PeftModel"] if adapter else []
        lines += ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
        lines += [f"tokenizer = AutoTokenizer.from_pretrained({base})"]
        lines += [f"model = AutoModelForCausalLM.from_pretrained({base})"]
        lines += [f"model = PeftModel.from_pretrained(model, {literal(name)})"] if adapter else []
        lines += [CHAT if chat else PLAIN, "answer = model.generate(**inputs, max_new_tokens=128)"]
        return "\n".join([*lines, "print(tokenizer.decode(answer[0], skip_special_tokens=True))"])

    return CardStyle(
        base_model=base_model,
        adapter=adapter,
        library="peft" if adapter else "transformers",
        task="text-generation",
        tags=("lora", "transformers") if adapter else ("text-generation",),
        snippet=snippet,
        show=show_texts,
    )


PLAIN = 'inputs = tokenizer("Why is the sky blue?", return_tensors="pt")'
CHAT = """\
inputs = tokenizer.apply_chat_template(
    [{"role": "user", "content": "Why is the sky blue?"}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
)"""


def show_images(folder: Path, examples: Sequence[Example]) -> CardExamples:
    """Copies the images or clips into ``folder/images`` and shows them in the hub's gallery."""
    widget = []
    for number, (prompt, image) in enumerate(examples):
        name = f"images/example_{number}{Path(image).suffix}"
        (Path(folder) / "images").mkdir(parents=True, exist_ok=True)
        write_atomically(Path(folder) / name, partial(shutil.copyfile, image))
        widget.append({"text": prompt, "output": {"url": name}})
    return CardExamples(widget=widget, above="<Gallery />")


def show_texts(folder: Path, examples: Sequence[Example]) -> CardExamples:
    """Quotes the texts, or the contents of text files."""
    texts = [
        (prompt, answer.read_text(encoding="utf-8") if isinstance(answer, Path) else answer)
        for prompt, answer in examples
    ]
    quoted = [f"**{escape(' '.join(prompt.split()))}**\n\n{_quote(answer)}" for prompt, answer in texts]
    widget = [{"text": prompt, "output": {"text": answer}} for prompt, answer in texts]
    return CardExamples(widget=widget, below="\n\n".join(["## Examples", *quoted]))


def _quote(text: str) -> str:
    """Formats a text as a Markdown quotation with its own line breaks, truncated where it is long."""
    text = text.strip()
    text = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS].rstrip() + " ..."
    return "\n".join(f"> {escape(line.strip())}".rstrip() + "  " for line in text.splitlines() or [""])
