"""Labels that give each pair a beta of its own, and the losses for which a factor on the logratios is one."""

import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.labels import expected
from diffalign.losses import LOSSES
from diffalign.losses.logp_settings import F_ALPHA, F_DIVERGENCE
from diffalign.losses.objective import Objective, Term
from diffalign.pairs.dataset import DatasetPairs
from diffalign.training.recipe.compatibility import check_loss_and_data
from tests.labels.rows import PAIRS, label
from tests.losses.logps import drawn
from tests.losses.plain import PLAIN
from tests.losses.test_divergences import EACH

ON_A_MARGIN = [
    pytest.param(row.bind(**{**hyper, F_DIVERGENCE: divergence, F_ALPHA: alpha}), id=f"{name}-{k}-{divergence}-{alpha}")
    for name, row in LOSSES.items()
    if row.is_pure_margin
    for k, hyper in enumerate(PLAIN[name].settings)
    for divergence, alpha in EACH
]


@pytest.mark.parametrize("loss", ON_A_MARGIN)
def test_a_scale_is_accepted_exactly_where_it_is_a_beta_of_the_pair(loss):
    batch, factor = drawn(6, scale=1 / loss.beta), 3.0
    scaled = loss(batch.scaled(torch.full((6,), factor)))
    own = loss.loss.bind(**{**loss.hyper, "beta": factor * loss.beta})(batch)
    assert torch.allclose(scaled, own, rtol=1e-9, atol=0) == loss.scale_is_beta
    if loss.scale_is_beta:
        assert torch.equal(expected(loss, batch, label(scale=factor, count=6)), scaled)
    else:
        with pytest.raises(ValueError, match="give each pair a beta of its own, but"):
            expected(loss, batch, label(scale=factor, count=6))


def test_a_recipe_is_refused_before_training_where_a_scale_is_no_beta():
    pairs = DatasetPairs(PAIRS)
    scaled = label(scale=2.0, count=len(PAIRS))

    def check(name, **hyper):
        check_loss_and_data(Objective((Term(LOSSES[name].bind(beta=0.1, **hyper)),)), pairs, scaled)

    check("logistic")
    check("ipo", relative=True)
    with pytest.raises(ConfigError, match="--set loss.relative=true"):
        check("ipo")
    with pytest.raises(ConfigError, match="--set loss.f_divergence=reverse_kl"):
        check("logistic", f_divergence="forward_kl")
