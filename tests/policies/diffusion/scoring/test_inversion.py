"""Inversion by the policy: the network that inverts, the latents that are kept, and no gradient through it."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

from diffalign.errors import RunError
from diffalign.policies.diffusion.families.sd import call
from diffalign.randomness import Draw
from tests.policies.conftest import draw_for, inputs_of, levels_of, margin, shake, spied

BY_POLICY = {"name": "ddim_inversion", "steps": 4}
BY_REFERENCE = {**BY_POLICY, "inverter": "reference"}
STORED = {**BY_REFERENCE, "store": True}
WINDOWS = {**BY_POLICY, "refresh": 2}
PLAN = [(i, visit) for visit in (0, 1) for i in range(4)]


def with_inversions(policy, action):
    """Returns the result of an action, and its number of inversion evaluations."""
    before = policy.forward_counts.inversion
    result = action()
    return result, policy.forward_counts.inversion - before


def same_latents(one, other):
    return torch.equal(one.x_t, other.x_t) and torch.equal(one.target, other.target)


def winners(pairs):
    return [replace(pair, rejected=None) for pair in pairs]


def gradients(policy, total):
    policy.module.zero_grad()
    total.backward()
    return [value.grad.clone() for value in policy.trainable().values()]


@pytest.mark.parametrize("reference", ["adapter_off", "copy"])
def test_a_fresh_policy_inverts_like_its_reference_and_a_trained_one_does_not(make, pairs, reference):
    by_policy, by_reference = make(latents=BY_POLICY), make(latents=BY_REFERENCE, reference=reference)
    draw, found = draw_for(pairs), {}
    for when in ("fresh", "moved"):
        found[when] = [inputs_of(policy, policy.encode(pairs), draw) for policy in (by_policy, by_reference)]
        for policy in (by_policy, by_reference):
            shake(policy)
    assert same_latents(*found["fresh"]) and same_latents(found["fresh"][1], found["moved"][1])
    assert not torch.allclose(found["moved"][0].x_t, found["moved"][1].x_t, atol=1e-3)


@pytest.mark.parametrize("latents", [BY_POLICY, BY_REFERENCE])
def test_policy_and_reference_get_the_same_inputs(make, pairs, latents):
    policy = shake(make(latents=latents))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    with spied(policy.module) as calls:
        _, count = with_inversions(policy, lambda: policy.logps(encoded, draw))
        assert with_inversions(policy, lambda: policy.reference_logps(encoded, draw))[1] == 0 < count
    assert torch.equal(calls[-1][0], calls[-2][0]) and calls[-1][1] == calls[-2][1]


@pytest.mark.parametrize("how", ["by hand", "by a fused optimizer"])
def test_after_a_change_of_weights_the_same_batch_has_other_latents(make, pairs, how):
    """Fused optimizers do not move torch's version counters."""
    policy = shake(make(latents=BY_POLICY))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    before, state = inputs_of(policy, encoded, draw), policy.state()
    if how == "by hand":
        shake(policy)
    else:
        optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-2, fused=True)
        margin(policy, encoded, draw).sum().backward()
        optimizer.step()
    assert not torch.allclose(inputs_of(policy, encoded, draw).x_t, before.x_t, atol=1e-3)
    policy.load_state(state)
    assert same_latents(inputs_of(policy, encoded, draw), before)


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("latents", [BY_POLICY, BY_REFERENCE])
def test_no_gradient_flows_through_an_inversion_and_none_is_lost_by_it(make, pairs, latents, mixed):
    """Compared with detached copies in another autocast block, without an inversion before: the cache of casts that a
    pass without gradient leaves would detach the weights."""
    policy = shake(make(latents=latents))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=mixed)
    with autocast:
        live = gradients(policy, sum(scores.logps.sum() for scores in policy.logps(encoded, draw).candidates))
        inputs = inputs_of(policy, encoded, draw)
    x_t, target = inputs.x_t.detach().clone(), inputs.target.detach().clone()
    with autocast:
        output = call(policy.module, x_t, inputs.time, inputs.conditioning, torch.float32)
        errors = (output.float() - target).square().flatten(1).mean(1)
        copied = gradients(policy, (-0.5 * errors).sum())
    assert not inputs.x_t.requires_grad and not inputs.target.requires_grad
    assert all(value.abs().sum() > 0 for value in live)
    torch.testing.assert_close(live, copied, rtol=1e-5, atol=1e-7)


def test_a_reference_within_the_same_autocast_block_removes_no_gradient(make, pairs):
    policy, found = shake(make(latents=BY_POLICY)), []
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    for first in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            if first:
                policy.reference_logps(encoded, draw)
            found.append(gradients(policy, policy.logps(encoded, draw).candidates[0].logps.sum()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_an_autocast_block_does_not_reuse_casts_of_other_weights(make, pairs):
    policy = shake(make(latents=BY_POLICY))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    states = [shake(make(), seed=seed).state() for seed in (5, 6)]

    def inverted(state):
        policy.load_state(state)
        return inputs_of(policy, encoded, draw).x_t

    def scored(state):
        policy.set_reference(state)
        return policy.reference_logps(encoded, draw).candidates[0].logps

    for compute in (inverted, scored):
        with torch.autocast("cpu", torch.bfloat16):
            together = [compute(state) for state in states]
        for state, there in zip(states, together, strict=True):
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(compute(state), there)


@pytest.mark.parametrize("single", [False, True], ids=["pairs", "winners"])
def test_stored_latents_equal_live_ones_and_cost_nothing_while_training(make, pairs, single):
    pairs = winners(pairs) if single else pairs
    live, stored = make(latents=BY_REFERENCE), make(latents=STORED)
    assert stored.prepare_reference(pairs, PLAN, seed=0, batch=4) == len(PLAN)
    for policy in (live, stored):
        shake(policy)
    for visit in (0, 1):
        draw = draw_for(pairs, visit)
        encoded = stored.encode(pairs)
        there, count = with_inversions(stored, partial(inputs_of, stored, encoded, draw))
        assert count == 0 and same_latents(there, inputs_of(live, live.encode(pairs), draw))
        assert len(there.t) == len(pairs) * (1 if single else 2)
        one, other = (policy.logps(policy.encode(pairs), draw).candidates for policy in (live, stored))
        assert all(torch.equal(a.logps, b.logps) for a, b in zip(one, other, strict=True))


def test_stored_latents_do_not_depend_on_the_batch_size(make, pairs):
    stored = make(latents=STORED)
    stored.prepare_reference(pairs, PLAN, seed=0, batch=3)
    live = make(latents=BY_REFERENCE)
    found = [inputs_of(policy, policy.encode(pairs), draw_for(pairs, 1)) for policy in (stored, live)]
    torch.testing.assert_close(found[0].latents, found[1].latents, rtol=1e-4, atol=1e-5)


def test_a_later_run_reuses_stored_latents_and_another_seed_or_rule_does_not(make, pairs):
    make(latents=STORED).prepare_reference(pairs, PLAN, seed=0)
    again = make(latents=STORED)
    assert with_inversions(again, lambda: again.prepare_reference(pairs, PLAN, seed=0)) == (0, 0)
    encoded = again.encode(pairs)
    assert with_inversions(again, lambda: again.logps(encoded, draw_for(pairs)))[1] == 0
    assert with_inversions(again, lambda: again.logps(encoded, draw_for(pairs, seed=1)))[1] > 0
    assert with_inversions(again, lambda: again.logps(encoded, draw_for(pairs, visit=2)))[1] > 0
    assert again.prepare_reference(pairs, PLAN, seed=1) == len(PLAN)
    assert again.prepare_reference(winners(pairs), PLAN, seed=0) == len(PLAN)
    with torch.autocast("cpu", torch.bfloat16):
        assert again.prepare_reference(pairs, PLAN[:1], seed=0) == 1
    assert make(latents={**STORED, "steps": 5}).prepare_reference(pairs, PLAN[:1], seed=0) == 1


def test_with_stored_latents_and_stored_errors_only_the_policy_is_evaluated(make, pairs):
    policy = make(latents=STORED, reference="stored")
    assert policy.prepare_reference(pairs, PLAN, seed=0) == len(PLAN)
    before = policy.forward_counts.as_dict()
    shake(policy)
    margin(policy, policy.encode(pairs), draw_for(pairs))
    assert policy.forward_counts.as_dict() == {**before, "policy": 8, "forwards": before["forwards"] + 3 * 8}


def test_within_a_window_latents_stay_those_of_its_start(make, pairs, tmp_path):
    policy = shake(make(latents=WINDOWS))
    draw, encoded = draw_for(pairs), policy.encode(pairs)
    at_its_start = inputs_of(policy, encoded, draw)
    assert policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0, batch=4) == len(PLAN)
    shake(policy, seed=2)
    inside, count = with_inversions(policy, lambda: inputs_of(policy, encoded, draw))
    assert count == 0 and same_latents(inside, at_its_start)

    assert with_inversions(policy, lambda: policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0)) == (
        0,
        0,
    )  # a resume within the window
    assert same_latents(inputs_of(policy, policy.encode(pairs), draw), at_its_start)

    assert policy.refresh_latents(pairs, PLAN, 0, tmp_path, 1, batch=4) == len(PLAN)
    next_one, count = with_inversions(policy, lambda: inputs_of(policy, policy.encode(pairs), draw))
    assert count == 0 and not torch.allclose(next_one.x_t, inside.x_t, atol=1e-3)
    live = live_copy(policy, make)
    assert same_latents(next_one, inputs_of(live, live.encode(pairs), draw))


def live_copy(policy, make):
    """Returns a policy of the same weights that inverts at each step."""
    other = make(latents=BY_POLICY)
    other.load_state(policy.state())
    return other


def test_held_out_visits_do_not_belong_to_a_window(make, pairs, tmp_path):
    policy = shake(make(latents=WINDOWS))
    policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0)
    shake(policy, seed=2)
    draw, live = draw_for(pairs, visit=-1), live_copy(policy, make)
    found, count = with_inversions(policy, lambda: inputs_of(policy, policy.encode(pairs), draw))
    assert count > 0 and same_latents(found, inputs_of(live, live.encode(pairs), draw))


def test_visits_cycle_through_their_draws_and_held_out_visits_do_not(make, pairs):
    policy, free = (make(latents=BY_REFERENCE, draws=draws) for draws in (2, None))
    encoded = policy.encode(pairs)
    inputs_at = lambda policy, visit: inputs_of(policy, encoded, draw_for(pairs, visit))
    for visit in (0, 1):
        first = inputs_at(policy, visit)
        assert same_latents(inputs_at(policy, visit + 2), first) and same_latents(inputs_at(policy, visit + 4), first)
        assert same_latents(inputs_at(free, visit), first) and not same_latents(inputs_at(free, visit + 2), first)
    for visit in (-1, -2, -3):
        assert same_latents(inputs_at(policy, visit), inputs_at(free, visit))
    assert not same_latents(inputs_at(policy, -1), inputs_at(policy, 1))


@pytest.mark.parametrize("settings", [{"latents": STORED}, {"reference": "stored"}], ids=["latents", "errors"])
def test_cycled_draws_are_prepared_once(make, pairs, settings):
    policy = make(draws=2, **settings)
    plan = [(i, visit) for visit in range(6) for i in range(4)]
    assert policy.prepare_reference(pairs, plan, seed=0) == 8
    before = policy.forward_counts.as_dict()
    policy.reference_logps(policy.encode(pairs), draw_for(pairs, 5))
    after = policy.forward_counts.as_dict()
    assert after["inversion"] == before["inversion"]
    assert ("latents" in settings) == (after["reference"] > before["reference"])


@pytest.mark.parametrize("mode", ["exact", "released"])
@pytest.mark.parametrize("name", ["ddim_inversion", "renoise"])
def test_pairs_of_different_levels_in_one_batch_equal_one_pair_at_a_time(make, pairs, name, mode):
    policy = shake(make(latents={"name": name, "mode": mode}, caption_dropout=0.5))
    draw = draw_for(pairs, visit=1)
    assert len(set(levels_of(policy, policy.encode(pairs), draw))) == 4
    together = inputs_of(policy, policy.encode(pairs), draw)
    margins = margin(policy, policy.encode(pairs), draw)
    for i, pair in enumerate(pairs):
        encoded, own = policy.encode([pair]), draw_for([pair], visit=1)
        single = inputs_of(policy, encoded, own)
        torch.testing.assert_close(single.x_t, together.x_t[i::4], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(margin(policy, encoded, own), margins[i : i + 1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "times"),
    [
        (0, [-99]),
        (1, [-99]),
        (2, [-99, 1]),
        (101, [-99, 1]),
        (102, [-99, 1, 101]),
        (802, [-99, *range(1, 802, 100)]),
        (999, [-99, *range(1, 802, 100)]),
    ],
)
def test_in_released_mode_the_network_gets_the_scripts_times(make, pairs, level, times):
    for name, each in (("ddim_inversion", 1), ("renoise", 2)):
        policy = make(latents={"name": name, "mode": "released"}, timesteps=(level, level + 1))
        encoded = policy.encode(pairs[:1])
        with spied(policy.module) as calls:
            policy.logps(encoded, draw_for(pairs[:1]))
        assert [t for _, t in calls] == [[t, t] for t in times for _ in range(each)] + [[level, level]]


def test_in_exact_mode_the_network_gets_the_level_at_each_steps_start(make, pairs):
    policy = make(latents={"name": "ddim_inversion"}, timesteps=(250, 251))
    encoded = policy.encode(pairs[:1])
    with spied(policy.module) as calls:
        policy.logps(encoded, draw_for(pairs[:1]))
    assert [t for _, t in calls] == [[0, 0], [83, 83], [166, 166], [250, 250]]
    clean = policy._denoiser.clean(encoded, draw_for(pairs[:1]))
    assert torch.equal(calls[0][0], clean) and len(calls[0][0]) == 2


def test_candidates_are_inverted_independently(make, pairs):
    """Without added noise, swapped candidates swap their latents."""
    policy = shake(make(latents=BY_POLICY, flip="none"))
    pair = pairs[0]
    draw = Draw(0, (pair.id,), (0,))
    swapped = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
    encoded, other = policy.encode([pair]), policy.encode([swapped])
    sharp = [replace(batch, std=torch.zeros_like(batch.std)) for batch in (encoded, other)]
    one, two = (inputs_of(policy, batch, draw).x_t for batch in sharp)
    torch.testing.assert_close(one, two.flip(0), rtol=1e-5, atol=1e-5)
    u, v = (margin(policy, batch, draw) for batch in sharp)
    torch.testing.assert_close(u, -v, rtol=1e-3, atol=1e-6)


def test_latents_that_do_not_fit_on_the_disk_are_refused_before_any_is_computed(make, pairs, monkeypatch):
    policy = make(latents={"name": "ddim_inversion", "inverter": "reference", "store": True})
    policy.prepare(pairs)
    needed = 8 * 2 * 2 * (4 * 8 * 8) * 4  # visits, candidates, latents of each, elements, bytes
    plan = [(i, visit) for visit in (0, 1) for i in range(4)]
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage("/")._replace(free=needed - 1)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunError, match="8 visits take 33 kB.*model.draws=4"):
            policy.prepare_reference(pairs, plan, seed=0)
    assert policy.forward_counts.inversion == 0
    assert policy.prepare_reference(pairs, plan, seed=0) == 8


@pytest.mark.parametrize("settings", [{}, {"start": 60}, {"unit_noise": "rescale"}])
def test_the_rms_of_an_inversions_noise_is_reported_per_pair(make, pairs, settings):
    policy = make(latents={**BY_POLICY, **settings})
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    info, inputs = policy.logps(encoded, draw).info, inputs_of(policy, encoded, draw)
    tau = policy._denoiser.schedule.to_epsilon(inputs.target, inputs.x_t, inputs.t)
    expected = tau.flatten(1).square().mean(1).sqrt().view(2, -1).mean(0)
    torch.testing.assert_close(info["noise/rms"], expected)
    if settings.get("unit_noise") == "rescale":
        torch.testing.assert_close(info["noise/rms"], torch.ones(len(pairs)), rtol=1e-4, atol=1e-4)


def test_forward_latents_need_no_report_of_their_noise(make, pairs):
    policy = make()
    assert "noise/rms" not in policy.logps(policy.encode(pairs), draw_for(pairs)).info


def test_listed_levels_are_the_only_ones_that_a_policy_draws(make, pairs):
    policy = make(timesteps=(249, 499, 749))
    encoded, drawn = policy.encode(pairs), set()
    for visit in range(12):
        drawn |= set(levels_of(policy, encoded, draw_for(pairs, visit)))
    assert drawn == {249, 499, 749}
