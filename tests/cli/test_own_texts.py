"""The command line on one tiny language model that generates its own pairs, trains on them, and is evaluated."""

import json

import pytest
import yaml

from diffalign.errors import DataError, UserError
from tests.cli.test_commands import call
from tests.tiny_text import tiny_llm

PROMPTS = ["a fox", "two owls", "why is it so", "name a bird"]


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_model_makes_its_pairs_trains_on_them_and_is_compared(tmp_path):
    model = tiny_llm(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    named = ["--model", model, "--setting", "max_new_tokens=24"]

    make = ["data", "make", *named, "--prompt", f"@{tmp_path / 'prompts.txt'}", "--scorer", f"length:{model}"]
    output = call(*make, "--output", tmp_path / "own", "--answers", 6, "--gap", 1, "--setting", "temperature=2")
    own = tmp_path / "own" / "pairs.jsonl"
    made, answers = rows(own), rows(tmp_path / "own" / "metadata.jsonl")
    assert f"{len(made)} pairs in {own}" in output and len(answers) == 6 * len(PROMPTS)
    assert 1 <= len(made) <= len(PROMPTS)
    for row in made:
        (turn,), (other,) = row["chosen"], row["rejected"]
        # One token per character.
        assert len(turn["content"]) == row["chosen_score"] > 1 + row["rejected_score"]
        assert row["prompt"] == [{"role": "user", "content": row["prompt"][0]["content"]}]
        assert turn["role"] == other["role"] == "assistant"

    output = call("data", "check", own)
    assert "The data set is ready" in output and "stored seed" not in output
    assert f"agrees with 100.0% of {len(made)} labels" in output

    recipe = {
        "method": "dpo",
        "model": {"path": str(model), "adapter": {"rank": 2}, "cache": str(tmp_path / "cache")},
        "data": {"train": str(own)},
        "train": {"steps": 3, "batch_size": 2, "learning_rate": 1e-2, "mixed_precision": "no"},
        "log": {"every": 1},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    call("train", tmp_path / "recipe.yaml")
    losses = [row["loss"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert len(losses) == 3 and losses[-1] < losses[0]

    adapter = ["--adapter", tmp_path / "run" / "result", "--prompt", "a fox"]
    output = call("generate", *named, *adapter, "--output", tmp_path / "texts")
    (row,) = rows(tmp_path / "texts" / "metadata.jsonl")
    assert f"[a fox | seed 0]\n{row['completion']}" in output
    output = call("compare", *named, *adapter, "--scorer", "length", "--output", tmp_path / "compared")
    assert "report.html" in output and "length" in (tmp_path / "compared" / "report.html").read_text()
    file, *facts = call("info", tmp_path / "run" / "result").splitlines()
    assert file.endswith("adapter_model.safetensors") and str(tmp_path) not in "".join(facts)
    assert {"method            dpo", "loss              logistic", f"pairs             {len(made)}"} <= set(facts)


def test_options_of_a_format_apply_to_check_and_training(tmp_path):
    path = tmp_path / "talks.jsonl"
    talk = "\n\nHuman: Why?\n\nAssistant:"
    path.write_text(
        "".join(json.dumps({"chosen": f"{talk} So {n}.", "rejected": f"{talk} No."}) + "\n" for n in (1, 2))
    )
    assert "2 in turns" in call("data", "check", path)
    assert "in turns" not in call("data", "check", path, "--option", "turns=text")
    with pytest.raises(UserError, match="--option takes NAME=VALUE, such as ties=soft; got 'turns'"):
        call("data", "check", path, "--option", "turns")
    with pytest.raises(DataError, match="has no option 'turn'. Did you mean 'turns'"):
        call("data", "check", path, "--option", "turn=text")


def test_several_judges_are_added_with_their_weights(tmp_path):
    model = tiny_llm(tmp_path / "model")
    make = ["data", "make", "--model", model, "--setting", "max_new_tokens=8", "--setting", "temperature=2"]
    make += ["--prompt", "a fox", "--scorer", f"length:{model}", "--scorer", "length", "--answers", 6]
    output = call(*make, "--weight", "length=-0.5", "--normalise", "min-max", "--output", tmp_path / "own")
    assert f"  = 1 x (length:{model} - " in output and "  + -0.5 x (length - " in output
    (pair,) = rows(tmp_path / "own" / "pairs.jsonl")
    totals = [row["scores"]["sum"] for row in rows(tmp_path / "own" / "metadata.jsonl")]
    assert pair["chosen_score"] == max(totals) and pair["rejected_score"] == min(totals)
    for wrong, message in (("size=1", "SCORER=NUMBER"), ("length", "SCORER=NUMBER"), ("length=x", "takes a number")):
        with pytest.raises(UserError, match=message):
            call(*make, "--weight", wrong, "--output", tmp_path / "no")
    with pytest.raises(UserError, match="flicker alone prefers"):
        call(*make, "--scorer", "flicker", "--output", tmp_path / "no")
    assert not (tmp_path / "no").exists()
