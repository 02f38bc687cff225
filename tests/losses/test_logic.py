"""Structures: the published table, both of their readings, and the shortest words for them."""

from itertools import product

import pytest

from diffalign.losses.logic import TABLE, Structure, lattice, stricter, structure_of
from diffalign.losses.logic.closed_form import closed_form, has_complement
from diffalign.losses.logic.formulas import formula
from diffalign.losses.logic.shortest_statement import shortest, worlds_over
from diffalign.losses.logic.strictness import chains
from diffalign.losses.logic.structures import true_in, worlds

# Name, top, bottom, rho as published (worlds are M_w M_l).
PUBLISHED = [
    ("CE", "11,10", "01,00", "log [ p_w / (1 - p_w) ]"),
    ("CEUnl", "10", "11,01,00", "log [ p_w (1 - p_l) / (1 - p_w (1 - p_l)) ]"),
    ("CPO", "11,10", "11,01", "log [ p_w / p_l ]"),
    ("ORPO", "10", "01", "log [ p_w (1 - p_l) / ((1 - p_w) p_l) ]"),
    ("unCPO", "11,10,00", "01", "log [ (1 - (1 - p_w) p_l) / ((1 - p_w) p_l) ]"),
    ("cCPO", "11,10", "01", "log [ p_w / ((1 - p_w) p_l) ]"),
    ("cUnl", "10", "11,01", "log [ p_w (1 - p_l) / p_l ]"),
    ("fUnl", "10,00", "11,01", "log [ (1 - p_l) / p_l ]"),
    ("qfUnl", "10,00", "01", "log [ (1 - p_l) / ((1 - p_w) p_l) ]"),
]
EVERY = [
    frozenset(w for w, there in zip(worlds_over(2), bits, strict=True) if there) for bits in product((0, 1), repeat=4)
]
PAIRS_OF_SETS = [(top, bottom) for top in EVERY for bottom in EVERY]
STRUCTURES = [Structure(top, bottom) for top, bottom in PAIRS_OF_SETS if top and bottom]


@pytest.mark.parametrize("name, top, bottom, rho", PUBLISHED)
def test_the_statements_of_the_table_are_the_worlds_of_the_table(name, top, bottom, rho):
    structure = TABLE[name].structure
    assert structure == structure_of(f"{top} / {bottom}") == structure_of(name)
    assert closed_form(structure) == rho
    assert structure.follows_the_label


def test_dpo_is_a_table_of_sixteen_worlds():
    dpo = TABLE["DPO"].structure
    assert {len(dpo.top), len(dpo.bottom), len(dpo.top & dpo.bottom)} == {4, 1}
    assert closed_form(dpo) == "log [ p_w r_l / (p_l r_w) ]"
    assert dpo == TABLE["CPO"].structure.with_reference and dpo.without_reference == TABLE["CPO"].structure
    assert str(dpo.additive) == "M_w and M_l and R_w and R_l"
    assert set(TABLE) == {name for name, *_ in PUBLISHED} | {"DPO"}


def test_a_pair_has_256_structures_and_those_with_an_empty_side_are_refused():
    assert len(PAIRS_OF_SETS) == 256 == 4 ** (2**2)
    refused = 0
    for top, bottom in PAIRS_OF_SETS:
        if not (top and bottom):
            refused += 1
            with pytest.raises(ValueError, match="is empty, so its loss would be infinite or zero"):
                Structure(top, bottom)
    assert refused == 31


def test_every_structure_is_read_back_from_its_own_words():
    for structure in STRUCTURES:
        assert structure_of(str(structure)) == structure
        assert Structure.of(structure.core, structure.constraint, structure.additive) == structure


def test_without_constraint_and_additive_part_top_and_bottom_share_out_all_worlds():
    plain = [s for s in STRUCTURES if str(s.constraint) == "true" and str(s.additive) == "false"]
    assert len(plain) == 14  # all statements but the certain and the impossible one
    assert all(not s.top & s.bottom and len(s.top | s.bottom) == 4 for s in plain)


@pytest.mark.parametrize("count", [2, 4])
def test_words_say_what_they_stand_for(count):
    # Of four propositions 300 truth tables, spread over the 65536.
    every = worlds_over(count)
    for number in range(0, 2 ** len(every), 1 if count == 2 else 217):
        wanted = frozenset(world for k, world in enumerate(every) if number >> k & 1)
        assert true_in(shortest(wanted, count), count) == wanted
        assert true_in(formula(str(shortest(wanted, count))), count) == wanted


def test_words_are_the_shortest_ones():
    says = {"11,10": "M_w", "11,10,00": "M_l -> M_w", "10,01": "M_w xor M_l", "10,01,00": "not (M_w and M_l)"}
    says |= {"11,10,01": "M_w or M_l", "10": "M_w and not M_l", "11,00": "M_w iff M_l", "11,10,01,00": "true"}
    assert {text: str(shortest(worlds(text), 2)) for text in says} == says


@pytest.mark.parametrize(
    "text, same",
    [
        ("Ml -> Mw", "M_l -> M_w"),
        ("not Ml | Mw", "M_l -> M_w"),
        ("¬(M_w ∧ ¬M_l)", "not (M_w and not M_l)"),
        ("mw & !ml => ml ^ mw", "(M_w and not M_l) -> (M_l xor M_w)"),
        ("M_w or M_l and R_w", "M_w or (M_l and R_w)"),
        ("M_w -> M_l -> R_w", "M_w -> (M_l -> R_w)"),
        ("M_w <-> M_l or R_l", "M_w iff (M_l or R_l)"),
    ],
)
def test_statements_are_read_as_they_are_usually_meant(text, same):
    assert true_in(formula(text), 4) == true_in(formula(same), 4) == true_in(formula(str(formula(text))), 4)


@pytest.mark.parametrize(
    "text, says",
    [
        ("cCPO2", r"no form 'cCPO2'. Did you mean 'cCPO'\?"),
        ("ccpo", r"Did you mean 'cCPO'\?"),
        ("M_x -> M_w", "'M_x' in 'M_x -> M_w' is no proposition; there are M_w, M_l, R_w, R_l"),
        ("M_w and", "ends where a statement should follow"),
        ("(M_w or M_l", "bracket of .* is not closed"),
        ("M_w M_l", "cannot be read from 'M_l' on"),
        ("M_w given", "no statement to read"),
        ("true", "the bottom of this structure is empty"),
        ("M_w given M_w", "the bottom of this structure is empty"),
        ("111 / 01", "'111' is no world"),
        ("1111 / 01", "two digits .* or four"),
    ],
)
def test_a_text_that_cannot_be_parsed_is_refused_with_an_example(text, says):
    with pytest.raises(ValueError, match=says):
        structure_of(text)


def test_the_order_is_the_published_one():
    published = [
        "CEUnl CE cCPO unCPO",
        "CEUnl cUnl CPO cCPO",
        "cUnl ORPO qfUnl unCPO",
        "cUnl fUnl qfUnl",
        "ORPO cCPO",
    ]
    relations = {pair for line in published for pair in zip(line.split(), line.split()[1:], strict=False)}
    assert set(lattice()) == relations and len(lattice()) == len(relations)
    assert chains(lattice())[0] == "CEUnl >= CE >= cCPO >= unCPO"
    listed = {
        pair for line in chains(lattice()) for pair in zip(line.split(" >= "), line.split(" >= ")[1:], strict=False)
    }
    assert listed == relations


def test_the_order_is_one():
    made = {name: row.structure for name, row in TABLE.items()}
    for one, other in product(made.values(), repeat=2):
        assert not (stricter(one, other) and stricter(other, one))
    assert not stricter(made["CE"], made["DPO"]) and not stricter(made["DPO"], made["CE"])
    assert stricter(made["CEUnl"].with_reference, made["cCPO"].with_reference)


def test_a_complement_is_needed_where_the_formula_has_one():
    for structure in STRUCTURES:
        assert has_complement(structure) == ("1 - " in closed_form(structure))
    assert not has_complement(TABLE["CPO"].structure) and not has_complement(TABLE["DPO"].structure)


def test_a_structure_that_wants_the_rejected_answer_does_not_follow_the_label():
    assert not structure_of("M_w -> M_l").follows_the_label
    assert not structure_of("M_w xor M_l").follows_the_label
    assert TABLE["cCPO"].structure.with_reference.follows_the_label
