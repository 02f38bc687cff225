"""The laws of a policy's log-probabilities, checked for every kind: the toy of the loop's tests, denoisers, language
models. The laws of what it keeps and makes are in `test_battery_files`, those of its fingerprint in
`test_battery_fingerprint`."""

from __future__ import annotations

import inspect
import random

import numpy as np
import pytest
import torch

from diffalign.errors import ConfigError
from diffalign.policies.policy import LatentPolicy, Policy, SupportsContentDegree, SupportsNoiseProbe, SupportsSteps
from tests.policies.cases import ABILITIES, close, numbers, total
from tests.policies.conftest import draw_for, shake

OPTIONAL = (LatentPolicy, SupportsNoiseProbe, SupportsSteps, SupportsContentDegree)


def parameters_of(function):
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


@pytest.mark.parametrize("protocol", [Policy, *OPTIONAL])
def test_members_have_the_names_and_parameters_of_the_protocol(policy, protocol):
    promised = protocol is Policy or protocol in ABILITIES[policy.medium]
    assert isinstance(policy, protocol) == promised
    if not promised:
        return
    for name, member in vars(protocol).items():
        if name.startswith("_") or not inspect.isfunction(member):
            continue
        expected, actual = parameters_of(member), parameters_of(getattr(type(policy), name))
        assert [(p.name, p.kind) for p in actual] == [(p.name, p.kind) for p in expected], name
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.default == theirs.default or theirs.default is inspect.Parameter.empty, (name, ours.name)


def test_a_policy_describes_itself_and_shows_a_pair(bench, policy):
    rows = policy.describe()
    assert {"model", "reference"} <= set(rows) and all(isinstance(text, str) and text for text in rows.values())
    assert policy.show(bench.pairs[0])
    assert policy.reference_kind in ("adapter_off", "copy")


def test_logps_are_one_float32_per_pair_and_candidate(bench, policy):
    for batch in (policy.logps(bench.encoded, bench.draw), policy.reference_logps(bench.encoded, bench.draw)):
        assert len(batch.candidates) == 2
        for candidate in batch.candidates:
            assert candidate.logps.shape == (4,) and candidate.logps.dtype == torch.float32
            assert candidate.logps.isfinite().all()
        assert all(values.shape == (4,) for values in batch.info.values())


def test_at_step_0_the_policy_is_its_reference_and_then_moves_while_the_reference_stays(bench, policy):
    assert torch.equal(numbers(policy.logps(bench.encoded, bench.draw)), bench.at_start)
    shake(policy)
    assert (numbers(policy.logps(bench.encoded, bench.draw)) != bench.at_start).all()
    assert torch.equal(numbers(policy.reference_logps(bench.encoded, bench.draw)), bench.at_start)


def test_a_row_depends_on_its_own_pair_and_draw_only(bench, policy):
    shake(policy)
    for logps in (policy.logps, policy.reference_logps):
        whole = numbers(logps(bench.encoded, bench.draw))
        for row, pair in enumerate(bench.pairs):
            assert close(numbers(logps(policy.encode([pair]), draw_for([pair])))[:, 0], whole[:, row])
        order = [2, 0, 3, 1]
        shuffled = [bench.pairs[row] for row in order]
        assert close(numbers(logps(policy.encode(shuffled), draw_for(shuffled))), whole[:, order])


def test_a_batch_is_ordered_by_a_permutation(bench, policy):
    twice = [*bench.pairs, *bench.pairs]
    assert sorted(policy.microbatch_order(twice)) == list(range(8))


def test_equal_draws_give_equal_numbers_and_no_global_generator_is_used(bench, policy):
    shake(policy)
    one = numbers(policy.logps(bench.encoded, bench.draw))
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    again = numbers(policy.logps(policy.encode(bench.pairs), bench.draw))
    policy.reference_logps(bench.encoded, bench.draw)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(one, again)
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


@pytest.mark.parametrize("changed", [{"visit": 1}, {"seed": 1}], ids=["visit", "seed"])
def test_another_draw_gives_other_numbers_where_held_out_pairs_are_averaged_over_draws(bench, policy, changed):
    other = numbers(policy.reference_logps(bench.encoded, draw_for(bench.pairs, **changed)))
    if policy.eval_draws > 1:
        assert (other != bench.at_start).any(0).all()
    else:
        assert torch.equal(other, bench.at_start)


def test_the_gradient_reaches_every_trainable_parameter_and_no_other(bench, policy):
    shake(policy)
    total(policy.logps(bench.encoded, bench.draw)).backward()
    trainable = policy.trainable()
    assert all(parameter.grad is not None for parameter in trainable.values())
    assert any(parameter.grad.any() for parameter in trainable.values())
    trained = {id(parameter) for parameter in trainable.values()}
    assert all(p.grad is None for p in policy.module.parameters() if id(p) not in trained)
    with torch.no_grad():  # as the loop calls it
        batch = policy.reference_logps(bench.encoded, bench.draw)
    assert not any(candidate.logps.requires_grad for candidate in batch.candidates)


def test_a_pass_with_gradient_counts_three_passes_without(bench, policy):
    counts = [policy.forward_counts.as_dict()["forwards"]]
    for logps in (policy.reference_logps, policy.logps):
        logps(bench.encoded, bench.draw)
        counts.append(policy.forward_counts.as_dict()["forwards"])
    assert counts[1] > counts[0] and counts[2] - counts[1] == 3 * (counts[1] - counts[0])
    assert policy.forward_counts.summary()


def test_parts_add_up_to_the_logps_and_their_divergence_is_zero_at_step_0(bench, policy):
    start, _ = policy.compare_parts(bench.encoded, bench.draw)
    assert not any(candidate.divergence.any() for candidate in start.candidates)
    shake(policy)
    sides = policy.compare_parts(bench.encoded, bench.draw)
    for side, logps in zip(sides, (policy.logps, policy.reference_logps), strict=True):
        assert close(numbers(side), numbers(logps(bench.encoded, bench.draw)))
        for candidate in side.candidates:
            assert close(candidate.parts.sum(1), candidate.logps)
    for candidate in sides[0].candidates:
        assert (candidate.divergence >= 0).all() and (candidate.divergence.sum(1) > 0).all()
    assert all(c.logps.requires_grad for c in sides[0].candidates)
    assert not any(c.parts.requires_grad for c in sides[1].candidates)


def test_an_earlier_state_becomes_the_reference_or_is_kept_beside_it(bench, policy):
    earlier = shake(policy, seed=5).state()
    expected = numbers(policy.logps(bench.encoded, bench.draw))
    moved = bench.case.open()
    shake(moved, seed=6)
    own = numbers(moved.logps(bench.encoded, bench.draw))
    moved.set_previous(earlier)
    assert torch.equal(numbers(moved.previous_logps(bench.encoded, bench.draw)), expected)
    assert torch.equal(numbers(moved.reference_logps(bench.encoded, bench.draw)), bench.at_start)
    moved.set_previous(moved.state())
    moved.set_reference(earlier)
    assert moved.reference_kind == "earlier"
    assert torch.equal(numbers(moved.reference_logps(bench.encoded, bench.draw)), expected)
    assert torch.equal(numbers(moved.previous_logps(bench.encoded, bench.draw)), own)
    assert torch.equal(numbers(moved.logps(bench.encoded, bench.draw)), own)


def test_a_second_adapter_starts_as_the_first_and_trains_apart_from_it(bench):
    policy = bench.case.open()
    if bench.case.full:
        with pytest.raises(ConfigError, match="adapter"):
            policy.add_second_adapter()
        return
    shake(policy)
    first = set(policy.trainable())
    second = policy.add_second_adapter()
    assert set(policy.trainable()) == first | set(second.parameters) and set(policy.state()) == set(policy.trainable())
    batch = policy.second_adapter_logps(bench.encoded, bench.draw)
    assert close(numbers(batch), numbers(policy.logps(bench.encoded, bench.draw)))
    total(batch).backward()
    reached = {name for name, parameter in policy.trainable().items() if parameter.grad is not None}
    assert reached == set(second.parameters)
