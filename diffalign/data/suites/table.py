"""The table of suites by name, and how one is read."""

from __future__ import annotations

from pathlib import Path

from diffalign.data.suites.image_suites import IMAGE_SUITES
from diffalign.data.suites.layouts import table_of
from diffalign.data.suites.suite import Suite, SuitePrompt
from diffalign.errors import DataError, UserError, near_miss

OTHER_SUITES = (
    Suite(
        "vbench",
        table_of(prompt=("prompt_en",), categories=("dimension",)),
        "VBench_full_info.json: prompt_en, dimension, auxiliary_info",
        ("dimension",),
        946,
        "video",
        "Apache-2.0",
        "github.com/Vchitect/VBench, vbench/",
        "Huang et al. 2023, arXiv 2311.17982",
    ),
    Suite(
        "mt_bench",
        table_of(prompt=("turns",), categories=("category",)),
        "question.jsonl: question_id, category, turns; the first turn is the prompt",
        ("category",),
        80,
        "text",
        "Apache-2.0",
        "github.com/lm-sys/FastChat, fastchat/llm_judge/data/mt_bench/",
        "Zheng et al. 2023, arXiv 2306.05685",
    ),
)
SUITES: dict[str, Suite] = {suite.name: suite for suite in (*IMAGE_SUITES, *OTHER_SUITES)}
"""Name to suite."""


def read_suite(name: str, path: str | Path) -> list[SuitePrompt]:
    """Reads a suite's file in its published layout.

    Args:
        name: A name of :data:`SUITES`.
        path: Its file, or its folder where it has one file per category.

    Raises:
        UserError: There is no such suite, or no such file.
        DataError: The file is not in the suite's layout, or holds no prompt.
    """
    if name not in SUITES:
        raise UserError(
            f"there is no suite of prompts '{name}'.{near_miss(name, SUITES)} Known: {', '.join(SUITES)}. "
            "Write @suite:NAME:FILE."
        )
    if not str(path):
        raise UserError(f"the suite '{name}' needs its file: @suite:{name}:FILE ({SUITES[name].layout}).")
    prompts = list(SUITES[name].read(Path(path).expanduser()))
    if not prompts:
        raise DataError(f"'{path}' holds no prompt. Expected {SUITES[name].layout}.")
    return prompts
