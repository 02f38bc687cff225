"""Counts of forward passes: the cost of each method per pair, by its formula."""

from dataclasses import replace

import pytest
import torch

from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.latents import released_steps
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from tests.policies.conftest import draw_for, levels_of, margin, steps_to

PAIRS = 4
PLAN = [(i, 0) for i in range(PAIRS)]


def cost_of(policy, action):
    """Returns the evaluations of an action, by purpose."""
    before = policy.forward_counts.as_dict()
    action()
    return {name: count - before[name] for name, count in policy.forward_counts.as_dict().items()}


def cost_of_scoring(policy, pairs, visit=0):
    encoded, draw = policy.encode(pairs), draw_for(pairs, visit)
    return cost_of(policy, lambda: margin(policy, encoded, draw)), levels_of(policy, encoded, draw)


def counts(**purposes):
    return ForwardCounts(**purposes).as_dict()


def test_a_gradient_costs_two_forward_passes_more():
    assert ForwardCounts(policy=1, reference=10, inversion=100, sampling=1000).forwards == 1113


@pytest.mark.parametrize("reference", ["adapter_off", "copy"])
def test_diffusion_dpo_costs_eight_forward_passes_per_pair(make, pairs, reference):
    cost, _ = cost_of_scoring(make(reference=reference), pairs)
    assert cost == counts(policy=2 * PAIRS, reference=2 * PAIRS) and cost["forwards"] == 8 * PAIRS


def test_fine_tuning_costs_three(make, pairs):
    policy = make()
    encoded = policy.encode([replace(pair, rejected=None) for pair in pairs])
    cost = cost_of(policy, lambda: policy.logps(encoded, draw_for(pairs)))
    assert cost == counts(policy=PAIRS) and cost["forwards"] == 3 * PAIRS


@pytest.mark.parametrize(
    ("latents", "each"),
    [
        ({"name": "ddim_inversion"}, 1),
        ({"name": "ddim_inversion", "inverter": "reference"}, 1),
        ({"name": "renoise"}, 2),
        ({"name": "renoise", "corrections": 3}, 4),
        ({"name": "heun"}, 2),
    ],
)
def test_an_inversion_costs_its_steps_and_corrections_for_both_candidates(make, pairs, latents, each):
    policy = make(latents=latents)
    cost, levels = cost_of_scoring(policy, pairs)
    assert len(set(steps_to(levels))) > 1
    inversion = 2 * each * sum(steps_to(levels))
    assert cost == counts(policy=2 * PAIRS, reference=2 * PAIRS, inversion=inversion)
    claimed = policy._denoiser.estimate.forward_counts(torch.tensor(levels), policy._denoiser.schedule)
    assert inversion == 2 * int(claimed.sum())


@pytest.mark.parametrize(("name", "each"), [("ddim_inversion", 1), ("renoise", 2)])
def test_the_released_inversion_costs_the_scripts_steps(make, pairs, name, each):
    cost, levels = cost_of_scoring(make(latents={"name": name, "mode": "released"}), pairs)
    assert cost["inversion"] == 2 * each * int(released_steps(torch.tensor(levels), 10, 1000).sum())


def test_stored_results_are_computed_once(make, pairs):
    latents = {"name": "ddim_inversion", "inverter": "reference", "store": True}
    policy = make(latents=latents, reference="stored", draws=1)
    before = cost_of(policy, lambda: policy.prepare_reference(pairs, PLAN, seed=0))
    inversion = 2 * sum(steps_to(levels_of(policy, policy.encode(pairs), draw_for(pairs))))
    assert before == counts(reference=2 * PAIRS, inversion=inversion)
    for visit in (0, 1):
        assert cost_of_scoring(policy, pairs, visit)[0] == counts(policy=2 * PAIRS)


def test_a_window_moves_the_inversions_to_its_start(make, pairs, tmp_path):
    policy = make(latents={"name": "ddim_inversion", "refresh": 5})
    before = cost_of(policy, lambda: policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0))
    inside, levels = cost_of_scoring(policy, pairs)
    assert before == counts(inversion=2 * sum(steps_to(levels)))
    assert inside == counts(policy=2 * PAIRS, reference=2 * PAIRS)


@pytest.mark.parametrize(("guidance", "each"), [(7.5, 2), (1.0, 1)])
def test_a_sample_costs_its_steps_twice_with_guidance(make, tmp_path, guidance, each):
    policy = make(flip="none")
    settings = {"steps": 3, "guidance": guidance, "sampler": "ddim"}
    store = TensorCache(tmp_path, "samples")
    prompts, seeds, keys = ["a fox", "an owl", "a fox"], [1, 2, 3], ["a", "b", "c"]
    cost = counts(sampling=3 * 3 * each)
    assert cost_of(policy, lambda: policy.sample(prompts, seeds, batch=2, latents_only=True, **settings)) == cost
    assert cost_of(policy, lambda: policy.make_candidates(prompts, seeds, store, keys, **settings)) == cost


@pytest.mark.parametrize("label", ["hard", "seppo_gate"])
def test_a_gate_costs_nothing(sd, pairs, tmp_path, label):
    """SePPO's gate reads log-probabilities that the loss needs anyway."""
    recipe = {
        "model": {"path": str(sd), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}},
        "data": {"train": "memory"},
        "loss": {"name": "logistic", "beta": 500},
        "labels": label,
        "train": {"steps": 2, "batch_size": PAIRS, "learning_rate": 1e-3, "mixed_precision": "no"},
        "output": str(tmp_path / label),
    }
    policy = train(make_recipe(recipe), pairs=pairs).policy
    assert policy.forward_counts.as_dict() == counts(policy=2 * 2 * PAIRS, reference=2 * 2 * PAIRS)
