"""Compiled structures: their numbers, the losses of the catalogue that they are, and which is never below which."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, PairLogps
from diffalign.losses.logic import TABLE, Structure, rho, rho_against, stricter
from diffalign.losses.logic.catalogue_forms import FORMS
from diffalign.losses.logic.model_counting import log_weight
from diffalign.losses.logic.shortest_statement import worlds_over
from tests.losses.logps import from_logps, with_tokens
from tests.losses.plain.logic import _weight

SETS = [
    frozenset(w for w, there in zip(worlds_over(2), bits, strict=True) if there) for bits in product((0, 1), repeat=4)
]
STRUCTURES = [Structure(top, bottom) for top in SETS for bottom in SETS if top and bottom]

# At p_w 0.6 and p_l 0.3: weights of top and bottom, rho, loss at beta 1, as published.
NUMBERS = {
    "CE": (".60", ".40", "0.405465", "0.510826"),
    "CEUnl": (".42", ".58", "-0.322773", "0.867501"),
    "CPO": (".60", ".30", "0.693147", "0.405465"),
    "ORPO": (".42", ".12", "1.252763", "0.251314"),
    "unCPO": (".88", ".12", "1.992430", "0.127833"),
    "cCPO": (".60", ".12", "1.609438", "0.182322"),
    "cUnl": (".42", ".30", "0.336472", "0.538997"),
    "fUnl": (".70", ".30", "0.847298", "0.356675"),
    "qfUnl": (".70", ".12", "1.763589", "0.158224"),
}


def logs(*probabilities):
    return [torch.tensor([p], dtype=torch.float64).log() for p in probabilities]


def scores_of(*probabilities):
    return PairLogps(*map(CandidateLogps, logs(*probabilities)))


@pytest.mark.parametrize("name", NUMBERS)
def test_the_table_has_its_published_numbers(name):
    structure = TABLE[name].structure
    weights = [f"{log_weight(s, logs(0.6, 0.3)).exp().item():.2f}"[1:] for s in (structure.top, structure.bottom)]
    found = f"{rho(structure, logs(0.6, 0.3)).item():.6f}"
    loss = LOSSES["structure"].bind(form=name)(scores_of(0.6, 0.3)).item()
    assert (*weights, found, f"{loss:.6f}") == NUMBERS[name]


def test_dpo_has_its_published_numbers_by_worlds_and_by_differences():
    dpo, logps = TABLE["DPO"].structure, logs(0.6, 0.3, 0.5, 0.4)
    assert [f"{log_weight(s, logps).exp().item():.2f}" for s in (dpo.top, dpo.bottom)] == ["0.24", "0.15"]
    assert f"{rho(dpo, logps).item():.6f}" == f"{rho_against(dpo, logps[:2], logps[2:]).item():.6f}" == "0.470004"
    for form in ("DPO", "CPO"):
        loss = LOSSES["structure_reference"].bind(form=form)(scores_of(0.6, 0.3, 0.5, 0.4))
        assert f"{loss.item():.6f}" == "0.485508"


def test_a_statement_costs_the_logarithm_of_its_probability():
    batch = scores_of(0.6, 0.3)
    for core, probability in {"M_w": 0.6, "M_w and not M_l": 0.42, "M_l -> M_w": 0.88, "not M_l": 0.7}.items():
        assert LOSSES["structure"].bind(form=core)(batch).item() == pytest.approx(-math.log(probability), rel=1e-14)


@pytest.mark.parametrize("references", [(), (0.5, 0.45)])
def test_weights_are_those_of_brute_force_for_every_structure(references):
    points = (0.6, 0.3, *references)
    for structure in STRUCTURES:
        shown = structure.with_reference if references else structure
        weights = [
            _weight([math.log(p) for p in points], lambda *w, some=some: "".join("01"[x] for x in w) in some)
            for some in (shown.top, shown.bottom)
        ]
        expected = math.log(weights[0] / weights[1])
        assert rho(shown, logs(*points)).item() == pytest.approx(expected, rel=1e-12, abs=1e-14)
        if references:
            for written in (structure, shown):
                found = rho_against(written, logs(0.6, 0.3), logs(*references)).item()
                assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_stay_finite_for_the_certain_and_the_impossible(dtype):
    ends = torch.tensor([0.0, -1e-12, -1e-4, -50.0, -1e4], dtype=dtype)
    chosen, rejected = (x.flatten().requires_grad_(True) for x in torch.meshgrid(ends, ends, indexing="ij"))
    for structure in STRUCTURES:
        if structure.top == structure.bottom:
            continue
        found = rho(structure, (chosen, rejected))
        gradients = torch.autograd.grad(found.sum(), (chosen, rejected), allow_unused=True)
        assert found.isfinite().all() and all(g is None or g.isfinite().all() for g in gradients)


def test_one_structure_is_stricter_than_another_where_its_loss_is_never_lower():
    # Every two forms of the table, at 400 random pairs of probabilities: inclusion and dominance are the same thing.
    generator = torch.Generator().manual_seed(0)
    logps = torch.rand(2, 400, generator=generator, dtype=torch.float64).log().unbind()
    made = {name: row.structure for name, row in TABLE.items() if row.structure.count == 2}
    losses = {name: LOSSES["structure"].bind(form=name)(PairLogps(*map(CandidateLogps, logps))) for name in made}
    relations = 0
    for one, other in product(made, repeat=2):
        if one != other:
            relations += stricter(made[one], made[other])
            assert stricter(made[one], made[other]) == bool((losses[one] >= losses[other] - 1e-12).all()), (one, other)
    assert relations == 25


def test_what_follows_the_label_rises_with_the_chosen_and_falls_with_the_rejected_answer():
    generator = torch.Generator().manual_seed(1)
    leaves = [x.log().requires_grad_(True) for x in torch.rand(2, 50, generator=generator, dtype=torch.float64)]
    follow = [s for s in STRUCTURES if s.follows_the_label and s.top != s.bottom]
    for structure in follow:
        slopes = torch.autograd.grad(rho(structure, leaves).sum(), leaves, allow_unused=True, materialize_grads=True)
        assert (slopes[0] >= -1e-12).all() and (slopes[1] <= 1e-12).all(), structure
    assert len(follow) < len(STRUCTURES) / 4


HYPER = {
    "logistic": [{"beta": 0.3}, {"beta": 0.3, "per_token": True}],
    "hinge": [{"beta": 0.3}],
    "ipo": [{"beta": 0.3}, {"beta": 0.3, "per_token": False}],
    "rpo": [{"beta": 0.3, "eta": 0.05, "average": 0.2}],
    "simpo": [{"beta": 2.0, "gamma_beta_ratio": 0.3}],
    "cpo": [{"beta": 0.3, "weight": 0.7}],
    "orpo": [{"weight": 0.4}],
    "asft": [{"lam": 0.7, "beta": 1.5}],
    "sft": [{"scale": 2.0}],
}


def compiled(name, hyper, batch):
    """The sum of a loss's structures, at its own settings."""
    bound = LOSSES[name].bind(**hyper, **FORMS[name].where)
    total = torch.zeros_like(batch.chosen.logps)
    for term in FORMS[name].terms:
        by_hand = bound.hyper[term.ahead] if term.ahead else 0.0
        row = LOSSES["structure_reference" if TABLE[term.form].structure.count == 4 or term.ahead else "structure"]
        settings = {"form": term.form, "link": term.link, "beta": bound.hyper["beta"] if term.beta else 1.0}
        structure = row.bind(**settings, per_token=term.mean or bool(bound.hyper.get("per_token")))
        seen = batch
        if term.ahead:
            constant = lambda x: CandidateLogps(torch.full_like(batch.chosen.logps, x))
            seen = replace(
                structure.with_settings(batch), reference_chosen=constant(0.0), reference_rejected=constant(-by_hand)
            )
        total = total + math.prod(bound.hyper[key] for key in term.factor) * structure(seen)
    return bound(batch), total


@pytest.mark.parametrize("name, hyper", [(name, hyper) for name, every in HYPER.items() for hyper in every])
def test_a_loss_of_the_catalogue_is_the_sum_of_its_structures(name, hyper):
    found, total = compiled(name, hyper, with_tokens(scale=1.5))
    torch.testing.assert_close(total, found, rtol=1e-11, atol=1e-12)


def test_every_form_of_the_catalogue_is_verified():
    assert set(HYPER) == set(FORMS) and set(FORMS) <= set(LOSSES) - {"structure", "structure_reference"}


def test_worlds_statements_and_names_make_the_same_loss():
    batch = with_tokens()
    ways = [{"form": "cCPO"}, {"top": "11, 10", "bottom": "01"}, {"top": "M_w", "bottom": "M_l and not M_w"}]
    ways += [{"form": "Ml -> Mw given Mw or Ml"}, {"form": "11,10 / 01"}]
    first, *others = (LOSSES["structure"].bind(**way)(batch) for way in ways)
    assert all(torch.equal(first, other) for other in others)


def test_a_reference_that_finds_both_answers_alike_changes_nothing():
    batch = from_logps([-0.5, -0.1], [-0.9, -2.0], [-0.7, -0.2], [-0.7, -0.2])
    for form in NUMBERS:
        one, other = (LOSSES[name].bind(form=form)(batch) for name in ("structure", "structure_reference"))
        torch.testing.assert_close(one, other, rtol=1e-14, atol=1e-15)


def test_a_denoiser_has_probabilities_through_the_scale():
    # Errors 0.1 and 0.3, scale 10: p = exp(-10 e / 2).
    batch = PairLogps(*(CandidateLogps(torch.tensor([-e / 2], dtype=torch.float64)) for e in (0.1, 0.3)))
    found = LOSSES["structure"].bind(form="cCPO", logp_scale=10.0)(batch).item()
    p_w, p_l = math.exp(-0.5), math.exp(-1.5)
    assert found == pytest.approx(math.log1p(p_l * (1 - p_w) / p_w), rel=1e-12)


@pytest.mark.parametrize(
    "name, given, says",
    [
        ("structure", {}, "a structure is a form, or a top and a bottom.*type for example form: cCPO"),
        ("structure", {"form": "CE", "top": "11"}, "a form, or a top and a bottom"),
        ("structure", {"top": "11"}, "a form, or a top and a bottom"),
        ("structure", {"top": "11,10", "bottom": 1}, "put them into quotes"),
        ("structure", {"form": 10}, "a form is text"),
        ("structure", {"form": "cCP"}, r"Did you mean 'cCPO'\?"),
        ("structure", {"form": "M_w given M_w"}, "bottom of this structure is empty"),
        ("structure", {"form": "11,01 / 11,01"}, "the same worlds"),
        ("structure", {"form": "DPO"}, "contains propositions of the reference.*structure_reference"),
        (
            "structure",
            {"form": "CE", "link": "logit"},
            "link of the loss 'structure' is one of logistic, hinge, squared",
        ),
        ("structure", {"form": "CE", "beta": 0.0}, "beta is the inverse temperature of rho"),
    ],
)
def test_a_structure_that_makes_no_loss_is_refused_before_training(name, given, says):
    with pytest.raises(ValueError, match=says):
        LOSSES[name].bind(**given)


def test_a_form_with_a_reference_needs_one():
    with pytest.raises(ValueError, match="compares with a reference"):
        LOSSES["structure_reference"].bind(form="DPO")(scores_of(0.6, 0.3))
