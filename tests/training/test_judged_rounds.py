"""Judged rounds with a real language model of a few thousand numbers, from sampling to the adapter."""

import pytest
import torch
import yaml

from diffalign.errors import ConfigError, UserError
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.training.loop import train
from diffalign.training.storage.stored_recipe import dump
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.test_text import recipe, records
from tests.two_processes import in_two_processes

ROUNDS = {
    "name": "rounds",
    "judge": "length",
    "every": 2,
    "answers": 3,
    "max_new_tokens": 6,
    "batch": 4,
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm"))


def weights(result):
    return result.policy.state()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_rounds_train_on_the_policys_own_answers(llm, tmp_path):
    result = train(recipe(llm, tmp_path / "run", pairs=ROUNDS), pairs=text_pairs(8))
    assert result.steps == 4
    assert all(record["loss"] == record["loss"] for record in records(tmp_path / "run"))
    assert CheckpointPool(tmp_path / "run" / "rounds" / "pool").indices() == [0, 1]


def test_one_round_of_the_datas_own_pairs_is_offline_training_bit_for_bit(llm, tmp_path):
    own = {**ROUNDS, "judge": "label", "answers": 0, "from_data": "both", "every": 4}
    rounds = train(recipe(llm, tmp_path / "rounds", pairs=own), pairs=text_pairs(8))
    offline = train(recipe(llm, tmp_path / "offline", pairs="dataset"), pairs=text_pairs(8))
    assert same(weights(rounds), weights(offline))
    assert records(tmp_path / "rounds") == records(tmp_path / "offline")


PAIRINGS = {
    "best_worst": {},
    "all": {},
    "threshold": {"threshold": 5},
    "rejection": {"beta": 2.0, "keep": 2},
    "tournament": {},
}


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_every_pairing_of_two_trains(llm, tmp_path, pairing):
    pairs = {**ROUNDS, "pairing": pairing, **PAIRINGS[pairing]}
    train(recipe(llm, tmp_path / "run", pairs=pairs), pairs=text_pairs(6))
    assert len(records(tmp_path / "run")) == 4


LOSSES = {
    "list": {"name": "leave_one_out", "beta": 0.1, "rewards": "score"},
    "best_only": "sft",
}


@pytest.mark.parametrize("pairing", LOSSES)
def test_lists_and_single_answers_train_losses_of_their_kind(llm, tmp_path, pairing):
    train(recipe(llm, tmp_path / "run", LOSSES[pairing], pairs={**ROUNDS, "pairing": pairing}), pairs=text_pairs(6))
    assert len(records(tmp_path / "run")) == 4


@pytest.mark.parametrize(
    "loss",
    [
        {"name": "sppo", "beta": 1.0, "rewards": "win"},
        {"name": "gpo", "beta": 1.0, "rewards": "advantage", "centred": False},
        {"name": "dno", "beta": 0.1, "rewards": "score"},
        {"name": "odpo", "beta": 0.1, "rewards": "length"},
        {"name": "inpo", "beta": 0.1},
    ],
    ids=lambda loss: loss["name"],
)
@pytest.mark.parametrize("reference", ["initial", "previous", "answerer"])
def test_losses_read_scores_and_win_rates_against_every_reference(llm, tmp_path, loss, reference):
    train(recipe(llm, tmp_path / "run", loss, pairs={**ROUNDS, "reference": reference}), pairs=text_pairs(6))
    assert len(records(tmp_path / "run")) == 4


def test_prompts_of_a_file_need_no_answers(llm, tmp_path):
    (tmp_path / "prompts.txt").write_text("".join(f"ask {k}\n" for k in range(6)), encoding="utf-8")
    data = {"train": f"@{tmp_path / 'prompts.txt'}"}
    train(recipe(llm, tmp_path / "run", pairs=ROUNDS, data=data))
    assert len(records(tmp_path / "run")) == 4
    with pytest.raises(ConfigError, match="prompts without answers.*--set pairs.name=rounds"):
        train(recipe(llm, tmp_path / "offline", data=data))


@pytest.mark.parametrize("border", ["momentum", "extragradient"])
@pytest.mark.parametrize("adapter", [{"rank": 4}, None], ids=["adapter", "full"])
def test_rules_at_borders_change_the_run_and_momentum_zero_changes_no_bit(llm, tmp_path, border, adapter):
    def trained(name, **changes):
        changed = recipe(llm, tmp_path / name, pairs={**ROUNDS, **changes}, model={"adapter": adapter})
        return weights(train(changed, pairs=text_pairs(6)))

    plain = trained("plain")
    assert not same(trained(border, border=border), plain)
    if border == "momentum":
        assert same(trained("still", border=border, momentum=0.0), plain)


def test_the_second_phase_begins_with_the_weights_and_the_optimizer_of_the_first(llm, tmp_path):
    """With one pair for both phases and no change of the answers' pairs, the two phases do the same steps."""
    own = {**ROUNDS, "judge": "label", "answers": 0, "from_data": "both"}
    once = train(recipe(llm, tmp_path / "once", pairs={**own}, train={"steps": 2}), pairs=text_pairs(2))
    twice = recipe(llm, tmp_path / "twice", pairs={**own, "border": "extragradient"}, train={"steps": 4})
    assert same(weights(train(twice, pairs=text_pairs(2))), weights(once))


def test_further_samples_stand_beside_pairs_for_losses_that_read_them(llm, tmp_path):
    loss = {"name": "vpo", "beta": 0.1, "sign": "online"}
    pairs = {**ROUNDS, "further": {"calibration": "initial"}}
    train(recipe(llm, tmp_path / "run", loss, pairs=pairs), pairs=text_pairs(6))
    assert len(records(tmp_path / "run")) == 4
    with pytest.raises(ConfigError, match="reads further answers .calibration."):
        train(recipe(llm, tmp_path / "without", loss, pairs=ROUNDS), pairs=text_pairs(6))


def test_the_datas_pairs_and_earlier_rounds_are_mixed_in_by_their_shares(llm, tmp_path):
    mixed = {**ROUNDS, "offline": 0.5, "replay": 0.3, "every": 1}
    result = train(recipe(llm, tmp_path / "run", pairs=mixed), pairs=text_pairs(12))
    assert result.steps == 4
    assert sorted(path.name for path in (tmp_path / "run" / "rounds" / "places").iterdir())[0] == "round-000000.json"


@pytest.mark.long
def test_two_processes_answer_judge_and_train_as_one_does(llm, tmp_path):
    (tmp_path / "prompts.txt").write_text("".join(f"ask {k}\n" for k in range(8)), encoding="utf-8")
    curves = []
    for count, name in ((1, "one"), (2, "two")):
        pairs = {**ROUNDS, "reference": "previous", "replay": 0.3}
        wanted = recipe(llm, tmp_path / name, pairs=pairs, data={"train": f"@{tmp_path / 'prompts.txt'}"})
        if count == 1:
            train(wanted)
        else:
            (tmp_path / "two.yaml").write_text(yaml.safe_dump(dump(wanted)), encoding="utf-8")
            ((statuses, printed),) = in_two_processes(["train", tmp_path / "two.yaml"])
            assert statuses == [0, 0], printed
        curves.append(records(tmp_path / name))
    one, two = curves
    assert [record["loss"] for record in two] == pytest.approx([record["loss"] for record in one], rel=1e-5)


WRONG = {
    "no judge": ({"judge": ""}, "pairs.judge names who ranks the answers.*--set pairs.judge=pickscore"),
    "judge of images": ({"judge": "jpeg_compressibility"}, "judges images, but this model makes texts"),
    "one answer": ({"answers": 1}, "pairs.answers must be 2 or more.*--set pairs.answers=4"),
    "label without data": ({"judge": "label"}, "--set pairs.from_data=chosen"),
    "pairing": ({"pairing": "best"}, "Did you mean"),
    "who": ({"answers_by": "polciy"}, "Did you mean 'policy'"),
    "border and rollback": ({"border": "momentum"}, "--set guard.action=skip"),
    "half of two phases": ({"border": "extragradient", "every": 4}, "two phases of 4 steps.*--set train.steps=8"),
    "threshold": ({"pairing": "threshold"}, "--set pairs.threshold=0.5"),
    "shares": ({"offline": 0.8, "replay": 0.5}, "1 together at most"),
    "further": ({"further": {"chosen": "policy"}}, "roles that a loss reads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_with_what_to_type_before_anything_is_written(llm, tmp_path, name):
    changes, said = WRONG[name]
    guard = {"action": "rollback" if name == "border and rollback" else "off"}
    with pytest.raises(UserError, match=said):
        train(recipe(llm, tmp_path / "run", pairs={**ROUNDS, **changes}, guard=guard), pairs=text_pairs(6))
    assert not (tmp_path / "run").exists()
