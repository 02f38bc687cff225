"""Token rewards on the toy of two binary tokens, and what must hold of them anywhere."""

import math

import pytest
import torch

from diffalign.losses.diagnostics.token_credit import token_rewards

BETA = 0.5
REF_FIRST, REF_SECOND = [0.6, 0.4], [[0.3, 0.7], [0.8, 0.2]]
REWARD = {(0, 0): 1.0, (0, 1): 0.0, (1, 0): 0.2, (1, 1): 0.7}


def soft(values, shares):
    return BETA * math.log(sum(p * math.exp(v / BETA) for v, p in zip(values, shares, strict=True)))


def solved(reward=REWARD):
    """Soft values and the optimal policy, by hand."""
    value = [soft([reward[i, j] for j in (0, 1)], REF_SECOND[i]) for i in (0, 1)]
    root = soft(value, REF_FIRST)
    first = [REF_FIRST[i] * math.exp((value[i] - root) / BETA) for i in (0, 1)]
    second = [[REF_SECOND[i][j] * math.exp((reward[i, j] - value[i]) / BETA) for j in (0, 1)] for i in (0, 1)]
    return value, root, first, second


def read(first, second, paths):
    logp = torch.tensor([[math.log(first[i]), math.log(second[i][j])] for i, j in paths], dtype=torch.float64)
    ref = torch.tensor([[math.log(REF_FIRST[i]), math.log(REF_SECOND[i][j])] for i, j in paths], dtype=torch.float64)
    return token_rewards(logp, ref, torch.ones_like(logp, dtype=torch.bool), beta=BETA)


def test_the_worked_numbers():
    value, root, first, second = solved()
    assert [*value, root] == pytest.approx([0.535229, 0.347697, 0.468405], abs=1e-6)
    assert (first[0], second[0][0], second[1][0]) == pytest.approx((0.685794, 0.760004, 0.595390), abs=1e-6)
    found = read(first, second, [(0, 0)])
    assert found.rewards[0].tolist() == pytest.approx([0.066824, 0.464771], abs=1e-6)
    assert found.total.item() == pytest.approx(0.531595, abs=1e-6)
    assert found.total.item() == pytest.approx(1 - root)
    assert root + found.values[0, 1].item() == pytest.approx(value[0])
    assert found.values[0, 0].item() == 0.0


def test_prefix_sums_are_values_on_every_path():
    value, root, first, second = solved()
    paths = list(REWARD)
    found = read(first, second, paths)
    for row, (i, j) in enumerate(paths):
        assert root + found.values[row, 1].item() == pytest.approx(value[i])
        assert found.total[row].item() == pytest.approx(REWARD[i, j] - root)


def test_the_references_own_samples_are_rewarded_below_zero():
    _, _, first, second = solved()
    found = read(first, second, [(0, 0), (1, 0)])
    mean = sum(p * r for p, r in zip(REF_FIRST, found.rewards[:, 0].tolist(), strict=True))
    assert mean == pytest.approx(-0.008189, abs=1e-6)


def test_a_shaping_potential_leaves_the_policy_as_it_is():
    """A potential of the states between (zero at root and end), taken from one reward and given to another."""
    potential = [0.9, -0.4]
    _, _, first, second = solved()
    # The reward of the first token is the potential, which the second takes back.
    value = [soft([REWARD[i, j] - potential[i] for j in (0, 1)], REF_SECOND[i]) for i in (0, 1)]
    q = [potential[i] + value[i] for i in (0, 1)]
    root = soft(q, REF_FIRST)
    shaped = [REF_FIRST[i] * math.exp((q[i] - root) / BETA) for i in (0, 1)]
    assert shaped == pytest.approx(first)
    for i in (0, 1):
        for j in (0, 1):
            turned = REF_SECOND[i][j] * math.exp((REWARD[i, j] - potential[i] - value[i]) / BETA)
            assert turned == pytest.approx(second[i][j])


def test_masked_tokens_do_not_count():
    logp = torch.tensor([[-1.0, float("nan"), -2.0]])
    ref = torch.tensor([[-2.0, float("-inf"), -1.5]])
    mask = torch.tensor([[True, False, True]])
    found = token_rewards(logp, ref, mask, beta=0.1)
    assert found.rewards[0].tolist() == pytest.approx([0.1, 0.0, -0.05])
    assert found.values[0].tolist() == pytest.approx([0.0, 0.1, 0.1, 0.05])
    assert found.total.item() == pytest.approx(0.1 * (1.0 - 0.5))
