"""Gives the embedded tokenizer and text encoder a word for each motion, without touching a prompt that has none.

The new tokens come after all others (ids 796 on) and their merges after all merges, so texts without a motion are split
as before. Rows of the embedding that no token of a text names cannot change what the text encoder returns for it, so
with all other weights frozen the states of image prompts stay equal bit for bit.
"""

import json
import shutil
from pathlib import Path

import torch

from diffalign.files.json_lines import text_lines
from pipelines.embedded import word_tokenizer
from pipelines.embedded_motion.motions import MOTIONS

FIRST = {
    "leftwards": ["left"],
    "rightwards": ["right"],
    "upwards": ["top"],
    "downwards": ["bottom"],
    "growing": ["center"],
    "still": ["left", "right", "top", "bottom"],
}
"""Words of the image model whose rows a motion's row begins with. The frozen text encoder hardly shows unknown
directions: six random rows changed its states by 0.001, of a spread of 0.84; six words of places by 0.027."""


def write_tokenizer(image_tokenizer: Path, folder: Path) -> None:
    """Writes a copy of the image model's tokenizer in which each motion is one token."""
    vocabulary = json.loads((image_tokenizer / "vocab.json").read_text("utf-8"))
    lines = text_lines(image_tokenizer / "merges.txt")
    merges = {tuple(line.split(" ")): i for i, line in enumerate(lines[1:])}
    for word in MOTIONS:
        while len(pieces := word_tokenizer.split(word, merges)) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            vocabulary.setdefault(pieces[0] + pieces[1], len(vocabulary))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(image_tokenizer / name, folder / name)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    text = "\n".join([lines[0], *(" ".join(pair) for pair in merges)])
    (folder / "merges.txt").write_text(text + "\n", "utf-8")


def new_ids(tokenizer) -> list[int]:
    """Returns the tokens of the motions, in the order of `MOTIONS`."""
    return tokenizer.convert_tokens_to_ids([word + "</w>" for word in MOTIONS])


def with_words(text_encoder, tokenizer, rows: torch.Tensor):
    """Returns the text encoder with its embedding enlarged for `tokenizer`.

    Args:
        text_encoder: The image model's `CLIPTextModel`.
        tokenizer: One of `write_tokenizer`.
        rows: Embeddings of the motions ``(len(MOTIONS), width)``. Pieces of motion words, which no whole word contains,
            get their mean.
    """
    old = text_encoder.get_input_embeddings().weight.detach()
    table = rows.mean(0).expand(len(tokenizer), -1).clone()
    table[: len(old)] = old
    table[new_ids(tokenizer)] = rows
    text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        text_encoder.get_input_embeddings().weight.copy_(table)
    return text_encoder


def first_rows(text_encoder, tokenizer) -> torch.Tensor:
    """Returns rows to begin with: those of the words in `FIRST`, or their mean, ``(len(MOTIONS), width)``."""
    table = text_encoder.get_input_embeddings().weight.detach()
    ids = [tokenizer.convert_tokens_to_ids([word + "</w>" for word in FIRST[motion]]) for motion in MOTIONS]
    return torch.stack([table[row].mean(0) for row in ids])
