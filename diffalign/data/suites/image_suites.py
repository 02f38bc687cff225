"""Suites of prompts for images, one row each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from diffalign.data.suites.layouts import lines_of, table_of, text_list
from diffalign.data.suites.suite import Suite, SuitePrompt
from diffalign.errors import DataError, UserError
from diffalign.files.json_lines import numbered_lines
from diffalign.files.text_files import is_file

HPD_STYLES = ("anime", "concept-art", "paintings", "photo")
"""The four styles of the HPDv2 benchmark; ``drawbench.json`` beside them is a suite of its own."""
_SPLIT = re.compile(r"(?P<category>.+)_(?P<split>train|val|test)")


def read_parti_prompts(path: Path) -> Iterator[SuitePrompt]:
    """Yields the prompts of ``PartiPrompts.tsv``: cells are separated by tabs, and quotation marks are part of a text
    (``"G I G G L E" painted in ...``), so this is no quoted table.
    """
    if not is_file(path):
        raise UserError(f"there is no file '{path}'. Give PartiPrompts.tsv as it is published.")
    header: list[str] = []
    for number, line in numbered_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if not header:
            header = [cell.lower() for cell in cells]
            if not {"prompt", "category", "challenge"} <= set(header):
                raise DataError(
                    f"'{path}' begins with {line[:80]!r}, not with the columns Prompt, Category and Challenge. Give "
                    "PartiPrompts.tsv as it is published, with tabs between the cells."
                )
            continue
        row = dict(zip(header, cells, strict=False))
        if len(cells) < 3 or not row["prompt"]:
            raise DataError(f"{path}, line {number}: expected a prompt and its categories, got {line[:80]!r}.")
        yield SuitePrompt(row["prompt"], {name: (row[name],) for name in ("category", "challenge")}, row)


def read_hpdv2(path: Path) -> Iterator[SuitePrompt]:
    """Yields the prompts of one style (``anime.json``), or of the four styles of a folder."""
    files = [path / f"{style}.json" for style in HPD_STYLES] if path.is_dir() else [path]
    for file in files:
        if not is_file(file):
            raise UserError(
                f"there is no file '{file}'. The benchmark of HPDv2 is a folder with {', '.join(HPD_STYLES)} as .json, "
                "or one of these files."
            )
        yield from text_list(file, {"style": (file.stem,)})


def read_t2i_compbench(path: Path) -> Iterator[SuitePrompt]:
    """Yields the prompts of one file (``color_val.txt``), or of a folder: its ``_val`` files, else ``_train``."""
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*_val.txt")) or sorted(path.glob("*_train.txt"))
    if not files or not is_file(files[0]):
        raise UserError(
            f"there is no file of prompts at '{path}'. T2I-CompBench is a folder of files such as color_val.txt, or "
            "one of them."
        )
    for file in files:
        match = _SPLIT.fullmatch(file.stem)
        category, split = (match["category"], (match["split"],)) if match else (file.stem, ())
        yield from lines_of(file, {"category": (category,), **({"split": split} if split else {})})


IMAGE_SUITES = (
    Suite(
        "parti_prompts",
        read_parti_prompts,
        "PartiPrompts.tsv: Prompt, Category, Challenge, Note",
        ("category", "challenge"),
        1632,
        "image",
        "Apache-2.0",
        "github.com/google-research/parti",
        "Yu et al. 2022, arXiv 2206.10789",
    ),
    Suite(
        "hpdv2",
        read_hpdv2,
        "a folder with anime.json, concept-art.json, paintings.json, photo.json, or one of them: lists of texts",
        ("style",),
        3200,
        "image",
        "Apache-2.0",
        "huggingface.co/datasets/ymhao/HPDv2, benchmark/",
        "Wu et al. 2023, arXiv 2306.09341",
    ),
    Suite(
        "pickapic",
        table_of(prompt=("caption",)),
        "a table of Pick-a-Pic, such as the parquet files of test_unique: caption",
        (),
        500,
        "image",
        "MIT",
        "huggingface.co/datasets/yuvalkirstain/pickapic_v2, split test_unique",
        "Kirstain et al. 2023, arXiv 2305.01569",
    ),
    Suite(
        "drawbench",
        table_of(prompt=("Prompts", "prompts", "Prompt", "prompt"), categories=("category",)),
        "drawbench.csv: Prompts, Category",
        ("category",),
        200,
        "image",
        "see the paper",
        "imagen.research.google, the table beside the paper",
        "Saharia et al. 2022, arXiv 2205.11487",
    ),
    Suite(
        "t2i_compbench",
        read_t2i_compbench,
        "a folder with color_val.txt, shape_val.txt, ..., or one of them: a prompt per line",
        ("category", "split"),
        2400,
        "image",
        "MIT",
        "github.com/Karine-Huang/T2I-CompBench, examples/dataset/",
        "Huang et al. 2023, arXiv 2307.06350",
    ),
    Suite(
        "geneval",
        table_of(prompt=("prompt",), categories=("tag",)),
        "evaluation_metadata.jsonl: tag, include, exclude, prompt",
        ("tag",),
        553,
        "image",
        "MIT",
        "github.com/djghosh13/geneval, prompts/",
        "Ghosh et al. 2023, arXiv 2310.11513",
    ),
    Suite(
        "emoji",
        table_of(prompt=("prompt",), categories=("tag", "background", "place", "style")),
        "assets/emoji/prompts/facts.jsonl: prompt, tag, and what its image has to show",
        ("tag", "background", "place", "style"),
        300,
        "image",
        "Apache-2.0",
        "this repository, made by pipelines/embedded/facts.py",
        "none: the embedded model's own grammar",
    ),
)
