"""Runs in rounds: killed anywhere, in one process or two, or thrown back by the guard, they end where they should."""

import json
import socket

import pytest
import torch

from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.errors import ConfigError
from diffalign.pairs.checkpoint_pool import CheckpointPool, select
from diffalign.training.loop import train
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from tests.training.test_resume import metrics, same, start
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

# Rounds begin before steps 0, 3, 6 and 9, all 12 pairs are met in each but the last, and 4 samples are made per call.
SAMPLED = {
    "pairs": {"name": "checkpoint", "every": 3, "steps": 2, "batch": 4},
    "labels": "seppo_gate",
    "checkpoint__every": 4,
    "checkpoint__keep": 1,
}
# Windows of latents begin with those steps, too.
WINDOWS = {"checkpoint__every": 4, "checkpoint__keep": 1}
BOTH = {**SAMPLED, "pairs": {**SAMPLED["pairs"], "every": 6}}

KILLED = {
    "sampling-the-first-round": (SAMPLED | {"guard__action": "off"}, {"die_sampling": 2}, None),
    "sampling-a-later-round": (SAMPLED, {"die_sampling": 5}, 3),
    "training-in-a-round": (SAMPLED, {"die_at": 10}, 4),
    "training-before-any-other-checkpoint": (SAMPLED | {"checkpoint__every": 0}, {"die_at": 18}, 6),
    "between-sampling-and-the-first-step": (SAMPLED, {"die_at": 7}, 3),
    "inverting-the-first-window": (WINDOWS | {"guard__action": "off"}, {"die_inverting": 5, "refresh": 3}, None),
    "inverting-a-later-window": (WINDOWS, {"die_inverting": 30, "refresh": 3}, 3),
    "training-in-a-window": (WINDOWS, {"die_at": 10, "refresh": 3}, 4),
    "inverting-after-sampling": (BOTH, {"die_inverting": 60, "refresh": 3}, 6),
}


def typed(settings):
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of runs that were killed, all of them by one process that was started once."""
    folder = tmp_path_factory.mktemp("killed")
    jobs = [[str(folder / name), *typed(settings | how)] for name, (settings, how, _) in KILLED.items()]
    process = start("each", json.dumps(jobs))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    return folder


@pytest.mark.parametrize("name", KILLED)
def test_a_run_killed_in_a_round_resumes_exactly(killed, tmp_path, name):
    settings, how, left = KILLED[name]
    refresh = how.get("refresh", 0)
    steps = [int(path.name.split("-")[1]) for path in complete_checkpoints(killed / name / "checkpoints")]
    assert steps == ([] if left is None else [left])
    done, straight = ToyPolicy(refresh=refresh), ToyPolicy(refresh=refresh)
    train(toy_recipe(tmp_path, **settings), policy=straight, pairs=toy_pairs())
    train(toy_recipe(killed / name, **settings), policy=done, pairs=toy_pairs(), resume=True)
    assert torch.equal(done.state()["change"], straight.state()["change"])
    assert metrics(killed / name) == metrics(tmp_path)
    same(killed / name / "checkpoints", tmp_path / "checkpoints")
    assert done.seen == straight.seen[8 * (left or 0) :]
    assert len(done.made) < len(straight.made) or not straight.made  # what is there is not made again
    assert len(done.inverted) < len(straight.inverted) or not straight.inverted


def test_each_round_uses_samples_of_the_reference_that_it_chose(tmp_path):
    policy = ToyPolicy()
    train(toy_recipe(tmp_path, **SAMPLED, train__ema_decay=None), policy=policy, pairs=toy_pairs())
    pool = CheckpointPool(tmp_path / "rounds" / "pool")
    assert pool.indices() == [0, 1, 2, 3]
    assert not pool.load(0)["change"].any() and pool.load(1)["change"].any()
    assert [select("uniform", number, 0) for number in range(4)] == [0, 1, 0, 3]  # or the tests above show little
    assert torch.equal(policy.reference_change, pool.load(3)["change"])
    assert len(policy.made) == 12 * 3 + 8 == len(set(policy.made))


def test_a_rollback_across_rounds_keeps_the_pairs_of_the_round(tmp_path, capsys):
    # Steps 31 to 33 are outliers; before step 33 a round begins, in the middle of the spike.
    rounds = {"name": "checkpoint", "every": 32, "steps": 2}
    settings = {"train__steps": 40, "train__learning_rate": 1e-3, "log__every": 1, "checkpoint__every": 10}
    recipe = dict(pairs=rounds, train__optimizer="sgd", labels={"name": "seppo_gate", "tie": 1}, **settings)
    straight = ToyPolicy(shout=(61, 67))
    train(toy_recipe(tmp_path / "straight", **recipe), policy=straight, pairs=toy_pairs(16))
    assert "weights go back to step 30" in capsys.readouterr().err
    assert len(straight.made) == 32  # two rounds, each sampled once
    assert CheckpointPool(tmp_path / "straight/rounds/pool").indices() == [0, 1]
    # And a run that stopped after it, before another checkpoint, repeats it with the same pairs.
    train(
        toy_recipe(tmp_path / "parts", **recipe | {"train__steps": 35}),
        policy=ToyPolicy(shout=(61, 67)),
        pairs=toy_pairs(16),
    )
    for path in complete_checkpoints(tmp_path / "parts/checkpoints")[-1].iterdir():
        path.unlink()
    again = ToyPolicy(shout=(1, 7))
    train(toy_recipe(tmp_path / "parts", **recipe), policy=again, pairs=toy_pairs(16), resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")


def test_sampled_candidates_are_handles_of_cached_tensors(tmp_path, monkeypatch):
    from diffalign.training.step.gradients import GradientComputer

    met = []
    plain = GradientComputer.gradients
    monkeypatch.setattr(
        GradientComputer, "gradients", lambda self, batch, step: met.append(self.pairs) or plain(self, batch, step)
    )
    train(toy_recipe(tmp_path, **SAMPLED), policy=ToyPolicy(), pairs=toy_pairs())
    assert met[0] is met[2] and met[2] is not met[3]
    assert all(isinstance(pair.rejected, CachedCandidate) for pair in met[0])


def test_two_processes_sample_and_invert_as_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = BOTH | {"labels": "hard"}  # a gate would make a sign out of a rounding
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    arguments = typed(settings | {"refresh": 3})
    two = [start(tmp_path / "two", *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]
    for process in two:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    policy = ToyPolicy(refresh=3)
    train(toy_recipe(tmp_path / "one", **settings), policy=policy, pairs=toy_pairs())
    _, changes, made = zip(
        *(json.loads((tmp_path / f"two/seen-{rank}.json").read_text()) for rank in range(2)), strict=True
    )
    assert changes[0] == changes[1]
    assert all(made) and sorted(map(tuple, made[0] + made[1])) == sorted(policy.made)
    assert torch.allclose(torch.tensor(changes[0]), policy.state()["change"], atol=1e-5, rtol=1e-4)
    for one, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name


def test_pairs_that_change_within_a_window_of_latents_are_refused(tmp_path):
    recipe = toy_recipe(tmp_path, **SAMPLED)
    with pytest.raises(ConfigError, match=r"latents.refresh is 2 .*--set latents.refresh=3"):
        train(recipe, policy=ToyPolicy(refresh=2), pairs=toy_pairs())
    assert not (tmp_path / "recipe.yaml").exists()
