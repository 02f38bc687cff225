"""Inversion by the policy: who is asked and when, what is kept, and that no gradient flows back through it."""

import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch

from diffalign.errors import RunError
from diffalign.policies.diffusion.scoring.denoiser import call_denoiser
from diffalign.randomness import Draw
from tests.policies.conftest import draw_for, levels_of, margin, question, shake, spied

BY_POLICY = {"name": "ddim_inversion", "steps": 4}
BY_REFERENCE = {**BY_POLICY, "inverter": "reference"}
STORED = {**BY_REFERENCE, "store": True}
WINDOWS = {**BY_POLICY, "refresh": 2}
PLAN = [(i, visit) for visit in (0, 1) for i in range(4)]


def asked(policy, action):
    """What an action returns, and how many inversion evaluations it took."""
    before = policy.forward_counts.inversion
    result = action()
    return result, policy.forward_counts.inversion - before


def same(one, other):
    return torch.equal(one.x_t, other.x_t) and torch.equal(one.target, other.target)


def winners(pairs):
    return [replace(pair, rejected=None) for pair in pairs]


def gradients(policy, total):
    policy.module.zero_grad()
    total.backward()
    return [value.grad.clone() for value in policy.trainable().values()]


@pytest.mark.parametrize("reference", ["adapter_off", "copy"])
def test_at_first_the_policy_finds_what_its_reference_finds_and_later_something_else(make, pairs, reference):
    mine, theirs = make(latents=BY_POLICY), make(latents=BY_REFERENCE, reference=reference)
    draw, found = draw_for(pairs), {}
    for when in ("fresh", "moved"):
        found[when] = [question(policy, policy.encode(pairs), draw) for policy in (mine, theirs)]
        for policy in (mine, theirs):
            shake(policy)
    assert same(*found["fresh"]) and same(found["fresh"][1], found["moved"][1])
    assert not torch.allclose(found["moved"][0].x_t, found["moved"][1].x_t, atol=1e-3)


@pytest.mark.parametrize("latents", [BY_POLICY, BY_REFERENCE])
def test_policy_and_reference_are_put_one_question(make, pairs, latents):
    policy = shake(make(latents=latents))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    with spied(policy.module) as calls:
        _, count = asked(policy, lambda: policy.logps(encoded, draw))
        assert asked(policy, lambda: policy.reference_logps(encoded, draw))[1] == 0 < count
    assert torch.equal(calls[-1][0], calls[-2][0]) and calls[-1][1] == calls[-2][1]


@pytest.mark.parametrize("how", ["by hand", "by a fused optimizer"])
def test_once_the_weights_have_moved_the_same_batch_is_another_question(make, pairs, how):
    """Fused optimizers do not move torch's version counters."""
    policy = shake(make(latents=BY_POLICY))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    before, state = question(policy, encoded, draw), policy.state()
    if how == "by hand":
        shake(policy)
    else:
        optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-2, fused=True)
        margin(policy, encoded, draw).sum().backward()
        optimizer.step()
    assert not torch.allclose(question(policy, encoded, draw).x_t, before.x_t, atol=1e-3)
    policy.load_state(state)
    assert same(question(policy, encoded, draw), before)


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("latents", [BY_POLICY, BY_REFERENCE])
def test_no_gradient_flows_through_an_inversion_and_none_is_lost_by_it(make, pairs, latents, mixed):
    """Judged again from detached copies, and in another autocast block, without the inversion's pass before it: the
    memory of casts that a pass without gradient leaves behind would cut the weights off."""
    policy = shake(make(latents=latents))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=mixed)
    with autocast:
        live = gradients(policy, sum(scores.logps.sum() for scores in policy.logps(encoded, draw).candidates))
        inputs = question(policy, encoded, draw)
    x_t, target = inputs.x_t.detach().clone(), inputs.target.detach().clone()
    with autocast:
        output = call_denoiser(policy.module, x_t, inputs.t, inputs.conditioning, torch.float32)
        errors = (output.float() - target).square().flatten(1).mean(1)
        copied = gradients(policy, (-0.5 * errors).sum())
    assert not inputs.x_t.requires_grad and not inputs.target.requires_grad
    assert all(value.abs().sum() > 0 for value in live)
    torch.testing.assert_close(live, copied, rtol=1e-5, atol=1e-7)


def test_a_reference_asked_within_the_same_autocast_block_takes_no_gradient_away(make, pairs):
    policy, found = shake(make(latents=BY_POLICY)), []
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    for first in (False, True):
        with torch.autocast("cpu", torch.bfloat16):
            if first:
                policy.reference_logps(encoded, draw)
            found.append(gradients(policy, policy.logps(encoded, draw).candidates[0].logps.sum()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_an_autocast_block_does_not_remember_weights_that_were_lent_or_have_moved(make, pairs):
    policy = shake(make(latents=BY_POLICY))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    states = [shake(make(), seed=seed).state() for seed in (5, 6)]

    def found(state):
        policy.load_state(state)
        return question(policy, encoded, draw).x_t

    def judged(state):
        policy.set_reference(state)
        return policy.reference_logps(encoded, draw).candidates[0].logps

    for ask in (found, judged):
        with torch.autocast("cpu", torch.bfloat16):
            together = [ask(state) for state in states]
        for state, there in zip(states, together, strict=True):
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(ask(state), there)


@pytest.mark.parametrize("alone", [False, True], ids=["pairs", "winners"])
def test_stored_latents_are_the_live_ones_and_cost_nothing_while_training(make, pairs, alone):
    pairs = winners(pairs) if alone else pairs
    live, stored = make(latents=BY_REFERENCE), make(latents=STORED)
    assert stored.prepare_reference(pairs, PLAN, seed=0, batch=4) == len(PLAN)
    for policy in (live, stored):
        shake(policy)
    for visit in (0, 1):
        draw = draw_for(pairs, visit)
        encoded = stored.encode(pairs)
        there, count = asked(stored, partial(question, stored, encoded, draw))
        assert count == 0 and same(there, question(live, live.encode(pairs), draw))
        assert len(there.t) == len(pairs) * (1 if alone else 2)
        one, other = (policy.logps(policy.encode(pairs), draw).candidates for policy in (live, stored))
        assert all(torch.equal(a.logps, b.logps) for a, b in zip(one, other, strict=True))


def test_stored_latents_do_not_depend_on_how_many_were_found_at_once(make, pairs):
    stored = make(latents=STORED)
    stored.prepare_reference(pairs, PLAN, seed=0, batch=3)
    live = make(latents=BY_REFERENCE)
    found = [question(policy, policy.encode(pairs), draw_for(pairs, 1)) for policy in (stored, live)]
    torch.testing.assert_close(found[0].latents, found[1].latents, rtol=1e-4, atol=1e-5)


def test_a_later_run_finds_stored_latents_and_another_seed_or_rule_does_not(make, pairs):
    make(latents=STORED).prepare_reference(pairs, PLAN, seed=0)
    again = make(latents=STORED)
    assert asked(again, lambda: again.prepare_reference(pairs, PLAN, seed=0)) == (0, 0)
    encoded = again.encode(pairs)
    assert asked(again, lambda: again.logps(encoded, draw_for(pairs)))[1] == 0
    assert asked(again, lambda: again.logps(encoded, draw_for(pairs, seed=1)))[1] > 0
    assert asked(again, lambda: again.logps(encoded, draw_for(pairs, visit=2)))[1] > 0
    assert again.prepare_reference(pairs, PLAN, seed=1) == len(PLAN)
    assert again.prepare_reference(winners(pairs), PLAN, seed=0) == len(PLAN)
    with torch.autocast("cpu", torch.bfloat16):
        assert again.prepare_reference(pairs, PLAN[:1], seed=0) == 1
    assert make(latents={**STORED, "steps": 5}).prepare_reference(pairs, PLAN[:1], seed=0) == 1


def test_stored_latents_and_stored_errors_leave_only_the_policy_to_ask(make, pairs):
    policy = make(latents=STORED, reference="stored")
    assert policy.prepare_reference(pairs, PLAN, seed=0) == len(PLAN)
    before = policy.forward_counts.as_dict()
    shake(policy)
    margin(policy, policy.encode(pairs), draw_for(pairs))
    assert policy.forward_counts.as_dict() == {**before, "policy": 8, "forwards": before["forwards"] + 3 * 8}


def test_within_a_window_latents_stay_those_of_its_beginning(make, pairs, tmp_path):
    policy = shake(make(latents=WINDOWS))
    draw, encoded = draw_for(pairs), policy.encode(pairs)
    at_its_beginning = question(policy, encoded, draw)
    assert policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0, batch=4) == len(PLAN)
    shake(policy, seed=2)
    inside, count = asked(policy, lambda: question(policy, encoded, draw))
    assert count == 0 and same(inside, at_its_beginning)

    # a resume within the window
    assert asked(policy, lambda: policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0)) == (0, 0)
    assert same(question(policy, policy.encode(pairs), draw), at_its_beginning)

    assert policy.refresh_latents(pairs, PLAN, 0, tmp_path, 1, batch=4) == len(PLAN)
    next_one, count = asked(policy, lambda: question(policy, policy.encode(pairs), draw))
    assert count == 0 and not torch.allclose(next_one.x_t, inside.x_t, atol=1e-3)
    live = load_like(policy, make)
    assert same(next_one, question(live, live.encode(pairs), draw))


def load_like(policy, make):
    """A policy of the same weights that inverts at each step."""
    other = make(latents=BY_POLICY)
    other.load_state(policy.state())
    return other


def test_held_out_visits_are_no_part_of_a_window(make, pairs, tmp_path):
    policy = shake(make(latents=WINDOWS))
    policy.refresh_latents(pairs, PLAN, 0, tmp_path, 0)
    shake(policy, seed=2)
    draw, live = draw_for(pairs, visit=-1), load_like(policy, make)
    found, count = asked(policy, lambda: question(policy, policy.encode(pairs), draw))
    assert count > 0 and same(found, question(live, live.encode(pairs), draw))


def test_visits_return_to_their_first_draws_and_looks_at_held_out_pairs_do_not(make, pairs):
    policy, free = (make(latents=BY_REFERENCE, draws=draws) for draws in (2, None))
    encoded = policy.encode(pairs)
    ask = lambda of, visit: question(of, encoded, draw_for(pairs, visit))
    for visit in (0, 1):
        first = ask(policy, visit)
        assert same(ask(policy, visit + 2), first) and same(ask(policy, visit + 4), first)
        assert same(ask(free, visit), first) and not same(ask(free, visit + 2), first)
    for visit in (-1, -2, -3):
        assert same(ask(policy, visit), ask(free, visit))
    assert not same(ask(policy, -1), ask(policy, 1))


@pytest.mark.parametrize("settings", [{"latents": STORED}, {"reference": "stored"}], ids=["latents", "errors"])
def test_draws_that_return_are_prepared_once(make, pairs, settings):
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
def test_levels_of_their_own_in_one_batch_equal_one_pair_at_a_time(make, pairs, name, mode):
    policy = shake(make(latents={"name": name, "mode": mode}, caption_dropout=0.5))
    draw = draw_for(pairs, visit=1)
    assert len(set(levels_of(policy, policy.encode(pairs), draw))) == 4
    together = question(policy, policy.encode(pairs), draw)
    margins = margin(policy, policy.encode(pairs), draw)
    for i, pair in enumerate(pairs):
        encoded, own = policy.encode([pair]), draw_for([pair], visit=1)
        alone = question(policy, encoded, own)
        torch.testing.assert_close(alone.x_t, together.x_t[i::4], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(margin(policy, encoded, own), margins[i : i + 1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "told"),
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
def test_the_released_mode_tells_the_network_what_the_scripts_told_it(make, pairs, level, told):
    for name, each in (("ddim_inversion", 1), ("renoise", 2)):
        policy = make(latents={"name": name, "mode": "released"}, timesteps=(level, level + 1))
        encoded = policy.encode(pairs[:1])
        with spied(policy.module) as calls:
            policy.logps(encoded, draw_for(pairs[:1]))
        assert [t for _, t in calls] == [[t, t] for t in told for _ in range(each)] + [[level, level]]


def test_the_exact_mode_tells_the_network_where_each_step_starts(make, pairs):
    policy = make(latents={"name": "ddim_inversion"}, timesteps=(250, 251))
    encoded = policy.encode(pairs[:1])
    with spied(policy.module) as calls:
        policy.logps(encoded, draw_for(pairs[:1]))
    assert [t for _, t in calls] == [[0, 0], [83, 83], [166, 166], [250, 250]]
    clean = policy._denoiser.clean(encoded, draw_for(pairs[:1]))
    assert torch.equal(calls[0][0], clean) and len(calls[0][0]) == 2


def test_each_candidate_is_inverted_for_itself(make, pairs):
    """Without added noise nothing of the one reaches the other: swapped candidates swap their latents."""
    policy = shake(make(latents=BY_POLICY, flip="none"))
    pair = pairs[0]
    draw = Draw(0, (pair.id,), (0,))
    swapped = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
    encoded, other = policy.encode([pair]), policy.encode([swapped])
    sharp = [replace(batch, std=torch.zeros_like(batch.std)) for batch in (encoded, other)]
    one, two = (question(policy, batch, draw).x_t for batch in sharp)
    torch.testing.assert_close(one, two.flip(0), rtol=1e-5, atol=1e-5)
    u, v = (margin(policy, batch, draw) for batch in sharp)
    torch.testing.assert_close(u, -v, rtol=1e-3, atol=1e-6)


def test_latents_that_do_not_fit_on_the_disk_are_refused_before_the_first_is_found(make, pairs, monkeypatch):
    policy = make(latents={"name": "ddim_inversion", "inverter": "reference", "store": True})
    policy.prepare(pairs)
    needed = 8 * 2 * 2 * (4 * 8 * 8) * 4  # visits, candidates, latents of each, numbers, bytes
    plan = [(i, visit) for visit in (0, 1) for i in range(4)]
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage("/")._replace(free=needed - 1)
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(RunError, match="8 visits take 33 kB.*model.draws=4"):
            policy.prepare_reference(pairs, plan, seed=0)
    assert policy.forward_counts.inversion == 0
    assert policy.prepare_reference(pairs, plan, seed=0) == 8
