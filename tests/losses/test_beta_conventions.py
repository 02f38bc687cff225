"""Restated betas: the same sigmoid, whoever wrote it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.losses import equivalent_betas
from diffalign.losses.beta_conventions import CONVENTIONS

SD15, SDXL = 4 * 64 * 64, 4 * 128 * 128


@pytest.mark.parametrize(
    "beta, elements, name, printed",
    [
        (2000.0, SD15, "sum", "0.061"),
        (5000.0, SD15, "sum", "0.153"),
        (5000.0, SDXL, "sum", "0.038"),
        (5000.0, SD15, "mean", "2500.000"),
        (5000.0, SD15, "sum_half", "0.305"),
        (2000.0, SD15, "mean_half", "2000.000"),
    ],
)
def test_the_known_betas_come_out(beta, elements, name, printed):
    assert f"{equivalent_betas(beta, elements=elements)[name].value:.3f}" == printed


def test_a_beta_of_the_diffusers_script_is_half_of_ours():
    assert equivalent_betas(2500.0, convention="mean", elements=SD15)["mean_half"].value == 5000.0


def test_every_restated_beta_gives_the_same_argument_of_the_sigmoid():
    gap = torch.tensor(
        [0.3, -0.2, 0.05, 0.11], dtype=torch.float64
    )  # squared errors chosen minus rejected, per element
    inside = {
        "mean_half": lambda beta: -0.5 * beta * gap.mean(),
        "mean": lambda beta: -beta * gap.mean(),
        "sum_half": lambda beta: -0.5 * beta * gap.sum(),
        "sum": lambda beta: -beta * gap.sum(),
    }
    values = [inside[name](row.value).item() for name, row in equivalent_betas(7.0, elements=4).items()]
    assert len(values) == len(CONVENTIONS) == 4
    assert values == pytest.approx([values[0]] * 4, rel=1e-14)


@given(beta=st.floats(1e-3, 1e4), name=st.sampled_from(sorted(CONVENTIONS)), elements=st.integers(1, 200_000))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_restating_twice_comes_back(beta, name, elements):
    there = equivalent_betas(beta, elements=elements)[name].value
    back = equivalent_betas(there, convention=name, elements=elements)["mean_half"].value
    assert back == pytest.approx(beta, rel=1e-12)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"beta": 0.0, "elements": 4}, "positive and finite"),
        ({"beta": math.nan, "elements": 4}, "positive and finite"),
        ({"beta": 1.0, "elements": 0}, "at least 1"),
        ({"beta": 1.0, "elements": 4, "convention": "paper"}, "mean_half, mean, sum_half, sum"),
    ],
)
def test_an_invalid_beta_or_convention_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        equivalent_betas(**arguments)
