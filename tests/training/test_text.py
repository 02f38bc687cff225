"""The loop with a real language model of a few thousand numbers: nothing in it asks what is trained."""

import json
import math
import os
import signal

import pytest
import torch

from diffalign.errors import UserError
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.training.loop import train
from diffalign.training.recipe.load import make_recipe
from tests.tiny_text import chat_pairs, text_pairs, tiny_llm

LOGISTIC = {"name": "logistic", "beta": 0.1}


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    return tiny_llm(tmp_path_factory.mktemp("llm"))


def recipe(llm, output, loss=LOGISTIC, *, model=None, **changes):
    """A section in ``changes`` adds to the one here, a choice replaces it."""
    values = {
        "model": {
            "kind": "text",
            "path": str(llm),
            "cache": str(output.parent / "cache"),
            "adapter": {"rank": 4},
            **(model or {}),
        },
        "data": {"train": "in memory"},
        "loss": loss,
        "train": {"steps": 4, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "log": {"every": 1},
        "checkpoint": {"every": 0},
        "guard": {"action": "off"},
        "output": str(output),
    }
    for key, value in changes.items():
        values[key] = {**values[key], **value} if key in ("train", "data", "checkpoint") else value
    return make_recipe(values)


def records(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


@pytest.mark.parametrize("pairs", [text_pairs(8), chat_pairs(8)], ids=["plain", "turns"])
@pytest.mark.parametrize("adapter", [{"rank": 4}, None], ids=["adapter", "full"])
def test_every_kind_of_reference_trains_alike_from_log_two(llm, tmp_path, pairs, adapter):
    curves = []
    for reference in ("auto", "copy", "stored"):
        wanted = recipe(llm, tmp_path / reference, model={"adapter": adapter, "reference": reference})
        train(wanted, pairs=pairs)
        curves.append([record["loss"] for record in records(tmp_path / reference)])
        assert curves[-1][0] == pytest.approx(math.log(2), abs=1e-5) and curves[-1][-1] < curves[-1][0] - 1e-3
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert curves[0] == pytest.approx(curves[2], abs=1e-5)


def test_a_stored_reference_is_reused_by_another_run(llm, tmp_path):
    pairs, said = text_pairs(6), []
    for name in ("first", "second"):
        wanted = recipe(llm, tmp_path / name, model={"reference": "stored"}, train={"steps": 2, "seed": len(said)})
        said.append(train(wanted, pairs=pairs).policy.forward_counts.reference)
    assert said[0] > 0 and said[1] == 0


def test_a_step_computes_a_shared_prompt_once_and_counts_what_that_saves(llm, tmp_path):
    pairs = text_pairs(4)
    counts = train(
        recipe(llm, tmp_path / "run", train={"steps": 1, "micro_batch_size": 4}), pairs=pairs
    ).policy.forward_counts
    prompts = {pair.prompt: len(pair.prompt) for pair in pairs}
    answers = sum(len(text) + 1 for pair in pairs for text in (pair.chosen, pair.rejected))
    assert counts.policy == sum(prompts.values()) + answers == counts.reference
    assert counts.policy_without_sharing == sum(2 * len(pair.prompt) for pair in pairs) + answers


@pytest.mark.parametrize("forward", ["padded", "plain"])
def test_the_slower_forward_modes_train_the_same_weights(llm, tmp_path, forward):
    pairs = chat_pairs(8)
    runs = [
        train(
            recipe(llm, tmp_path / way, model={"forward": way}, train={"optimizer": "sgd", "learning_rate": 0.1}),
            pairs=pairs,
        )
        for way in ("shared", forward)
    ]
    first, second = (run.policy.state() for run in runs)
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-5)


def test_ten_steps_are_five_and_a_kill_and_five_to_the_bit(llm, tmp_path, monkeypatch):
    pairs, wanted = text_pairs(7), {"steps": 10, "schedule": "linear"}
    straight = train(recipe(llm, tmp_path / "straight", train=wanted, checkpoint={"every": 5}), pairs=pairs)
    child = os.fork()
    if not child:
        calls, logps = [], LanguagePolicy.logps

        def deadly(self, encoded, draw):
            calls.append(1)
            if len(calls) == 15:  # two micro-batches a step: in the middle of the eighth
                os.kill(os.getpid(), signal.SIGKILL)
            return logps(self, encoded, draw)

        monkeypatch.setattr(LanguagePolicy, "logps", deadly)
        train(recipe(llm, tmp_path / "killed", train=wanted, checkpoint={"every": 5}), pairs=pairs)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    resumed = train(recipe(llm, tmp_path / "killed", train=wanted, checkpoint={"every": 5}), pairs=pairs, resume=True)
    assert records(tmp_path / "killed") == records(tmp_path / "straight")
    for name, value in straight.policy.state().items():
        assert torch.equal(value, resumed.policy.state()[name]), name


@pytest.mark.parametrize(
    "loss",
    [
        LOGISTIC,
        {"name": "ipo", "beta": 0.1},
        {"name": "hinge", "beta": 0.1, "per_token": True},
        {"name": "simpo"},
        {"name": "orpo"},
        {"name": "rpo", "beta": 0.1},
        {"name": "kto", "beta": 0.1},
        {"name": "sft"},
    ],
    ids=lambda loss: loss["name"],
)
def test_a_batch_of_eight_is_eight_accumulated_ones_whatever_their_lengths(llm, tmp_path, loss):
    """A mean over tokens, or a reference point, must not be one of a micro-batch."""
    source = {"sft": "winners", "kto": "singles"}.get(loss["name"], "dataset")
    states = []
    for micro in (8, 1):
        changes = {"steps": 1, "batch_size": 8, "micro_batch_size": micro, "optimizer": "sgd", "learning_rate": 1.0}
        wanted = recipe(llm, tmp_path / str(micro), loss, train={**changes, "max_grad_norm": None}, pairs=source)
        states.append(train(wanted, pairs=text_pairs(8)).policy.state())
    moved = max(float(value.abs().max()) for name, value in states[0].items() if "lora_B" in name)
    assert moved > 1e-5
    for name in states[0]:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-4, atol=1e-5 * moved)


def test_answers_of_an_earlier_checkpoint_can_be_the_rejected_ones(llm, tmp_path):
    source = {"name": "checkpoint", "every": 2, "select": "latest", "max_new_tokens": 6}
    result = train(recipe(llm, tmp_path / "spin", pairs=source), pairs=text_pairs(6))
    assert result.steps == 4 and result.policy.reference_kind == "earlier"
    assert result.policy.forward_counts.sampling > 0
    assert [record["loss"] for record in records(tmp_path / "spin")][0] == pytest.approx(math.log(2), abs=1e-5)


def test_held_out_texts_are_evaluated_once_each(llm, tmp_path):
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in text_pairs(5, seed=3)]
    path = tmp_path / "held.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = train(recipe(llm, tmp_path / "run", data={"eval": str(path)}), pairs=text_pairs(6))
    assert result.metrics["eval_pairs"] == 5
    assert 0.0 <= result.metrics["eval_accuracy/ranking"] <= 1.0


def bad(prompt="Say it:", chosen=" yes", rejected=" no"):
    good = text_pairs(2)
    return [*good, type(good[0])("odd", prompt, chosen, rejected, source="rows.jsonl:3")]


@pytest.mark.parametrize(
    ("model", "pairs", "says"),
    [
        ({"max_prompt_length": 50}, bad(prompt="x" * 60), "(?s)odd.*60 tokens.*model.long_prompts"),
        ({}, bad(chosen="  "), "(?s)odd.*empty"),
        ({}, bad(rejected=" yes"), "(?s)odd.*equal"),
        ({"end_token": "<stop>"}, bad(), "model.end_token"),
        ({"forward": "shard"}, bad(), "forward"),
        ({"path": "nowhere/at/all"}, bad(), "does not exist"),
    ],
    ids=["long prompt", "empty response", "equal responses", "end token", "way", "path"],
)
def test_texts_and_settings_that_cannot_be_used_are_refused_before_the_first_step(llm, tmp_path, model, pairs, says):
    with pytest.raises(UserError, match=says):
        train(recipe(llm, tmp_path / "run", model=model), pairs=pairs)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_conversations_without_a_chat_template_are_refused_with_what_to_type(tmp_path):
    plain = tiny_llm(tmp_path / "plain", chat=False)
    with pytest.raises(UserError, match="model.chat_template"):
        train(recipe(plain, tmp_path / "run"), pairs=chat_pairs(2))


def test_a_tokenizer_without_an_end_token_is_refused_until_one_is_named(tmp_path):
    endless = tiny_llm(tmp_path / "endless", eos=False, chat=False)
    with pytest.raises(UserError, match="model.end_token"):
        train(recipe(endless, tmp_path / "run"), pairs=text_pairs(2))
    named = recipe(endless, tmp_path / "named", model={"end_token": "<|end|>"}, train={"steps": 1})
    assert train(named, pairs=text_pairs(2)).steps == 1
