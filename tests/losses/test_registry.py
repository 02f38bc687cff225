"""Binding a loss: names and ranges are checked, and the message says what to type."""

import math

import pytest
import torch

from diffalign.losses import LOSSES, CandidateLogps, Loss, PairLogps, hyperparameters, loss_named, settings_of
from diffalign.losses.registry import table


def test_names_of_other_projects_find_the_same_rows():
    assert loss_named("sigmoid") is LOSSES["logistic"]
    assert loss_named("squared") is LOSSES["ipo"]
    assert loss_named("hinge") is LOSSES["hinge"]


def test_an_unknown_loss_names_its_near_miss():
    with pytest.raises(ValueError, match="Did you mean 'logistic'"):
        loss_named("logistics")


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(AssertionError, match="twice"):
        table(LOSSES["hinge"], LOSSES["hinge"])


def test_hyperparameters_come_from_the_signature():
    assert hyperparameters(LOSSES["mapo"]) == {"k": 0.5, "temperature": 1000.0, "weight": 0.1}
    assert hyperparameters(LOSSES["robust"]) == {"beta": None, "flip": None}


def test_a_mean_over_tokens_is_a_setting_of_those_losses_only_that_declare_it():
    has = {name: settings_of(row).get("per_token") for name, row in LOSSES.items()}
    assert has == {name: row.per_token for name, row in LOSSES.items()}
    assert (has["logistic"], has["ipo"], has["kto"]) == (False, True, None)
    assert LOSSES["ipo"].bind(beta=1.0, per_token=False).hyper["per_token"] is False
    assert "per_token = True: means over tokens" in LOSSES["ipo"].explain()
    with pytest.raises(ValueError, match="per_token of the loss 'ipo' is true or false; got 1"):
        LOSSES["ipo"].bind(beta=1.0, per_token=1)
    with pytest.raises(ValueError, match="'kto' takes .* it has no 'per_token'"):
        LOSSES["kto"].bind(beta=1.0, per_token=True)


def test_an_unknown_hyperparameter_names_its_near_miss():
    with pytest.raises(ValueError, match="it has no 'betta'. Did you mean 'beta'"):
        LOSSES["logistic"].bind(betta=1.0)


def test_all_missing_hyperparameters_are_reported_together():
    with pytest.raises(ValueError, match="needs a value for beta, flip"):
        LOSSES["robust"].bind()


@pytest.mark.parametrize("value", [0.5, 0.6, -0.1, math.nan])
def test_a_flip_outside_its_range_is_refused_with_the_next_step(value):
    with pytest.raises(ValueError, match=r"share of mislabelled pairs.*\[0, 0.5\).*leave it at 0"):
        LOSSES["logistic"].bind(beta=1.0, flip=value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, "5e3", True])
@pytest.mark.parametrize("name", ["logistic", "ipo", "hinge"])
def test_a_beta_that_is_no_positive_number_is_refused(name, value):
    with pytest.raises(ValueError, match=r"beta is the inverse temperature.*\(0, inf\).*2000 to 5000"):
        LOSSES[name].bind(beta=value)


def test_a_switch_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(ValueError, match="relative of the loss 'ipo' is true or false; got 'yes'"):
        LOSSES["ipo"].bind(beta=1.0, relative="yes")


def test_a_loss_on_all_logps_fits_the_same_row():
    # No margin, no reference, no beta.
    row = Loss(
        name="winner",
        function=lambda batch: -batch.chosen.logps,
        takes="logps",
        kind="single",
        needs=(),
        summary="likelihood of the chosen candidate",
        formula="-logp",
        source="none",
        advice="none",
        limits={},
        at_zero=None,
    )
    bound = row.bind()
    batch = PairLogps(CandidateLogps(torch.tensor([-2.0])), CandidateLogps(torch.tensor([-3.0])))
    assert bound(batch).tolist() == [2.0]
    assert [reward.tolist() for reward in bound.rewards(batch)] == [[-2.0], [-3.0]]
    assert not row.needs_reference and bound.beta == 1.0 and bound.at_zero is None
    assert "the policy only" in row.explain()
    with pytest.raises(ValueError, match="no function of one margin"):
        bound.slope(torch.zeros(1))
