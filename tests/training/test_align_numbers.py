"""A whole job on tiny models: the numbers of ranks, drift and previews stand in its files, its page and its output."""

import json
import math

import pytest

from diffalign.evaluation.compare.result import Comparison
from diffalign.training.align import align
from diffalign.training.recipe.load import make_recipe
from tests.tiny import tiny_pairs
from tests.tiny_text import text_pairs, tiny_llm


def rows_of(pairs):
    return "".join(json.dumps({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected}) + "\n" for p in pairs)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_text_run_reports_every_number(tmp_path, capsys):
    for name, seed in (("train", 0), ("held", 3)):
        (tmp_path / f"{name}.jsonl").write_text(rows_of(text_pairs(8, seed=seed)))
    model = tiny_llm(tmp_path / "llm")
    recipe = make_recipe(
        {
            "model": {"kind": "text", "path": str(model), "adapter": {"rank": 4}},
            "data": {"train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "held.jsonl")},
            "loss": {"name": "logistic", "beta": 0.1},
            "train": {"steps": 4, "batch_size": 4, "learning_rate": 1e-2, "mixed_precision": "no"},
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
    notes = lines(tmp_path / "run" / "drift.jsonl")
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


def test_an_image_run_reports_the_numbers_of_images(sd, tmp_path):
    for name in ("train", "held"):
        pairs = tiny_pairs(tmp_path / name, seed=len(name))
        rows = [
            {"prompt": p.prompt, "chosen_file_name": p.chosen.name, "rejected_file_name": p.rejected.name}
            for p in pairs
        ]
        (tmp_path / name / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(
        {
            "model": {"path": str(sd), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}, "flip": "none"},
            "data": {"train": str(tmp_path / "train"), "eval": str(tmp_path / "held")},
            "loss": {"name": "logistic", "beta": 500.0},
            "train": {"steps": 4, "batch_size": 2, "learning_rate": 1e-2, "mixed_precision": "no"},
            "log": {"every": 2},
            "previews": {"prompts": ["a fox"], "every": 2, "seeds": [0, 1], "steps": 2},
            "evaluate": {
                "prompts": ["a fox"],
                "scorers": ["background:red"],
                "trained_on": ["background:blue"],
                "seeds_per_prompt": 2,
                "steps": 2,
            },
            "output": str(tmp_path / "run"),
        }
    )
    done = align(recipe)
    last = lines(tmp_path / "run" / "metrics.jsonl")[-1]
    assert {"eval_ranking/gap", "eval_displacement/grad_weight", "displacement/chosen"} <= last.keys()
    assert "eval_accuracy/ranking_per_token" not in last, "images have no tokens"
    assert last["displacement/chosen"] * -2 == pytest.approx(last["error/chosen_change"])
    drifts = [note["value"] for note in lines(tmp_path / "run" / "drift.jsonl")]
    assert drifts[0] == pytest.approx(0, abs=1e-9) and 0 < drifts[1] < drifts[2] * 10
    said = done.comparison.sampled
    assert said.drift.value > 0 and said.drift.unit.startswith("of squared change") and said.evidence is None
    page = done.report.read_text()
    assert "n = 2" in page and "root of the drift" in page and "Entropy of the differential" not in page
