"""Evaluators of texts: accuracies of judges and of implicit rewards, whole and resumed."""

import json

import pytest

from diffalign.errors import DataError, UserError
from evaluators import reward_bench
from evaluators.shared.options import ROOT
from tests.evaluators.aligned import tiny_aligned_texts

EXAMPLES = ROOT / "evaluators" / "examples"


def rows_of(table):
    return {row[0]: row for row in table.rows}


def bench(folder, rows):
    """Writes pairs in the layout of RewardBench: (subset, chosen, rejected)."""
    lines = [
        {"prompt": f"question {number}", "chosen": chosen, "rejected": rejected, "subset": subset, "id": number}
        for number, (subset, chosen, rejected) in enumerate(rows)
    ]
    path = folder / "filtered.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_section_weighs_its_subsets_by_their_published_sizes_and_ties_are_wrong(tmp_path):
    pairs = bench(
        tmp_path,
        [
            ("math-prm", "a good answer", "a bad answer"),
            ("hep-cpp", "a bad answer", "a good answer"),
            ("hep-go", "it is a table", "it is a chair"),
            ("alpacaeval-easy", "a good answer", "a bad answer"),
        ],
    )
    (table,) = reward_bench.main(["--pairs", str(pairs), "--scorer", "polarity", "--output", str(tmp_path / "out")])
    rows = rows_of(table)
    assert rows["hep-go"][3].rate == 0.0
    assert rows["Reasoning: section"][3].rate == pytest.approx(984 / (984 + 164 + 164))
    assert rows["Chat: section"][3].rate == 1.0
    assert rows["score: mean of the sections"][3].rate == pytest.approx((1 + 0.75) / 2)


def test_the_published_weights_name_every_subset_once():
    names = [name for section in reward_bench.SECTIONS.values() for name in section]
    assert sorted(names) == sorted(reward_bench.SIZES) and sum(reward_bench.SIZES.values()) == 2985 - 447 + 984


def test_an_implicit_reward_judges_beside_a_scorer_and_beta_changes_no_accuracy(tmp_path):
    model, adapter = tiny_aligned_texts(tmp_path)
    options = ["--embedded", "--model", model, "--adapter", adapter, "--device", "cpu"]
    tables = reward_bench.main([*options, "--output", str(tmp_path / "one"), "--batch", "3"])
    assert [table.title for table in tables] == ["RewardBench, polarity", "RewardBench, implicit reward"]
    other = reward_bench.main([*options, "--output", str(tmp_path / "two"), "--beta", "0.1", "--batch", "10"])
    assert other[1].to_json() == tables[1].to_json()
    rows = (tmp_path / "one" / "scores" / "pairs-implicit_reward.jsonl.part").read_text().splitlines()
    margins = [json.loads(line)[1]["margin"] for line in rows[1:]]
    assert len(margins) == 10 and all(margins)


def test_a_killed_pass_over_pairs_resumes(tmp_path, monkeypatch):
    from diffalign.scorers.texts.polarity import Polarity

    score, calls = Polarity.score, []

    def killed(self, prompts, texts):
        calls.append(len(prompts) // 2)  # both sides of a pair
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, prompts, texts)

    monkeypatch.setattr(Polarity, "score", killed)
    options = ["--embedded", "--batch", "4", "--output", str(tmp_path / "out")]
    with pytest.raises(KeyboardInterrupt):
        reward_bench.main(options)
    resumed = reward_bench.main(options)
    assert calls == [4, 4, 4, 2]
    monkeypatch.setattr(Polarity, "score", score)
    fresh = reward_bench.main(["--embedded", "--output", str(tmp_path / "fresh")])
    assert fresh[0].to_json() == resumed[0].to_json()


def test_what_cannot_be_judged_is_refused_in_a_sentence(tmp_path):
    pairs = ["--pairs", str(EXAMPLES / "reward_bench.jsonl"), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="needs a judge"):
        reward_bench.main(pairs)
    with pytest.raises(UserError, match="needs both: --model"):
        reward_bench.main([*pairs, "--model", "somewhere"])
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "chosen": "b"}\n')
    with pytest.raises(DataError, match="no column rejected, subset"):
        reward_bench.main(["--pairs", str(tmp_path / "x.jsonl"), "--scorer", "polarity"])
    (tmp_path / "y.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": 3, "subset": "hep-go"}\n')
    with pytest.raises(DataError, match="row y.jsonl:1: a cell of prompt"):
        reward_bench.main(["--pairs", str(tmp_path / "y.jsonl"), "--scorer", "polarity"])


def test_llm_bar_reads_five_sets_and_an_undecided_judge_gets_one_half(tmp_path):
    from evaluators import llm_bar

    (table,) = llm_bar.main(["--embedded", "--scorer", "polarity", "--output", str(tmp_path / "out")])
    rows = rows_of(table)
    assert [row[0] for row in table.rows] == [*llm_bar.SETS, "Adversarial: mean of the sets"]
    assert rows["Natural"][1] == 2 and rows["Natural"][2].rate == 1.0
    folder = tmp_path / "LLMBar"
    for name in llm_bar.SETS:
        (folder / name).mkdir(parents=True)
        row = {"input": "Say yes.", "output_1": "the table", "output_2": "the chair", "label": 2}
        (folder / name / "dataset.json").write_text(json.dumps([row, {**row, "output_2": "a good chair"}]))
    (ties,) = llm_bar.main(["--pairs", str(folder), "--scorer", "polarity", "--output", str(tmp_path / "ties")])
    found = rows_of(ties)
    assert found["Natural"][2].rate == 0.75 and found["Natural"][3].rate == 0.5
    assert found["Adversarial: mean of the sets"][2].rate == 0.75


def test_a_label_of_another_kind_and_a_missing_set_are_refused(tmp_path):
    from evaluators import llm_bar

    (tmp_path / "Natural").mkdir()
    (tmp_path / "Natural" / "dataset.json").write_text('[{"input": "a", "output_1": "b", "output_2": "c", "label": 3}]')
    with pytest.raises(DataError, match="expected input, output_1, output_2 and a label 1 or 2"):
        llm_bar.read_set(tmp_path, "Natural")
    with pytest.raises(UserError, match="there is no file"):
        llm_bar.read_set(tmp_path, "Adversarial/Manual")


class Follower:
    """A judge that compares both answers and prefers the first place half the way."""

    name, unit, range, license, paper, weights, medium = "follower", "share", (0, 1), "none", "none", "", "text"

    def score(self, prompts, texts):
        raise AssertionError("it compares")

    def compare(self, prompts, a, b):
        import torch

        return torch.tensor([0.5 if "table" in text else 1.0 for text in a])


def test_undecided_verdicts_of_a_judge_that_compares_count_as_a_half(tmp_path, monkeypatch):
    from diffalign.scorers import SCORERS, ScorerEntry

    entry = ScorerEntry(lambda *_: Follower(), "nothing", "a test", medium="text")
    monkeypatch.setitem(SCORERS, "follower", entry)
    pairs = bench(tmp_path, [("hep-go", "it is a table", "it is a chair"), ("hep-go", "good", "bad")])
    (table,) = reward_bench.main(["--pairs", str(pairs), "--scorer", "follower", "--output", str(tmp_path / "out")])
    assert rows_of(table)["hep-go"][3].rate == 0.75


def test_follow_ups_judge_by_category_and_beside_other_judges(tmp_path):
    from evaluators import follow_up

    model, adapter = tiny_aligned_texts(tmp_path)
    options = ["--embedded", "--scorer", f"follow_up:{model}", "--scorer", "polarity", "--device", "cpu"]
    options += ["--model", model, "--adapter", adapter, "--limit", "3", "--batch", "2"]
    (table,) = follow_up.main([*options, "--output", str(tmp_path / "out")])
    from diffalign.scorers import compare, load_scorer
    from diffalign.scorers.texts.follow_up_likelihood import read_follow_ups

    categories = list(read_follow_ups())
    assert [row[1] for row in table.rows] == [*categories, "all: the score", "", ""]
    assert [row[0] for row in table.rows[-2:]] == ["polarity", "implicit reward"]
    rows = [json.loads(line) for line in (EXAMPLES / "reward_bench.jsonl").read_text().splitlines()]
    picked = [rows[number * len(rows) // 3] for number in range(3)]
    texts = [[row[key] for row in picked] for key in ("prompt", "chosen", "rejected")]
    wins = compare(load_scorer(f"follow_up:{model}"), *texts)
    assert table.rows[len(categories)][3].rate == pytest.approx(float((wins > 0.5).float().mean()))


def test_without_a_chat_model_or_with_pictures_there_are_no_follow_ups(tmp_path):
    from evaluators import follow_up

    with pytest.raises(UserError, match="--scorer follow_up:MODEL"):
        follow_up.main(["--embedded", "--scorer", "polarity", "--output", str(tmp_path / "out")])
