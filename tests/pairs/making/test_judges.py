"""Own samples that are judged pair by pair, by any pairing, resumed after a kill, and shared among processes."""

import json

import pytest
import torch

from diffalign.data.readers import read_pairs
from diffalign.errors import DataError, UserError
from diffalign.pairs.making.make_pairs import make_pairs
from tests.evaluation.fakes import Praise
from tests.evaluation.scoring.test_score_pairs import call
from tests.pairs.making.test_make_pairs import Numbered, Table, rows
from tests.tiny_text import tiny_llm
from tests.two_processes import in_two_processes


class Referee:
    """Only compares: the text whose number modulo five is larger wins with 0.9; raises where it met enough pairs."""

    name, unit, range, license, paper, weights, medium = "referee", "", (0.0, 1.0), "none", "none", "", "text"

    def __init__(self, until=10**9):
        self.met, self.until = 0, until

    def compare(self, prompts, a, b):
        self.met += len(prompts)
        if self.met > self.until:
            raise KeyboardInterrupt
        ranks = [[int(text) % 5 for text in side] for side in (a, b)]
        return torch.tensor([0.5 + 0.4 * ((i > j) - (i < j)) for i, j in zip(*ranks, strict=True)])


def test_a_judge_that_only_compares_meets_every_two_answers_and_gives_win_rates_but_no_scores(tmp_path):
    judge = Referee()
    made = make_pairs(Numbered(), ["a", "b"], judge, tmp_path, answers=3)
    assert judge.met == 6 and made.unit == "win rates" and "mean gap of win rates" in made.summary()
    first = rows(made)[0]
    assert (first["chosen"], first["rejected"]) == (" 2", " 0") and "chosen_score" not in first
    assert (first["chosen_win"], first["rejected_win"]) == (pytest.approx(2.3 / 3), pytest.approx(0.7 / 3))
    logit = 2.1972246  # log 9: two wins and itself
    assert first["chosen_advantage"] == pytest.approx(2 / 3 * logit, abs=1e-6) == -first["rejected_advantage"]
    pair = read_pairs(made.path).pairs[0]
    assert set(pair.scores["chosen"]) == {"seed", "win", "advantage"}
    assert not list(tmp_path.glob("*.part*"))


def test_a_tournament_of_comparisons_meets_one_less_than_there_are_answers(tmp_path):
    judge = Referee()
    made = make_pairs(Numbered(), ["a", "b"], judge, tmp_path, answers=4, pairing="tournament")
    assert judge.met == 2 * 3 and made.pairs == 6
    assert all(int(row["chosen"]) % 5 > int(row["rejected"]) % 5 for row in rows(made))


def test_killed_comparisons_resume_and_no_two_answers_meet_again(tmp_path):
    whole = make_pairs(Numbered(), ["a", "b", "c"], Referee(), tmp_path / "whole", answers=3)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(Numbered(), ["a", "b", "c"], Referee(until=6), tmp_path / "killed", answers=3)
    again = Referee()
    assert rows(make_pairs(Numbered(), ["a", "b", "c"], again, tmp_path / "killed", answers=3)) == rows(whole)
    assert again.met == 3 and not list((tmp_path / "killed").glob("*.part*"))


class Counting(Table):
    """Counts its answers; raises where it should score more than ``until``."""

    def __init__(self, until=10**9, **scores):
        super().__init__(**scores)
        self.scored, self.until = 0, until

    def score(self, prompts, texts):
        self.scored += len(texts)
        if self.scored > self.until:
            raise KeyboardInterrupt
        return super().score(prompts, texts)


def test_a_killed_scoring_resumes(tmp_path):
    scores, options = {"s1": 1.0, "s2": 2.0, "s4": 0.5}, {"answers": 3, "batch_size": 2}
    whole = make_pairs(Numbered(), ["a", "b"], Counting(**scores), tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(Numbered(), ["a", "b"], Counting(4, **scores), tmp_path / "killed", **options)
    again = Counting(**scores)
    assert rows(make_pairs(Numbered(0), ["a", "b"], again, tmp_path / "killed", **options)) == rows(whole)
    assert again.scored == 2 and not list((tmp_path / "killed").glob("*.part*"))


def test_a_scorer_may_compare_instead_and_its_logits_scale_win_rates(tmp_path):
    class Scaled(Table):
        logits_per_unit = 2.0

    made = make_pairs(Numbered(), ["a"], Scaled(s1=1.0), tmp_path / "scores", answers=2)
    compared = make_pairs(Numbered(), ["a"], Scaled(s1=1.0), tmp_path / "compared", answers=2, by="comparisons")
    (one,), (other,) = rows(made), rows(compared)
    assert one["chosen_advantage"] == 1.0 and one["chosen_score"] == 1.0 and "chosen_score" not in other
    for name in ("chosen_win", "rejected_win", "chosen_advantage"):
        assert other[name] == pytest.approx(one[name], abs=1e-6)


@pytest.mark.parametrize(("pairing", "count"), [("all", 6), ("threshold", 3), ("rejection", 2), ("tournament", 3)])
def test_every_pairing_makes_a_file_that_trains(tmp_path, pairing, count):
    judge, settings = Table(s0=0.1, s1=0.5, s2=0.9, s3=0.3), {"threshold": 0.9} if pairing == "threshold" else {}
    made = make_pairs(Numbered(), ["a"], judge, tmp_path, answers=4, pairing=pairing, **settings)
    assert made.pairs == count == len(read_pairs(made.path).pairs)
    assert all(row["chosen_score"] > row["rejected_score"] for row in rows(made))
    assert all(row["chosen_advantage"] == pytest.approx(row["chosen_score"] - 0.45) for row in rows(made))


def test_lists_alone_are_written_for_prompts_whose_answers_differ(tmp_path):
    made = make_pairs(Numbered(), ["a", "tied"], Table(s0=0.1, s1=0.5), tmp_path, answers=2, pairing="list")
    assert made.path == tmp_path / "lists.jsonl" and (made.pairs, made.lists, made.tied) == (0, 1, 1)
    assert "1 ranked lists in" in made.summary() and not (tmp_path / "pairs.jsonl").exists()
    (line,) = made.path.read_text().splitlines()
    assert json.loads(line)["completions"] == [" 1", " 0"]


def test_what_a_judge_cannot_do_is_named_before_anything_is_made(tmp_path):
    policy = Numbered()
    for options, says in (
        ({"by": "scores"}, "referee only compares and gives no scores"),
        ({"by": "score"}, "Did you mean 'scores'"),
        ({"pairing": "threshold"}, "--threshold"),
    ):
        with pytest.raises(UserError, match=says):
            make_pairs(policy, ["a"], Referee(), tmp_path, **options)
    with pytest.raises(UserError, match="comparisons are those of one judge"):
        make_pairs(policy, ["a"], [Praise(), Table()], tmp_path, by="comparisons")
    assert policy.drawn == 0
    with pytest.raises(DataError, match="on both sides of the threshold 7 by table, in 1 prompts"):
        make_pairs(policy, ["a"], Table(s1=1.0), tmp_path, pairing="threshold", threshold=7.0)


def test_answers_without_a_score_are_named_and_the_scores_of_others_kept(tmp_path):
    class Nothing(Counting):
        def score(self, prompts, texts):
            return torch.where(super().score(prompts, texts) == 9, torch.nan, super().score(prompts, texts))

    with pytest.raises(DataError, match="1 sample could not be scored.*table gave the score nan"):
        make_pairs(Numbered(), ["a"], Nothing(s1=9.0, s2=1.0), tmp_path, answers=3)
    mended = Counting(s1=3.0, s2=1.0)
    assert make_pairs(Numbered(), ["a"], mended, tmp_path, answers=3).pairs == 1 and mended.scored == 1


def test_two_processes_make_the_files_of_one(tmp_path):
    model, prompts = tiny_llm(tmp_path / "llm"), tmp_path / "prompts.txt"
    prompts.write_text("a fox\ntwo owls\nthree cats\n")
    make = ["data", "make", "--model", model, "--prompt", f"@{prompts}", "--scorer", "length", "--answers", 4]
    make += ["--pairing", "all", "--batch", 3, "--setting", "max_new_tokens=12", "--output"]
    call(*make, tmp_path / "one")
    ((statuses, printed),) = in_two_processes([*make, tmp_path / "two"])
    assert statuses == [0, 0], printed
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert "pairs in" in printed[0] and "pairs in" not in printed[1]


def test_categories_of_a_suite_stay_with_the_samples(tmp_path):
    categories = {"a": {"style": ("paint",)}}
    make_pairs(Numbered(), ["a", "b"], Counting(s1=3.0), tmp_path, answers=2, categories=categories)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [row.get("categories") for row in rows] == [{"style": ["paint"]}] * 2 + [None] * 2
