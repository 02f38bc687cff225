"""The output of `diffalign logic`, and the examples of its documentation."""

import re
from pathlib import Path

import pytest

from diffalign.errors import UserError
from diffalign.losses import LOSSES
from diffalign.losses.logic import TABLE, structure_of
from diffalign.losses.logic.catalogue_forms import FORMS
from tests.cli.test_commands import call

PAGE = (Path(__file__).parents[2] / "docs" / "logic.md").read_text()


@pytest.mark.parametrize("name", TABLE)
def test_a_form_shows_its_worlds_statements_and_formula(name):
    output, row = call("logic", name), TABLE[name]
    assert row.meaning in output and f"P      {row.core}" in output and f"P_C    {row.constraint}" in output
    assert f"P_A    {row.additive}" in output and "rho    log [ " in output and f"form: {name}}}" in output
    assert len(re.findall(r"^  [01] {4}", output, re.MULTILINE)) == (4 if row.structure.count == 2 else 7)


def test_a_registered_loss_shows_the_structures_that_it_sums():
    output = call("logic", "orpo")
    assert "logistic loss of CE at beta 1" in output and "+ logistic loss of ORPO at beta 1, times weight" in output
    assert call("logic", "dpo") == call("logic", "logistic") and "flip: 0.0" in call("logic", "dpo")
    assert "log r_w / r_l = gamma_beta_ratio" in call("logic", "simpo")


def test_a_loss_without_a_form_says_so():
    for name in set(LOSSES) - set(FORMS):
        assert call("logic", name).startswith(f"{name}: no form")


def test_a_custom_form_is_compared_with_named_forms():
    output = call("logic", "M_w also M_w and M_l")
    assert (
        "a form without a name" in output and "it follows the label" in output and "never below the loss of" in output
    )
    assert "may contradict the label" in call("logic", "M_w -> M_l")
    assert "cannot be used in training" in call("logic", "11,10 / 11,10")
    assert call("logic", "11,10 / 01").startswith("cCPO:")


def test_the_recipe_line_of_a_page_makes_that_loss():
    for form in ("cCPO", "DPO", "M_w xor M_l / not M_w", "Rw -> Mw"):
        name, written = re.search(r'loss: \{name: (\w+), form: "?([^"}]*)', call("logic", form)).groups()
        assert structure_of(LOSSES[name].bind(form=written).hyper["form"]) == structure_of(form)


def test_numbers_are_shown_at_given_probabilities():
    assert "top 0.600000, bottom 0.120000, rho 1.609438, loss 0.182322" in call("logic", "cCPO", "--at", "0.6,0.3")
    assert "rho 0.470004, loss 0.485508" in call("logic", "DPO", "--at", "0.6,0.3,0.5,0.4")
    for at, says in {"0.6": "probabilities are given for", "x": "--at takes numbers", "2,1": "between 0 and 1"}.items():
        with pytest.raises(UserError, match=says):
            call("logic", "cCPO", "--at", at)
    with pytest.raises(UserError, match="give four probabilities"):
        call("logic", "DPO", "--at", "0.6,0.3")


def test_the_order_is_printed_from_the_strictest_to_the_loosest():
    assert "CEUnl >= cUnl >= ORPO >= qfUnl >= unCPO" in call("logic", "--lattice")


def test_without_a_name_every_form_is_listed():
    output = call("logic")
    assert all(re.search(rf"^{name} ", output, re.MULTILINE) for name in TABLE)


@pytest.mark.parametrize("text, says", [("simp", "Did you mean 'simpo'"), ("M_w ->", "ends where"), ("ccpo", "'cCPO'")])
def test_an_unknown_form_is_refused_with_the_known_names(text, says):
    with pytest.raises(UserError, match=says):
        call("logic", text)


def test_examples_in_the_documentation_print_what_it_shows():
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    runs = [code for kind, code in blocks if kind == "python"]
    assert len(runs) >= 2
    space = {}
    for code in runs:
        exec(code, space)  # its assertions are the document's
    shown = 0
    for kind, code in blocks:
        if kind == "text" and code.startswith("$ diffalign logic"):
            command, _, printed = code.partition("\n")
            words = re.findall(r'"[^"]*"|\S+', command)[2:]
            assert call(*(word.strip('"') for word in words)).strip() == printed.strip()
            shown += 1
    assert shown >= 2
