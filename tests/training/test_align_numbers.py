"""A whole job on tiny models: the numbers of ranks, drift and previews stand in its files, its page and its output."""

import json
import math

from diffalign.evaluation.comparison import Comparison
from diffalign.training.align import align
from diffalign.training.config import make_recipe
from tests.tiny_text import text_pairs, tiny_llm


def rows_of(pairs):
    return "".join(json.dumps({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}) + "\n" for p in pairs)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_text_run_tells_everything(tmp_path, capsys):
    for name, seed in (("train", 0), ("held", 3)):
        (tmp_path / f"{name}.jsonl").write_text(rows_of(text_pairs(8, seed=seed)))
    model = tiny_llm(tmp_path / "llm")
    recipe = make_recipe(
        {
            "model": {"kind": "text", "path": str(model), "adapter": {"rank": 4}},
            "data": {"train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "held.jsonl")},
            "loss": {"name": "logistic", "beta": 0.1},
            "train": {"steps": 4, "batch_size": 4, "learning_rate": 1e-2},
            "log": {"every": 1},
            "previews": {"prompts": ["one", "two"], "every": 2, "seeds": [0, 1], "max_new_tokens": 8},
            "evaluate": {
                "prompts": ["a", "b", "c"],
                "scorers": [f"length:{model}"],  # in tokens, where the other judge counts words
                "trained_on": ["length"],
                "seeds_per_prompt": 4,
                "max_new_tokens": 8,
            },
            "output": str(tmp_path / "run"),
        }
    )
    done = align(recipe)
    last = lines(tmp_path / "run" / "metrics.jsonl")[-1]
    assert {"eval_ranking/gap", "eval_accuracy/ranking_per_token", "eval_displacement/chosen"} <= last.keys()
    notes = lines(tmp_path / "run" / "previews" / "drift.jsonl")
    assert [note["step"] for note in notes] == [0, 2, 4]
    assert abs(notes[0]["value"]) < 1e-4 < abs(notes[-1]["value"]), "before the first step the policy is its reference"
    said = done.comparison.sampled
    assert said.drift.unit == "nats per answer" and said.evidence.answers == 4 and said.dispersion is not None
    assert Comparison.load(tmp_path / "run" / "evaluation" / "comparison.json").sampled.drift == said.drift
    page = done.report.read_text()
    for text in ("Drift and over-optimisation", "Win rate over the first previews", "reference right", "n = 4"):
        assert text in page, text
    assert "held-out pairs" in capsys.readouterr().out
    assert math.isfinite(said.drift.error)
