"""Samples of an earlier checkpoint as rejected candidates: exact references, exact resumes, nothing made twice."""

import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.devices.processes import Processes
from diffalign.errors import ConfigError
from diffalign.pairs import PAIRS, from_memory
from diffalign.pairs.checkpoint_pool import CheckpointPool, select

from .fakes import FakePolicy, Waiting, answer, fake_context, some_pairs

DATA = from_memory(some_pairs())
NEEDED = [0, 2, 3, 4, 7, 8, 9]


def source(data=DATA, **settings):
    return PAIRS["checkpoint"](data, **{"batch": 2, **settings})


def latents(pairs):
    return {pair.id: pair.rejected.read()["latent"] for pair in pairs if pair.rejected is not None}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def run_rounds(policy, folder, rounds, needed=NEEDED, **settings):
    """The samples of each round, of a policy that learns between rounds."""
    samples = []
    for number in rounds:
        samples.append(latents(source(**settings).begin_round(number, needed, fake_context(policy, folder))))
        policy.learn()
    return samples


def test_needed_pairs_get_samples_and_the_others_stay_without(tmp_path):
    policy, reports = FakePolicy(), []
    context = fake_context(policy, tmp_path, progress=lambda *report: reports.append(report))
    pairs = source().begin_round(0, NEEDED, context)
    assert [(p.id, p.prompt, p.chosen) for p in pairs] == [(p.id, p.prompt, p.chosen) for p in DATA.pairs]
    assert [i for i, pair in enumerate(pairs) if pair.rejected is not None] == NEEDED
    assert policy.batches == [2, 2, 2, 1] and policy.sampling_blocks == 1
    seeds = dict(zip(NEEDED, (seed for _, seed in policy.requests), strict=True))
    assert len(set(seeds.values())) == 7 and all(0 <= seed < 2**31 for seed in seeds.values())
    for i in NEEDED:
        assert torch.equal(latents(pairs)[pairs[i].id], answer(policy.weights, pairs[i].prompt, seeds[i]))
    assert reports[0] == ("sample pairs (round 0, by checkpoint 0)", 0, 7) and reports[-1][1:] == (7, 7)


def test_the_settings_reach_the_policy(tmp_path):
    policy = FakePolicy()
    settings = {"steps": 20, "guidance": 5.0, "sampler": "own", "eta": 0.5, "roundtrip": True}
    source(**settings).begin_round(0, [0], fake_context(policy, tmp_path))
    assert policy.settings == [{**settings, "batch": 2}]


def test_latest_samples_from_the_state_at_the_beginning_of_the_round(tmp_path):
    policy = FakePolicy()
    for number in range(3):
        before = policy.state()
        made = latents(source(select="latest").begin_round(number, [1], fake_context(policy, tmp_path)))
        assert all(torch.equal(policy.reference[name], before[name]) for name in before)
        assert torch.equal(made["p1"], answer(before, *policy.requests[-1]))
        policy.learn()


def test_the_reference_is_the_stored_entry_bit_for_bit_and_the_policy_is_untouched(tmp_path):
    policy, history = FakePolicy(), []
    for number in range(6):
        history.append(policy.state())
        weights = policy.weights
        source().begin_round(number, [0], fake_context(policy, tmp_path))
        chosen = select("uniform", number, 5)
        assert policy.weights is weights and all(torch.equal(weights[n], history[-1][n]) for n in weights)
        assert all(torch.equal(policy.reference[n], history[chosen][n]) for n in weights)
        assert policy.reference["half"].dtype == torch.bfloat16
        assert CheckpointPool(tmp_path / "pool").indices() == list(range(number + 1))
        policy.learn()


def test_initial_is_the_initial_model_in_every_round(tmp_path):
    policy = FakePolicy()
    first = policy.state()
    run_rounds(policy, tmp_path, range(4), select="initial")
    assert torch.equal(policy.reference["lora.a"], first["lora.a"])


def test_samples_do_not_depend_on_batch_order_or_other_pairs(tmp_path):
    whole = run_rounds(FakePolicy(), tmp_path / "a", [0], range(10))[0]
    few = run_rounds(FakePolicy(), tmp_path / "b", [0], [3, 8], batch=5)[0]
    assert same(few, {key: whole[key] for key in ("p3", "p8")})
    turned = source(from_memory(reversed(DATA.pairs))).begin_round(
        0, range(10), fake_context(FakePolicy(), tmp_path / "c")
    )
    assert same(latents(turned), whole)


def test_each_round_and_each_run_has_its_own_seeds(tmp_path):
    policy = FakePolicy()
    run_rounds(policy, tmp_path, range(3), select="initial")
    assert max(Counter(policy.requests).values()) == 1
    other = FakePolicy()
    source().begin_round(0, NEEDED, fake_context(other, tmp_path / "other", seed=6))
    assert not set(other.requests) & set(policy.requests)


def test_an_interrupted_round_resumes_and_equals_an_uninterrupted_one(tmp_path):
    whole = run_rounds(FakePolicy(), tmp_path / "whole", [0, 1])[1]
    policy = FakePolicy()
    run_rounds(policy, tmp_path / "killed", [0])
    policy.raise_after = len(policy.requests) + 5
    with pytest.raises(KeyboardInterrupt):
        run_rounds(policy, tmp_path / "killed", [1])
    again = FakePolicy()
    again.learn(1)
    assert same(run_rounds(again, tmp_path / "killed", [1])[0], whole)
    assert len(again.requests) == 7 - 4  # whole batches of two were on the disk


def test_a_resume_in_the_middle_of_a_round_gives_the_same_pairs_and_reference(tmp_path):
    policy = FakePolicy()
    start = policy.weights
    first = run_rounds(policy, tmp_path, [0], select="latest")[0]
    policy.learn(5)
    policy.requests.clear()
    blocks, states = policy.sampling_blocks, policy.states
    assert same(run_rounds(policy, tmp_path, [0], select="latest")[0], first)
    assert not policy.requests and (policy.sampling_blocks, policy.states) == (blocks, states)
    assert torch.equal(policy.reference["lora.a"], start["lora.a"])
    assert CheckpointPool(tmp_path / "pool").indices() == [0]


def test_two_processes_together_make_the_samples_of_one(tmp_path):
    alone = run_rounds(FakePolicy(), tmp_path / "one", [0])[0]
    barrier = threading.Barrier(2, timeout=20)
    policies, samples = [FakePolicy(), FakePolicy()], [None, None]

    def work(rank):
        context = fake_context(policies[rank], tmp_path / "two", processes=Processes(rank, 2, Waiting(barrier)))
        samples[rank] = latents(source().begin_round(0, NEEDED, context))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert same(samples[0], alone) and same(samples[1], alone)
    assert [len(policy.requests) for policy in policies] == [3, 4]
    assert [policy.states for policy in policies] == [1, 0]


def test_a_checkpoint_that_is_chosen_again_reuses_its_samples(tmp_path):
    policy = FakePolicy()
    first, second = run_rounds(policy, tmp_path, range(2), select="initial", seeds="checkpoint")
    assert same(first, second) and len(policy.requests) == 7
    third = run_rounds(policy, tmp_path, [2], range(10), select="initial", seeds="checkpoint")[0]
    assert same({key: third[key] for key in first}, first) and len(policy.requests) == 10
    other = run_rounds(policy, tmp_path, [3], select="latest", seeds="checkpoint")[0]
    assert not same(other, first)


def test_samples_of_earlier_rounds_are_removed_except_the_last_rounds(tmp_path):
    policy = FakePolicy()
    run_rounds(policy, tmp_path, range(4))
    assert sorted(f.name for f in (tmp_path / "samples").iterdir()) == ["round-000002", "round-000003"]
    count = len(policy.requests)
    run_rounds(policy, tmp_path, [2])
    assert len(policy.requests) == count


@pytest.mark.filterwarnings("ignore:the cache file")
def test_a_resume_makes_a_damaged_sample_again(tmp_path):
    policy = FakePolicy()
    pairs = source(batch=20).begin_round(0, [0, 1], fake_context(policy, tmp_path))
    whole = {key: value.clone() for key, value in latents(pairs).items()}
    [shard] = (tmp_path / "samples").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.warns(RuntimeWarning, match="damaged"):
        again = source(batch=20).begin_round(0, [0, 1], fake_context(policy, tmp_path))
    assert same(latents(again), whole)


def test_unusual_prompts_and_ids_are_safe(tmp_path):
    ids = ["../../etc/passwd", "a/b\\c", "<script>x</script>", "name::tensor", "zero\0byte", "\n", "ü😀", "x" * 500]
    data = from_memory([Pair(key, f"{key} \u2028 {{}} %s", "good", None) for key in ids])
    folder = tmp_path / "run"
    pairs = source(data).begin_round(0, range(len(ids)), fake_context(_Surrogates(), folder))
    assert list(latents(pairs)) == ids
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in folder.iterdir()} == {"pool", "samples"}


class _Surrogates(FakePolicy):
    """Replaces surrogates in prompts, because the fake's noise needs encodable ones."""

    def make_candidates(self, prompts, *args, **settings):
        return super().make_candidates([p.encode("utf-8", "replace").decode() for p in prompts], *args, **settings)


def test_rejected_candidates_of_the_data_are_not_used():
    alone = from_memory([replace(pair, rejected=None) for pair in DATA.pairs])
    assert all(pair.rejected is None and "rejected" not in pair.scores for pair in source().pairs)
    assert [pair.id for pair in source(alone).pairs] == [pair.id for pair in source().pairs]


def test_the_summary_says_where_both_candidates_come_from():
    assert source().summary() == (
        "10 winners on 5 prompts from pairs in memory; "
        "rejected: samples of an earlier checkpoint (uniform), new every 30 steps"
    )
    assert source(every=7).every == 7 and len(source()) == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [("every", 0), ("every", 1.5), ("every", True), ("batch", -1), ("select", "last"), ("seeds", "rounds")],
)
def test_settings_out_of_range_are_named_as_in_the_recipe(name, value):
    with pytest.raises(ConfigError, match=f"pairs.{name} must be .*; got .*--set pairs.{name}="):
        source(**{name: value})
