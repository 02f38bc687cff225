"""Single examples, desirable and not: one baseline per batch, for every size of micro-batch; metrics per side."""

import json
import math
import socket
from dataclasses import replace

import pytest
import torch

from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError
from diffalign.losses import LOSSES
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.step.batch_order import BatchOrder
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.kto_baseline import MismatchedPairs, mismatched_pairs
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from tests.tiny_text import chat_pairs, tiny_llm
from tests.training.test_resume import metrics, same, start
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

KTO = {"pairs": "singles", "loss": {"name": "kto", "beta": 100.0}}
PLAIN = {"train__ema_decay": None, "log__every": 1}


def run(folder, rows=None, policy=None, **changes):
    policy = policy or ToyPolicy()
    recipe = toy_recipe(folder, **{**KTO, **changes})
    return policy, train(recipe, policy=policy, pairs=toy_pairs() if rows is None else rows)


@pytest.fixture
def points(monkeypatch):
    """The KTO baselines of a run's steps."""
    baselines = []
    baseline = GradientComputer.baseline

    def recorded(self, pairs, batch):
        baselines.append(baseline(self, pairs, batch))
        return baselines[-1]

    monkeypatch.setattr(GradientComputer, "baseline", recorded)
    return baselines


def test_kto_starts_at_a_half_and_learns_which_examples_are_good(tmp_path):
    _, result = run(tmp_path, train__steps=60, log__every=1)
    first, last = metrics(tmp_path)[0], result.metrics
    assert first["loss"] == pytest.approx(0.5, abs=1e-6) and first["rewards/accuracies"] == 0.5 and first["kl"] == 0.0
    assert last["loss"] < 0.4 and last["rewards/accuracies"] > 0.8
    assert last["rewards/chosen"] > 0.0 > last["rewards/rejected"]
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"])
    assert any(text.startswith("It learns") for text in result.summary)


def test_a_batch_has_one_baseline_whatever_its_pieces(tmp_path, points):
    whole, _ = run(tmp_path / "a", **PLAIN, train__micro_batch_size=8)
    half = len(points)
    pieces, _ = run(tmp_path / "b", **PLAIN, train__micro_batch_size=1)
    assert any(point > 1e-4 for point in points) and len({float(point) for point in points[:half]}) > 3
    torch.testing.assert_close(torch.stack(points[:half]), torch.stack(points[half:]), rtol=1e-3, atol=1e-6)
    assert torch.allclose(whole.state()["change"], pieces.state()["change"], atol=1e-5, rtol=1e-4)
    for one, other in zip(metrics(tmp_path / "a"), metrics(tmp_path / "b"), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name


def test_a_killed_run_resumes_bit_for_bit(tmp_path):
    # Two micro-batches for the point and two with gradients in each step: killed while measuring step 8, and within it.
    typed = [f"{name}={json.dumps(value)}" for name, value in KTO.items()]
    kills = {"measuring": 30, "training": 31}
    jobs = [[str(tmp_path / name), *typed, "log__every=3", f"die_at={call}"] for name, call in kills.items()]
    process = start("each", json.dumps(jobs))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    straight, _ = run(tmp_path / "straight", log__every=3)
    for name in kills:
        assert complete_checkpoints(tmp_path / name / "checkpoints")[-1].name == "step-00000005"
        again = ToyPolicy()
        train(toy_recipe(tmp_path / name, **KTO, log__every=3), policy=again, pairs=toy_pairs(), resume=True)
        assert torch.equal(again.state()["change"], straight.state()["change"])
        assert metrics(tmp_path / name) == metrics(tmp_path / "straight")
        same(tmp_path / name / "checkpoints", tmp_path / "straight/checkpoints")


def test_two_processes_have_the_baseline_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    typed = [f"{name}={json.dumps(value)}" for name, value in KTO.items()]
    two = [start(tmp_path / "two", *typed, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]
    for process in two:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    policy, _ = run(tmp_path / "one", train__micro_batch_size=8)
    changes = [json.loads((tmp_path / f"two/seen-{rank}.json").read_text())[1] for rank in range(2)]
    assert changes[0] == changes[1]
    assert torch.allclose(torch.tensor(changes[0]), policy.state()["change"], atol=1e-5, rtol=1e-4)
    for one, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name


def test_each_prompt_is_mismatched_with_the_answer_before_it_under_its_own_id():
    pairs = [Pair(f"p{k}", f"q{k}", f"a{k}", None, scores={"chosen": {"judge": k}}) for k in range(4)]
    found = MismatchedPairs(pairs, mismatched_pairs([(3, 0), (1, 2), (0, 0)], 4))
    assert [(x.prompt, x.chosen, x.id) for x in found] == [
        ("q3", "a0", "p3 with p0"),
        ("q1", "a3", "p1 with p3"),
        ("q0", "a1", "p0 with p1"),
    ]
    assert [stray.visit for stray in mismatched_pairs([(3, 0), (1, 2), (0, 0)], 4)] == [0, 2, 0]
    assert not any(x.scores for x in found)  # of another answer


def test_the_baseline_is_the_mean_logratio_of_mismatched_pairs_and_never_negative(tmp_path, points):
    # In the first step policy and reference are equal; then a policy that makes everything likelier, or unlikelier.
    for sign in (1.0, -1.0):
        policy = ToyPolicy()
        reference = policy.reference_logps
        moved = lambda encoded, draw, of=reference, by=0.3 * sign: replace(
            found := of(encoded, draw), candidates=tuple(replace(c, logps=c.logps - by) for c in found.candidates)
        )
        policy.reference_logps = moved
        run(tmp_path / f"{sign}", policy=policy, train__steps=1)
    assert [float(point) for point in points] == pytest.approx([0.3, 0.0], abs=1e-6)


def test_kto_with_batches_of_one_is_refused_because_it_would_have_no_reference_point(tmp_path):
    with pytest.raises(ConfigError, match=r"'kto' measures gains from a reference point.*--set train.batch_size=8"):
        run(tmp_path, train__batch_size=1, train__steps=2)
    run(tmp_path / "bco", loss={"name": "bco", "beta": 100.0}, train__batch_size=1, train__steps=2)


@pytest.mark.parametrize("size, batch_size", [(5, 4), (3, 2), (2, 2), (2, 5), (7, 3)])
def test_an_example_never_gets_its_own_answer(size, batch_size):
    for seed in range(20):
        for step in range(20):
            batch = BatchOrder(size, batch_size, seed).batch(step)
            found = mismatched_pairs(batch, size)
            assert [(m.prompt, m.visit) for m in found] == batch and all(m.prompt != m.answer for m in found)


def test_an_example_that_is_in_a_batch_twice_is_passed_over():
    assert [m.answer for m in mismatched_pairs([(0, 0), (2, 0), (2, 1), (1, 1)], 3)] == [1, 0, 0, 2]
    assert [m.answer for m in mismatched_pairs([(2, 0), (2, 1)], 3)] == [0, 0]  # of another example of the set
    assert mismatched_pairs([(0, 0), (0, 1)], 1) == []


def test_pieces_of_a_batch_have_the_shares_of_the_whole_batch(tmp_path):
    # NPO with a mean for each kind, in micro-batches that have one kind only.
    npo = {"loss": {"name": "npo", "beta": 100.0, "separate_means": True}, **PLAIN, "train__steps": 3}
    rows = judged(True, False, False, False)
    whole, _ = run(tmp_path / "a", rows, **npo, train__batch_size=4, train__micro_batch_size=4)
    pieces, _ = run(tmp_path / "b", rows, **npo, train__batch_size=4, train__micro_batch_size=1)
    assert torch.allclose(whole.state()["change"], pieces.state()["change"], atol=1e-6, rtol=1e-5)
    plain, _ = run(tmp_path / "c", rows, **{**npo, "loss": {"name": "npo", "beta": 100.0}}, train__batch_size=4)
    assert not torch.allclose(whole.state()["change"], plain.state()["change"], atol=1e-4)


def test_candidates_of_held_out_pairs_are_evaluated_as_single_examples(tmp_path):
    rows = [{"prompt": f"q{k}", "chosen": f"c h{k}", "rejected": f"r h{k}"} for k in range(3)]
    (tmp_path / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": "memory", "eval": str(tmp_path / "held.jsonl")}
    policy, result = run(tmp_path / "run", data=data, train__steps=60)
    assert result.metrics["eval_pairs"] == 6 and result.metrics["eval_rewards/accuracies"] > 0.7
    assert result.metrics["eval_rewards/margins"] > 0.0 and result.metrics["eval_kl"] >= 0.0
    judged = {key for key, visit in policy.seen if visit < 0 and " with " not in key}
    assert len(judged) == 6 and {key.split("/")[-1] for key in judged} == {"chosen", "rejected"}


def test_a_guard_watches_only_the_error_of_desirable_examples(tmp_path, monkeypatch):
    seen = []
    plain = GradientComputer.gradients
    monkeypatch.setattr(
        GradientComputer, "gradients", lambda self, batch, step: seen.append(plain(self, batch, step)) or seen[-1]
    )
    run(tmp_path, log__every=1)
    logged = [record["error/chosen_change"] for record in metrics(tmp_path)]
    assert [reading.chosen_change for reading in seen] == pytest.approx(logged, rel=1e-4, abs=1e-9)


def test_a_stored_reference_has_the_mismatched_pairs_too(tmp_path):
    asked = []

    class Storing(ToyPolicy):
        def prepare_reference(self, pairs, plan, seed, batch, progress, prompts):
            asked.extend((pairs[index].id, visit) for index, visit in plan)

    policy, _ = run(tmp_path, policy=Storing())
    assert set(policy.seen) == set(asked) and len(asked) == 2 * 80
    assert sum(" with " in key for key, _ in asked) == 80


def judged(*thumbs):
    return [Pair(f"j{k}", f"q{k}", f"c j{k}", None, desirable=good) for k, good in enumerate(thumbs)]


@pytest.mark.parametrize(
    ("changes", "rows", "says"),
    [
        ({"pairs": "dataset"}, toy_pairs(4), r"'kto' looks at one candidate only.*--set pairs=singles"),
        ({"pairs": "winners"}, toy_pairs(4), r"'kto' compares .* all 4 are desirable.*--set pairs=singles"),
        ({}, judged(False, False), r"all 2 are undesirable"),
        ({"loss": "sft"}, toy_pairs(4), r"'sft' .* 4 of 8 examples are undesirable.*--set pairs=winners"),
        ({"loss": "sft"}, judged(True, False), r"1 of 2 examples are undesirable.*--set pairs=winners"),
        ({"loss": {"name": "logistic", "beta": 1.0}}, judged(True, False), r"compares two.*--set loss=kto"),
        ({"labels": "seppo_gate"}, toy_pairs(4), r"'kto' reads more than these.*--set labels=hard"),
        ({"labels": {"name": "label_noise", "flip": 0.1}}, toy_pairs(4), r"uncertain which .* --set labels=hard"),
        (
            {
                "pairs": "dataset",
                "loss": {"name": "rpo", "beta": 1.0},
                "labels": {"name": "score_scaled", "alpha": 1.0},
            },
            toy_pairs(4),
            r"'rpo' reads more than these",
        ),
        (
            {"pairs": "dataset", "loss": "simpo"},
            toy_pairs(4),
            r"'simpo' is made for text.*makes image.*--set loss.name",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, changes, rows, says):
    policy = ToyPolicy()
    with pytest.raises(ConfigError, match=says):
        run(tmp_path / "run", rows, policy, **changes)
    assert not (tmp_path / "run").exists() and not policy.prepared


def test_single_examples_of_the_data_train_as_they_are(tmp_path):
    rows = judged(True, False, True, False)
    policy, result = run(tmp_path, rows, train__steps=3)
    assert {key for key, _ in policy.seen if " with " not in key} == {"j0", "j1", "j2", "j3"}
    assert math.isfinite(result.metrics["loss"])
    _, tuned = run(tmp_path / "sft", rows, pairs="winners", loss="sft", train__steps=3)
    assert tuned.metrics["loss"] > 0


@pytest.mark.parametrize("name", ["simpo", "orpo", "rpo"])
def test_text_losses_on_pairs_train_and_resume_to_the_bit(tmp_path, name):
    hyper = {"beta": 50.0} if "beta" in LOSSES[name].limits else {"weight": 1.0}
    settings = {"pairs": "dataset", "loss": {"name": name, **hyper}, "log__every": 5}

    def text():
        policy = ToyPolicy()
        policy.medium = "text"
        return policy

    straight, result = run(tmp_path / "straight", policy=text(), **settings)
    run(tmp_path / "parts", policy=text(), **settings, train__steps=5)
    again = text()
    recipe = toy_recipe(tmp_path / "parts", **settings)
    train(recipe, policy=again, pairs=toy_pairs(), resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"]) and straight.state()["change"].any()
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")
    assert bool(straight.referenced) == LOSSES[name].needs_reference
    assert 0.0 <= result.metrics["accuracy/ranking"] <= 1.0


def test_a_language_models_stored_reference_has_the_mismatched_pairs(tmp_path):
    # Every weight trains, so that nothing can be asked later.
    pairs, llm = chat_pairs(6), tiny_llm(tmp_path / "llm")
    logged = {}
    for reference in ("copy", "stored"):
        output = tmp_path / reference
        values = {
            "method": "kto",
            "model": {"path": str(llm), "cache": str(tmp_path / "cache"), "adapter": None, "reference": reference},
            "data": {"train": "in memory"},
            "train": {
                "steps": 3,
                "batch_size": 4,
                "micro_batch_size": 2,
                "learning_rate": 1e-3,
                "mixed_precision": "no",
            },
            "log": {"every": 1},
            "guard": {"action": "off"},
            "output": str(output),
        }
        values["train"] |= {"schedule": "constant", "warmup_steps": 0}
        train(make_recipe(values), pairs=pairs)
        logged[reference] = metrics(output)
    assert logged["copy"][0]["loss"] == pytest.approx(0.5, abs=1e-6) and logged["copy"][-1]["kl"] > 0.1
    for one, other in zip(*logged.values(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5) and one["kl"] == pytest.approx(
            other["kl"], abs=1e-3
        )
        assert one["length/chosen"] > 1 and "accuracy/ranking" not in one
