"""Small parts of the loop: rates, averages, metrics, checkpoints, trackers, the disk."""

import json
import math

import pytest
import torch
from torch import nn

from diffalign.errors import ConfigError, RunError
from diffalign.labels import ExpectedLoss
from diffalign.losses import LOSSES, CandidateLogps, PairLogps, single_loss_objective
from diffalign.training.optim.ema import Ema
from diffalign.training.optim.optimizer import OPTIMIZERS, learning_rate, make_optimizer
from diffalign.training.recipe.schema import Train
from diffalign.training.report.trackers import PACKAGES, MetricsFile, check_trackers
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.micro_batch_metrics import metric_rows
from diffalign.training.storage.checkpoint import (
    Snapshot,
    check_disk,
    complete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)


def rates(**settings):
    train = Train(steps=10, learning_rate=2.0, **settings)
    return [learning_rate(train, step) for step in range(10)]


def test_schedules():
    assert rates() == [2.0] * 10
    assert rates(schedule="constant_with_warmup", warmup_steps=4)[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates(schedule="linear") == pytest.approx([2.0 - 0.2 * k for k in range(10)])
    assert rates(schedule="cosine", warmup_steps=2)[2] == 2.0
    assert rates(schedule="cosine")[5] == pytest.approx(1.0)


def test_the_published_rate_is_the_base_times_the_effective_batch():
    assert learning_rate(Train(steps=1, learning_rate=1e-8, scale_lr=True, batch_size=2048), 0) == pytest.approx(
        2.048e-5
    )


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_each_optimizer_steps_downhill(name):
    weight = nn.Parameter(torch.full((4, 3), 2.0))
    optimizer = make_optimizer(Train(steps=1, learning_rate=0.1, optimizer=name), [weight])
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert weight.square().sum() < 48


def test_every_optimizer_of_the_recipe_is_in_the_table():
    assert set(Train.model_fields["optimizer"].annotation.__args__) == set(OPTIMIZERS)


def test_a_missing_package_is_named_with_the_line_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'diffalign\[lowbit\]'"):
        make_optimizer(Train(steps=1, learning_rate=0.1, optimizer="adamw8bit"), [])
    with pytest.raises(ConfigError, match="pip install wandb"):
        check_trackers(["wandb"])
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])


def test_trackers_are_those_that_accelerate_knows():
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert set(PACKAGES) <= {str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS}


def test_the_average_follows_ten_plain_lines():
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    ema, plain = Ema({"w": weight}, decay=0.3), weight.detach().clone()
    for n in range(1, 6):
        with torch.no_grad():
            weight.mul_(1.5)
        ema.update()
        decay = min(0.3, (1 + n) / (10 + n))
        plain = decay * plain + (1 - decay) * weight.detach()
    assert torch.allclose(ema.shadow["w"], plain)
    trained = weight.detach().clone()
    with ema.swapped():
        assert torch.allclose(weight, plain)
    assert torch.equal(weight, trained)


def rows(loss, logps, info):
    """The metrics of a micro-batch with sure labels."""
    values = loss(logps)
    return metric_rows(loss, logps, ExpectedLoss(values, {}), info)


def scores(chosen, rejected):
    zero = CandidateLogps(torch.zeros(len(chosen)))
    return PairLogps(CandidateLogps(torch.tensor(chosen)), CandidateLogps(torch.tensor(rejected)), zero, zero)


def test_metrics_are_means_over_pairs_whatever_the_pieces():
    loss = single_loss_objective(LOSSES["logistic"].bind(beta=10.0))
    chosen, rejected = [0.1, -0.2, 0.3, 5.0], [0.0, 0.0, 0.3, 0.0]
    level = torch.tensor([0.1, 0.1, 0.5, 0.99])
    whole, parts = Metrics(loss), Metrics(loss)
    whole.add(rows(loss, scores(chosen, rejected), {"level": level}))
    for cut in (slice(0, 3), slice(3, 4)):
        piece = scores(chosen[cut], rejected[cut])
        parts.add(rows(loss, piece, {"level": level[cut]}))
    record = whole.read()
    assert record == pytest.approx(parts.read())
    assert record["rewards/chosen"] == pytest.approx(10 * sum(chosen) / 4)
    assert record["rewards/accuracies"] == (1 + 0 + 0.5 + 1) / 4  # a tie counts half
    assert record["error/chosen_change"] == pytest.approx(-2 * sum(chosen) / 4)
    assert record["accuracy/level_0.0-0.2"] == 0.5 and record["accuracy/level_0.8-1.0"] == 1.0
    assert "accuracy/level_0.2-0.4" not in record
    assert record["health/saturated"] == 0.25  # the pair with reward margin 50


def thumbs(logps, desirable, point, lengths=None):
    """Single examples against a reference of zeros."""
    lengths = None if lengths is None else torch.tensor(lengths)
    zero = CandidateLogps(torch.zeros(len(logps)))
    given = {"desirable": torch.tensor(desirable), "baseline": torch.tensor(point)}
    return PairLogps(CandidateLogps(torch.tensor(logps), lengths=lengths), reference_chosen=zero, **given)


def test_single_examples_are_told_by_their_sides_whatever_the_pieces():
    # Three desirable examples and one that is not; a piece may hold one side alone.
    loss = single_loss_objective(LOSSES["kto"].bind(beta=10.0))
    logps, good, tokens = [0.1, -0.2, 0.4, 0.3], [True, True, True, False], [2, 4, 6, 8]
    level = torch.tensor([0.1, 0.1, 0.5, 0.99])
    whole, parts = Metrics(loss), Metrics(loss)
    scores = thumbs(logps, good, 0.05, tokens)
    whole.add(rows(loss, scores, {"level": level}))
    for cut in (slice(0, 2), slice(2, 3), slice(3, 4)):
        piece = thumbs(logps[cut], good[cut], 0.05, tokens[cut])
        parts.add(rows(loss, piece, {"level": level[cut]}))
    record = whole.read()
    assert record == pytest.approx(parts.read())
    assert record["rewards/chosen"] == pytest.approx(10 * 0.3 / 3) and record["rewards/rejected"] == pytest.approx(3.0)
    assert record["rewards/margins"] == pytest.approx(1.0 - 3.0)
    assert record["logps/chosen"] == pytest.approx(0.1) and record["logps/rejected"] == pytest.approx(0.3)
    assert (record["length/chosen"], record["length/rejected"]) == (4.0, 8.0)
    assert record["rewards/accuracies"] == 0.5  # above the point and desirable: the first and the third
    assert record["kl"] == pytest.approx(0.05)
    assert record["health/margin_size"] == pytest.approx((0.5 + 2.5 + 3.5 + 2.5) / 4)
    assert record["error/chosen_change"] == pytest.approx(-0.2) and record["error/rejected_change"] == pytest.approx(
        -0.6
    )
    assert record["accuracy/level_0.8-1.0"] == 0.0
    one_side = Metrics(loss)
    one_side.add(rows(loss, thumbs([0.1], [True], 0.0), {}))
    assert "rewards/rejected" not in one_side.read() and "rewards/margins" not in one_side.read()


def test_pairs_tell_how_long_they_are_and_which_candidate_is_the_likelier_one():
    loss = single_loss_objective(LOSSES["ipo"].bind(beta=0.5))
    sides = [([-4.0, -9.0], [4, 3]), ([-5.0, -8.0], [1, 2]), ([-6.0, -9.0], [4, 3]), ([-6.0, -6.0], [1, 2])]
    scores = PairLogps(*(CandidateLogps(torch.tensor(logps), lengths=torch.tensor(n)) for logps, n in sides))
    metrics = Metrics(loss)
    metrics.add(rows(loss, scores, {}))
    record = metrics.read()
    assert record["accuracy/ranking"] == 0.5  # without the reference, and of sums
    assert (record["length/chosen"], record["length/rejected"]) == (3.5, 1.5)
    # Rewards are those that the loss sees, of means over tokens.
    assert record["rewards/chosen"] == pytest.approx(0.5 * (2 / 4 + 0 / 3) / 2)
    assert record["rewards/rejected"] == pytest.approx(0.5 * (1 / 1 - 2 / 2) / 2)
    assert record["rewards/accuracies"] == 0.5  # 2/4 against 1, 0 against -1
    assert record["logps/chosen"] == -6.5


def test_a_window_goes_through_json():
    loss = single_loss_objective(LOSSES["logistic"].bind(beta=10.0))
    one, other = Metrics(loss), Metrics(loss)
    piece = scores([0.1, 0.7], [0.3, 0.2])
    one.add(rows(loss, piece, {}))
    other.load_state(json.loads(json.dumps(one.state())), torch.device("cpu"))
    one.add(rows(loss, piece, {}))
    other.add(rows(loss, piece, {}))
    assert one.read() == other.read() and "error/chosen_change" not in one.read()


def snapshot(step):
    return Snapshot(step, {"policy": {"w": torch.full((2,), float(step))}}, {"a": math.pi})


def test_checkpoints_come_back_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, snapshot(step), keep=2)
    found = complete_checkpoints(tmp_path)
    assert [path.name for path in found] == ["step-00000002", "step-00000003"]
    back = read_checkpoint(found[-1])
    assert (
        back.step == 3
        and back.facts == {"a": math.pi}
        and torch.equal(back.tensors["policy"]["w"], torch.full((2,), 3.0))
    )


@pytest.mark.parametrize("damage", ["halved", "removed", "unlisted", "half-written"])
def test_torn_checkpoints_count_as_absent(tmp_path, damage):
    write_checkpoint(tmp_path, snapshot(1), keep=3)
    path = write_checkpoint(tmp_path, snapshot(2), keep=3)
    if damage == "halved":
        (path / "policy.safetensors").write_bytes(b"12")
    elif damage == "removed":
        (path / "policy.safetensors").unlink()
    elif damage == "unlisted":
        (path / "state.json").write_text('{"version": 1, "st')
    else:
        path.rename(tmp_path / ".step-00000002.77")
    assert [p.name for p in complete_checkpoints(tmp_path)] == ["step-00000001"]
    write_checkpoint(tmp_path, snapshot(3), keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_nothing_is_pickled(tmp_path):
    path = write_checkpoint(tmp_path, snapshot(1), keep=1)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}


def test_a_full_disk_is_told_before_work(tmp_path):
    check_disk(tmp_path / "not" / "yet", 10)
    with pytest.raises(RunError, match=r"GB free.*checkpoint.keep=1"):
        check_disk(tmp_path / "not" / "yet", 10**18)


def test_a_metrics_file_is_cut_where_a_checkpoint_ends(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    file.append({"step": 1})
    size = file.size()
    file.append({"step": 2})
    file.cut(size)
    assert file.records() == [{"step": 1}]
