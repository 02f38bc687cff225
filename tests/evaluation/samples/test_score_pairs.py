"""Scoring pairs: every candidate once, resumable, with one command for pairs and images."""

import json
import math

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair, PairSet
from diffalign.data.records.score_table import read_scores, with_scores
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.score_pairs import score_pairs, summary_lines
from diffalign.scorers import SCORERS, ScorerEntry
from tests.data.fixtures import encoded, jsonl, pair_folder, parquet, vote
from tests.evaluation.fakes import Redness


class Judge(Redness):
    """Counts its images, and raises KeyboardInterrupt after some of them."""

    def __init__(self, until=math.inf, weights=""):
        super().__init__()
        self.scored, self.until, self.weights = 0, until, weights

    def score(self, prompts, images):
        self.scored += len(images)
        if self.scored > self.until:
            raise KeyboardInterrupt
        return super().score(prompts, images)


@pytest.fixture
def judges(monkeypatch):
    """Registers a judge under the name ``redness``."""

    def use(judge):
        monkeypatch.setitem(SCORERS, "redness", ScorerEntry(lambda argument, device: judge, "nothing", "how red"))
        return judge

    return use


@pytest.fixture
def folder(tmp_path):
    """Five pairs with increasingly red chosen images and black rejected ones."""
    folder = pair_folder(tmp_path / "set", 5)
    for n in range(5):
        (folder / f"chosen-{n}.png").write_bytes(encoded(Image.new("RGB", (4, 4), (51 * (n + 1), 0, 0))))
        (folder / f"rejected-{n}.png").write_bytes(encoded(Image.new("RGB", (4, 4), (0, n, 0))))
    return folder


def call(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_both_candidates_of_each_pair_are_scored_and_stored_next_to_the_data(folder, judges):
    judge, found = judges(Judge()), read_pairs(folder)
    table = score_pairs(found, "redness", batch=2)
    assert table == read_scores(folder / "scores" / "redness.jsonl") and judge.scored == 10
    assert list(table.rows.values()) == [(pytest.approx((n + 1) / 5), 0.0) for n in range(5)]
    assert (table.low, table.high, table.unit) == (0.0, 1.0, "share")
    assert [p.name for p in (folder / "scores").iterdir()] == ["redness.jsonl"]
    scored = with_scores(read_pairs(folder, limit=2), [table])
    assert scored.pairs[1].scores["chosen"] == {"redness": pytest.approx(0.4)} and scored.ranges == {"redness": (0, 1)}
    assert "5 pairs" in summary_lines(table) and "agrees with 100.0%" in summary_lines(table)


def test_an_interrupted_call_resumes_and_writes_the_same_table(folder, judges, tmp_path):
    found = read_pairs(folder)
    judges(Judge())
    whole = score_pairs(found, "redness", tmp_path / "whole.jsonl")
    judges(Judge(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_pairs(found, "redness", batch=1)
    part = folder / "scores" / "redness.jsonl.part"
    assert len(part.read_text().splitlines()) == 4 and not part.with_suffix("").exists()
    with part.open("a") as file:
        file.write('{"id": "torn')
    judge = judges(Judge())
    assert score_pairs(found, "redness", batch=1).rows == whole.rows
    assert judge.scored == 4 and not part.exists()


def test_the_progress_of_other_weights_is_not_resumed(folder, judges):
    judges(Judge(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_pairs(read_pairs(folder), "redness", batch=1)
    judge = judges(Judge(weights="other"))
    score_pairs(read_pairs(folder), "redness")
    assert judge.scored == 10
    judges(Judge())
    with pytest.raises(UserError, match="other weights"):
        score_pairs(read_pairs(folder), "redness")


def test_only_new_pairs_are_scored_after_the_data_grew(folder, judges):
    judges(Judge())
    score_pairs(read_pairs(folder, limit=3), "redness")
    judge = judges(Judge())
    assert len(score_pairs(read_pairs(folder), "redness").rows) == 5 and judge.scored == 4


def test_an_image_that_several_pairs_of_a_prompt_share_is_judged_once(folder, judges):
    judge = judges(Judge())
    names = [folder / f"chosen-{n}.png" for n in range(4)]
    pairs = [Pair(f"{a}{b}", "p", names[b], names[a]) for b in range(4) for a in range(b)]
    score_pairs(PairSet(pairs), "redness", folder / "x.jsonl", batch=2)
    assert len(pairs) == 6 and judge.scored == 4
    other = judges(Judge())
    score_pairs(PairSet([Pair("0", "p", *names[:2]), Pair("1", "q", *names[:2])]), "redness", folder / "y.jsonl")
    assert other.scored == 4


def test_a_bad_image_or_score_names_the_pair_and_keeps_the_rest(folder, judges):
    judge = judges(Judge())
    judge.score = lambda prompts, images: torch.tensor([math.nan if "n-3" in str(i) else 1.0 for i in images])
    with pytest.raises(DataError, match=r"metadata.jsonl:4: redness gave .*nan.*3 pairs are judged already"):
        score_pairs(read_pairs(folder), "redness", batch=1)
    (folder / "chosen-3.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"3 pairs are judged already and kept"):
        call("score", folder, "--scorer", "background:red", "--batch", 3, "--output", folder / "out.jsonl")


def test_texts_winners_hub_ids_and_foreign_files_are_refused_before_a_judge_is_loaded(folder, tmp_path):
    texts = jsonl(tmp_path / "a.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match="candidates are texts, and the scorer 'clip' judges images"):
        score_pairs(read_pairs(texts), "clip")
    with pytest.raises(DataError, match="single examples"):
        score_pairs(PairSet([Pair("0", "p", folder / "chosen-0.png", None)], source=str(folder)), "clip")
    with pytest.raises(DataError, match="candidates are images, and the scorer 'reward:x' judges texts"):
        score_pairs(read_pairs(folder), "reward:x")
    with pytest.raises(UserError, match="no scorer 'sentimint'.*'sentiment'"):
        score_pairs(read_pairs(texts), "sentimint")
    with pytest.raises(UserError, match="--output FILE"):
        score_pairs(PairSet(read_pairs(folder).pairs, source="owner/name"), "clip")
    with pytest.raises(DataError, match="not a line of a file of scores"):
        score_pairs(read_pairs(folder), "clip", folder / "metadata.jsonl")


def test_the_command_judges_pairs_of_a_folder_and_of_a_file(folder, tmp_path):
    output = call("score", folder, "--scorer", "background:red", "--scorer", "background:black")
    assert "5 pairs" in output and str(folder / "scores" / "background_red.jsonl") in output
    assert read_scores(folder / "scores" / "background_black.jsonl").low == 0.0
    votes = parquet(tmp_path / "votes.parquet", [vote(0), vote(1, 0.5)])
    assert "1 pairs" in call("score", votes, "--scorer", "background:red")
    call("score", votes, "--scorer", "background:red", "--option", "ties=soft")
    assert len(read_scores(tmp_path / "votes.scores.background_red.jsonl").rows) == 2


def test_the_command_distinguishes_pairs_from_single_images(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (4, 4), (196, 30, 48))))
    jsonl(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "prompt": "a fox"}])
    assert "1 images" in call("score", tmp_path, "--scorer", "background:red")
    assert json.loads((tmp_path / "metadata.jsonl").read_text())["scores"] == {"background:red": 1.0}
    with pytest.raises(UserError, match="metadata.jsonl, not --output"):
        call("score", tmp_path, "--scorer", "background:red", "--output", tmp_path / "x.jsonl")


def test_options_that_cannot_be_applied_are_named(folder):
    with pytest.raises(UserError, match="one scorer"):
        call("score", folder, "--scorer", "background:red", "--scorer", "background:blue", "--output", folder / "x")
    with pytest.raises(UserError, match="NAME=VALUE"):
        call("score", folder, "--scorer", "background:red", "--option", "ties")
    with pytest.raises(DataError, match="no option 'tiees'"):
        call("score", folder, "--scorer", "background:red", "--option", "tiees=soft")


def test_the_command_judges_pairs_of_texts_plain_and_in_turns(tmp_path):
    assistant = {"role": "assistant"}
    turns = [{"role": "user", "content": "How was it?"}]
    kind, unkind = "It was wonderful!", "It was terrible."
    rows = [
        {"prompt": "How was it?", "chosen": kind, "rejected": unkind},
        {"prompt": turns, "chosen": [{**assistant, "content": kind}], "rejected": [{**assistant, "content": unkind}]},
    ]
    for number, row in enumerate(rows):
        source = jsonl(tmp_path / f"{number}.jsonl", [row])
        summary_lines = call("score", source, "--scorer", "sentiment", "--scorer", "polarity", "--scorer", "length")
        assert summary_lines.count("agrees with 100.0% of the votes") == 2
        (pair,) = read_pairs(source).pairs
        (high, low) = read_scores(tmp_path / f"{number}.scores.sentiment.jsonl").rows[pair.id]
        assert high > 0.5 and low < -0.4
        assert read_scores(tmp_path / f"{number}.scores.length.jsonl").rows[pair.id] == (3, 3)
