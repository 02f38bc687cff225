"""Builds a tokenizer in CLIP's byte-level format whose merges make each word of the grammar one token.

Unknown words are split into shorter pieces, down to single bytes, so every text can be read. The folder has
``vocab.json`` and ``merges.txt`` and loads with `transformers.CLIPTokenizer`, versions 4 and 5.
"""

import json
from pathlib import Path

from pipelines.embedded.scenes import vocabulary

LENGTH = 20  # tokens, with start and end; the longest prompt of the grammar takes 17
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_letters() -> list[str]:
    """Returns one printable letter for each of the 256 bytes, in GPT-2's and CLIP's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def split(word: str, merges: dict[tuple[str, str], int]) -> list[str]:
    """Returns the byte-pair encoding of one word: applies the earliest merge first, until none applies."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    while pairs := [
        (merges[pair], i) for i, pair in enumerate(zip(pieces, pieces[1:], strict=False)) if pair in merges
    ]:
        _, i = min(pairs)
        pieces[i : i + 2] = ["".join(pieces[i : i + 2])]
    return pieces


def build(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Returns vocabulary and merges that make each of `words` a single token.

    A new merge ranks after all earlier ones, so it applies only after the merges of the earlier words.
    """
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = split(word, merges)
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            pieces = split(word, merges)
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys("".join(pair) for pair in merges)]
    return {token: i for i, token in enumerate([*tokens, START, END])}, list(merges)


def save(folder: Path) -> None:
    """Writes the tokenizer's folder."""
    vocab, merges = build(vocabulary())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n", "utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    config = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def load(folder: Path):
    """Loads the tokenizer as `CLIPTokenizer`; writes its folder first if it is missing."""
    from transformers import CLIPTokenizer

    if not (folder / "vocab.json").exists():
        save(folder)
    return CLIPTokenizer.from_pretrained(folder)


def text_config(tokenizer, **sizes):
    """Returns a `CLIPTextConfig` for this tokenizer."""
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
