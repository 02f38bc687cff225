"""Momentum between rounds: the published sequences, exact for all weights and nearest for adapters."""

import pytest
import torch

from diffalign.pairs.rounds.extrapolate import extrapolate

SEQUENCES = {0.0: [1, 2, 3, 4], 0.3: [1.3, 2.69, 4.107, 5.5321], 0.5: [1.5, 3.25, 5.125, 7.0625]}


@pytest.mark.parametrize("momentum", SEQUENCES)
def test_rounds_with_a_fixed_reward_grow_as_the_paper_says(momentum):
    """An exact round adds the reward over beta to the log-probabilities: in its unit, 1."""
    at, trained, found = torch.zeros(1, dtype=torch.float64), [torch.zeros(1, dtype=torch.float64)], []
    for _ in range(4):
        trained.append(at + 1.0)
        state, _ = extrapolate({"theta": trained[-1]}, {"theta": trained[-2]}, momentum)
        at = state["theta"]
        found.append(float(at))
    assert found == pytest.approx(SEQUENCES[momentum], abs=1e-12)


def test_three_rounds_of_the_bandit_end_where_the_paper_says():
    logits, reward = torch.tensor([0.5, 0.3, 0.2]).double().log(), torch.tensor([0.0, 1.0, 0.5]).double()
    trained = [logits]
    for _ in range(3):
        trained.append(logits + reward)
        state, _ = extrapolate({"x": trained[-1]}, {"x": trained[-2]}, 0.3)
        logits = state["x"]
    policy = logits.softmax(0)
    assert policy.tolist() == pytest.approx([0.024645, 0.898511, 0.076844], abs=1e-6)
    assert float(reward.max() - (policy * reward).sum()) == pytest.approx(0.063067, abs=1e-6)


def adapter(seed, rank=3, shape=()):
    generator = torch.Generator().manual_seed(seed)
    return {
        "layer.lora_A.default.weight": torch.randn(rank, 6, *shape, generator=generator),
        "layer.lora_B.default.weight": torch.randn(5, rank, *(1 for _ in shape), generator=generator),
        "head.weight": torch.randn(4, generator=generator),
    }


def update(state):
    down, up = (state[f"layer.lora_{side}.default.weight"].double().flatten(1) for side in "AB")
    return up @ down


@pytest.mark.parametrize("shape", [(), (2, 2)], ids=["linear", "convolution"])
def test_an_adapter_becomes_the_nearest_of_its_rank_and_its_distance_is_stated(shape):
    now, before = adapter(0, shape=shape), adapter(1, shape=shape)
    state, distance = extrapolate(now, before, 0.3)
    exact = 1.3 * update(now) - 0.3 * update(before)
    values = torch.linalg.svdvals(exact)
    assert torch.linalg.matrix_norm(update(state) - exact) == pytest.approx(float(values[3:].norm()), rel=1e-5)
    assert distance == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-6)
    assert torch.allclose(state["head.weight"], now["head.weight"] + 0.3 * (now["head.weight"] - before["head.weight"]))
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in now.items()}


def test_an_adapter_whose_factors_share_a_side_is_moved_on_exactly():
    now, before = adapter(0), adapter(1)
    before["layer.lora_A.default.weight"] = now["layer.lora_A.default.weight"]
    state, distance = extrapolate(now, before, 0.5)
    assert distance < 1e-7
    assert torch.allclose(update(state), 1.5 * update(now) - 0.5 * update(before), atol=1e-5)


def test_no_momentum_returns_the_state_bit_for_bit():
    now = adapter(0)
    state, distance = extrapolate(now, adapter(1), 0.0)
    assert distance == 0.0 and all(torch.equal(state[name], now[name]) for name in now)
