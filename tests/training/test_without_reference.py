"""Losses without a reference, on pairs and on winners only: computation, metrics and refused recipes."""

import json

import pytest
import torch

from diffalign.errors import ConfigError, DataError
from diffalign.training.loop import train
from tests.training.test_resume import metrics
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

SFT = {"pairs": "winners", "loss": {"name": "sft", "scale": 2.0}}
MAPO = {"loss": {"name": "mapo", "temperature": 10.0}}
REJECTED = ("rejected", "margin", "accurac")


def run(folder, **changes):
    policy = ToyPolicy()
    return train(toy_recipe(folder, **changes), policy=policy, pairs=toy_pairs()), policy


def held_out(folder, rows):
    (folder / "held.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"train": "memory", "eval": str(folder / "held.jsonl"), "eval_every": 5}


PAIR_ROWS = [{"prompt": f"q{k}", "chosen": "good", "rejected": "bad"} for k in range(4)]


def test_fine_tuning_computes_and_logs_only_the_winners(tmp_path):
    data = held_out(tmp_path, PAIR_ROWS)
    result, policy = run(tmp_path / "run", **SFT, data=data, train__steps=20)
    records = metrics(tmp_path / "run")
    assert records[-1]["loss"] < records[0]["loss"] and records[-1]["eval_loss"] < 10
    assert not policy.referenced
    logged = {name for record in records for name in record}
    assert not [name for name in logged if any(part in name for part in (*REJECTED, "error/", "saturated"))]
    assert "logps/chosen" in logged and "eval_logps/chosen" in logged
    assert policy.encoded == {1}  # no rejected candidate was encoded, not of the held-out pairs either
    assert result.summary and "no margins to diagnose" in result.summary[0] and "likelier" not in result.summary[0]


def test_a_winner_trains_the_same_whatever_its_rejected_candidate(tmp_path):
    # MaPO without its margin is fine-tuning on the chosen candidates.
    _, alone = run(tmp_path / "alone", **SFT)
    _, beside = run(tmp_path / "beside", loss={"name": "mapo", "weight": 0.0})
    assert torch.allclose(alone.state()["change"], beside.state()["change"], atol=1e-6)
    assert alone.state()["change"].abs().max() > 0.01


def test_mapo_computes_no_reference_and_its_metrics_compare_the_candidates(tmp_path):
    result, policy = run(tmp_path, **MAPO, train__steps=40)
    assert not policy.referenced and policy.encoded == {2}
    last = metrics(tmp_path)[-1]
    assert not [name for name in last if name.startswith("error/") or "saturated" in name]
    assert last["rewards/accuracies"] > 0.5
    assert last["rewards/margins"] == pytest.approx(last["rewards/chosen"] - last["rewards/rejected"], rel=1e-5)


@pytest.mark.parametrize("settings", [SFT, MAPO], ids=["sft", "mapo"])
def test_no_alarm_mentions_a_reference_where_there_is_none(tmp_path, capsys, settings):
    result, _ = run(tmp_path, **settings, train__steps=40, train__learning_rate=1e-4, log__every=1)
    said = capsys.readouterr().err
    assert "warning" not in said and "at step 0" not in said
    for text in (said, *result.summary):
        assert "than under the reference" not in text and "still its reference" not in text
        assert "against the reference" not in text


@pytest.mark.parametrize("settings", [SFT, MAPO], ids=["sft", "mapo"])
def test_a_run_without_a_reference_resumes_to_the_bit(tmp_path, settings):
    _, straight = run(tmp_path / "straight", **settings, log__every=5)
    run(tmp_path / "parts", **settings, train__steps=5, log__every=5)
    again = ToyPolicy()
    train(toy_recipe(tmp_path / "parts", **settings, log__every=5), policy=again, pairs=toy_pairs(), resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loss": "sft"}, r"'sft' looks at one candidate only.*--set pairs=winners"),
        ({"pairs": "winners"}, r"'logistic' compares two.*--set loss=sft.*--set pairs=checkpoint"),
        ({"loss": "sft", "pairs": {"name": "checkpoint", "every": 2}}, r"--set pairs=winners"),
        ({**SFT, "labels": "seppo_gate"}, r"'sft' has no reference\. Type: --set labels=hard"),
        ({**MAPO, "labels": "seppo_gate"}, r"'mapo' has no reference\. Type: --set labels=hard"),
        (
            {**MAPO, "labels": {"name": "score_scaled", "alpha": 1.0, "gamma": 1.0}},
            r"'mapo' has no reference\. Type: --set labels",
        ),
        ({**SFT, "labels": {"name": "label_noise", "flip": 0.1}}, r"uncertain which .* --set labels=hard"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, changes, says):
    policy = ToyPolicy()
    with pytest.raises(ConfigError, match=says):
        train(toy_recipe(tmp_path / "run", **changes), policy=policy, pairs=toy_pairs())
    assert not (tmp_path / "run").exists() and not policy.prepared


def test_held_out_rows_that_the_loss_cannot_use_are_refused_before_training(tmp_path, monkeypatch):
    from diffalign.pairs import DatasetPairs
    from diffalign.pairs.winners import without_rejected

    held = DatasetPairs(tuple(map(without_rejected, toy_pairs(4))))
    monkeypatch.setattr("diffalign.training.held_out.evaluate.read_dataset", lambda *_, **__: held)
    for pairs in ("dataset", {"name": "checkpoint", "every": 2}):
        with pytest.raises(ConfigError, match=r"data.eval: 4 of 4 .*--set data.eval=null"):
            run(tmp_path / "run", pairs=pairs, data__eval="winners")
    scored = toy_pairs(4)
    monkeypatch.setattr(
        "diffalign.training.held_out.evaluate.read_dataset", lambda *_, **__: DatasetPairs(tuple(scored))
    )
    labels = {"name": "score_scaled", "scorer": "judge"}
    from tests.training.step.test_pairs_without_gradient import SOME

    recipe = toy_recipe(tmp_path / "run", labels=labels, data__eval="pairs")
    with pytest.raises(DataError, match=r"data.eval: .*no score of its chosen.*data.eval_scores"):
        train(recipe, policy=ToyPolicy(), pairs=SOME)
    assert not (tmp_path / "run").exists()
