"""A gate that votes on means over several noises: more certain, at a known price, and otherwise the published one."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, UserError
from diffalign.labels import label_noise, seppo_gate
from diffalign.losses import CandidateLogps, PairLogps
from diffalign.policies.policy import BatchLogps
from diffalign.training.loop import train
from diffalign.training.step.gate_votes import gate_seed, with_gate_votes
from pipelines.training_cost import expected_forwards
from tests.training.tiny_runs import losses, run, state, tiny_recipe
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe


class KnownErrors:
    """The chosen logratio of a draw is ``mean + deviation z`` with a standard normal z."""

    def __init__(self, mean, deviation):
        self.mean, self.deviation, self.scored = mean, deviation, []

    def encode(self, pairs, prompts=False):
        assert all(pair.rejected is None and not pair.further for pair in pairs)
        return pairs

    def logps(self, encoded, draw):
        assert not torch.is_grad_enabled()
        self.scored.append(draw)
        return BatchLogps((CandidateLogps(self.mean + self.deviation * draw.normal("noise", ()) - 0.5),))

    def reference_logps(self, encoded, draw):
        return BatchLogps((CandidateLogps(torch.full((len(draw),), -0.5)),))


def context(policy, seed=0, draws=1):
    accelerator = SimpleNamespace(autocast=nullcontext)
    return SimpleNamespace(policy=policy, seed=seed, draws=draws, accelerator=accelerator)


def some_pairs(count):
    return [Pair(f"p{i}", "a fox", "w.png", "l.png") for i in range(count)]


def own_draw(policy, pairs, visits, seed=0):
    """The pairs' log-probabilities at their own draw."""
    from diffalign.randomness import Draw

    draw = Draw(seed, tuple(pair.id for pair in pairs), tuple(visits))
    with torch.no_grad():
        chosen, reference = policy.logps(pairs, draw).candidates[0], policy.reference_logps(pairs, draw).candidates[0]
    return PairLogps(chosen, chosen, reference, reference)


def votes(noises, policy, pairs, seed=0, visit=0, **settings):
    visits = [visit] * len(pairs)
    label = with_gate_votes(context(policy, seed), seppo_gate(pairs, noises=noises, **settings), pairs, visits)
    return label.gate(own_draw(policy, pairs, visits, seed))


def test_one_noise_is_the_published_gate_itself():
    pairs, policy = some_pairs(4), KnownErrors(0.1, 1.0)
    label = seppo_gate(pairs, noises=1)
    assert with_gate_votes(context(policy), label, pairs, [0] * 4) is label and not policy.scored
    assert seppo_gate(pairs).gate_noises == 1
    ungated = label_noise(pairs, flip=0.1)
    assert with_gate_votes(context(policy), ungated, pairs, [0] * 4) is ungated


@pytest.mark.parametrize("noises", [1, 4, 16])
def test_the_vote_on_n_noises_is_right_as_often_as_a_mean_of_n_normal_numbers(noises):
    count, mean = 2000, 0.25
    pairs = some_pairs(count)
    right = votes(noises, KnownErrors(mean, 1.0), pairs) == 1.0
    expected = 0.5 * (1 + math.erf(mean * math.sqrt(noises) / math.sqrt(2)))
    assert float(right.float().mean()) == pytest.approx(expected, abs=3 * math.sqrt(expected * (1 - expected) / count))


def test_the_variance_of_the_vote_falls_with_the_number_of_noises():
    pairs = some_pairs(1000)
    spread = [float(votes(noises, KnownErrors(0.25, 1.0), pairs).var()) for noises in (1, 4, 16, 64)]
    assert spread == sorted(spread, reverse=True) and spread[0] > 0.9 and spread[-1] < 0.2


def test_a_vote_is_a_function_of_seed_pair_and_visit_in_any_batch():
    pairs, policy = some_pairs(60), KnownErrors(0.0, 1.0)
    together = votes(3, policy, pairs)
    apart = torch.cat([votes(3, policy, pairs[first : first + 7]) for first in range(0, 60, 7)])
    assert torch.equal(together, apart) and torch.equal(together, votes(3, policy, pairs))
    assert not torch.equal(together, votes(3, policy, pairs, visit=1))
    assert not torch.equal(together, votes(3, policy, pairs, seed=1))


def test_the_further_draws_are_no_draw_of_training_nor_of_one_another():
    policy, pairs = KnownErrors(0.0, 1.0), some_pairs(2)
    votes(5, policy, pairs, seed=3)
    seeds = [draw.seed for draw in policy.scored]
    assert seeds == [*(gate_seed(3, number) for number in range(1, 5)), 3] and len(set(seeds)) == 5
    assert len({gate_seed(seed, number) for seed in range(50) for number in range(1, 9)}) == 400


def test_a_vote_is_the_sign_of_the_mean_over_the_pairs_own_draws_and_the_further_ones():
    policy, pairs = KnownErrors(0.1, 1.0), some_pairs(200)
    for draws in (1, 2):
        label = with_gate_votes(context(policy, draws=draws), seppo_gate(pairs, noises=3), pairs, [0] * 200)
        further = [d.normal("noise", ()) + 0.1 for d in policy.scored[-2:]]
        own = own_draw(policy, pairs, [0] * 200)
        assert torch.equal(label.gate(own), (draws * own.chosen_logratio + sum(further)).sign())


@pytest.mark.parametrize(("kind", "gates"), [("sign", {1.0, -1.0}), ("indicator", {1.0, 0.0})])
def test_kinds_and_ties_are_those_of_one_noise(kind, gates):
    assert set(votes(4, KnownErrors(0.0, 1.0), some_pairs(50), kind=kind).tolist()) == gates
    for tie in (0, 1):  # equal models: every noise is a tie
        assert votes(4, KnownErrors(0.0, 0.0), some_pairs(5), tie=tie).tolist() == [tie] * 5


@pytest.mark.parametrize("noises", [0, -1, 1.5, True, "2"])
def test_a_number_of_noises_that_is_none_is_refused(noises):
    with pytest.raises(ValueError, match=r"noises.*whole number of at least 1"):
        seppo_gate([], noises=noises)


SEPPO = {
    "pairs": {"name": "checkpoint", "every": 2, "select": "initial", "steps": 2, "guidance": 1.0, "batch": 2},
    "train": {"steps": 4, "learning_rate": 1e-3},
    "checkpoint": {"every": 1, "keep": 9},
}


def test_a_run_with_one_noise_ends_in_the_weights_of_a_run_without_the_setting(sd, pairs, tmp_path):
    plain = run(sd, tmp_path / "plain", pairs, labels="seppo_gate", **SEPPO)
    one = run(sd, tmp_path / "one", pairs, labels={"name": "seppo_gate", "noises": 1}, **SEPPO)
    assert all(torch.equal(value, state(one)[name]) for name, value in state(plain).items())
    assert one.policy.forward_counts.no_grad == 0


def test_a_run_with_several_noises_costs_what_is_stated_and_resumes_exactly(sd, pairs, tmp_path, capsys):
    labels = {"name": "seppo_gate", "noises": 4}
    straight = run(sd, tmp_path / "straight", pairs, labels=labels, **SEPPO)
    assert "votes on means over 4 noises: 6 further forward passes per pair" in capsys.readouterr().err
    counted = straight.policy.forward_counts.as_dict()
    assert counted["no_grad"] == 3 * 8 and counted["reference"] == (2 + 3) * 8
    recipe = tiny_recipe(sd, tmp_path / "never", labels=labels, **SEPPO)
    assert counted["forwards"] / 8 == expected_forwards(recipe, size=len(pairs)) == 8 + 6 + 2
    shorter = {**SEPPO, "train": {**SEPPO["train"], "steps": 3}}
    run(sd, tmp_path / "parts", pairs, labels=labels, **shorter)
    resumed = run(sd, tmp_path / "parts", pairs, resume=True, labels=labels, **SEPPO)
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(straight).items())
    assert losses(tmp_path / "parts") == losses(tmp_path / "straight")
    assert losses(tmp_path / "straight")[0] == pytest.approx(math.log(2), abs=1e-6)
    one = run(sd, tmp_path / "one", pairs, labels="seppo_gate", **SEPPO)
    assert any(not torch.equal(value, state(one)[name]) for name, value in state(straight).items())


def test_several_noises_are_refused_where_there_is_one_only(tmp_path):
    policy = ToyPolicy()
    recipe = toy_recipe(tmp_path, labels={"name": "seppo_gate", "noises": 2})
    policy.reference_kind = "stored"
    with pytest.raises(ConfigError, match=r"labels.noises is 2.*stored.*--set model.reference=copy"):
        train(recipe, policy=policy, pairs=toy_pairs(4))
    twofold = toy_recipe(tmp_path, labels={"name": "seppo_gate", "noises": 2}, train__fast_slow={})
    with pytest.raises(UserError, match=r"labels.noises is 2.*fast_slow.*--set labels.noises=1"):
        train(twofold, policy=ToyPolicy(), pairs=toy_pairs(4))
