"""docs/one-step.md leads to the right lines, and the path that it describes is the path that a step takes."""

import sys
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import diffalign
from diffalign.training.loop import train
from tests.one_step import PAGE, definitions, links
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.step.test_sums_of_losses import recipe as text_recipe
from tests.training.tiny_runs import tiny_recipe

PACKAGE = Path(diffalign.__file__).parent
MOST_CALLS = 7


@pytest.mark.parametrize("link", links(), ids=lambda link: f"{link.path}:{link.name}")
def test_every_link_leads_to_the_line_of_its_name(link):
    line = definitions(link.path).get(link.name)
    assert line is not None, f"{PAGE.name} links {link.name}, but {link.path} does not define it; link where it is now"
    assert link.line == line, f"{link.name} is at line {line} of {link.path}; type: python -m tests.one_step"


def test_every_link_of_the_page_is_checked():
    assert len(links()) == PAGE.read_text(encoding="utf-8").count("](../") > 30


def calls_to_the_network(recipe, pairs):
    """The functions of the package from train() to the first call of the policy's network with a gradient."""
    paths = []

    def note(module, inputs):
        stack = traceback.extract_stack(sys._getframe(1))
        names = [frame.name for frame in stack if Path(frame.filename).is_relative_to(PACKAGE)]
        if "training_step" in names and torch.is_grad_enabled():
            paths.append(names)

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        train(recipe, pairs=pairs)
    finally:
        handle.remove()
    return paths[0]


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm") / "model")


@pytest.mark.parametrize("medium", ["image", "text"])
def test_the_network_is_reached_from_train_in_a_few_calls_that_the_page_names(medium, sd, llm, pairs, tmp_path):
    if medium == "image":
        path = calls_to_the_network(tiny_recipe(sd, tmp_path / "run"), pairs)
    else:
        path = calls_to_the_network(text_recipe(llm, tmp_path / "run"), text_pairs(4))
    assert path[:5] == ["train", "training_step", "gradients", "micro_batch_step", "pair_logps"]
    assert len(path) - 1 <= MOST_CALLS, path
    named = {link.name.rpartition(".")[2] for link in links()}
    assert set(path) <= named, path
