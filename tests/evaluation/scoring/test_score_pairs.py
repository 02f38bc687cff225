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
from diffalign.evaluation.scoring.score_pairs import score_pairs, score_pairs_in_one_pass, summary_lines
from diffalign.scorers import SCORERS, ScorerEntry
from tests.data.fixtures import encoded, jsonl, pair_folder, parquet, vote
from tests.evaluation.fakes import Counted
from tests.evaluation.scoring.counting import count_decoded


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
    judge, found = judges(Counted()), read_pairs(folder)
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
    judges(Counted())
    whole = score_pairs(found, "redness", tmp_path / "whole.jsonl")
    judges(Counted(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_pairs(found, "redness", batch=1)
    part = folder / "scores" / "redness.jsonl.part"
    assert len(part.read_text().splitlines()) == 4 and not part.with_suffix("").exists()
    with part.open("a") as file:
        file.write('{"id": "torn')
    judge = judges(Counted())
    assert score_pairs(found, "redness", batch=1).rows == whole.rows
    assert judge.scored == 4 and not part.exists()


def test_the_progress_of_other_weights_is_not_resumed(folder, judges):
    judges(Counted(until=6))
    with pytest.raises(KeyboardInterrupt):
        score_pairs(read_pairs(folder), "redness", batch=1)
    judge = judges(Counted(weights="other"))
    score_pairs(read_pairs(folder), "redness")
    assert judge.scored == 10
    judges(Counted())
    with pytest.raises(UserError, match="other weights"):
        score_pairs(read_pairs(folder), "redness")


def test_only_new_pairs_are_scored_after_the_data_grew(folder, judges):
    judges(Counted())
    score_pairs(read_pairs(folder, limit=3), "redness")
    judge = judges(Counted())
    assert len(score_pairs(read_pairs(folder), "redness").rows) == 5 and judge.scored == 4


def test_an_image_that_several_pairs_of_a_prompt_share_is_judged_once(folder, judges):
    judge = judges(Counted())
    names = [folder / f"chosen-{n}.png" for n in range(4)]
    pairs = [Pair(f"{a}{b}", "p", names[b], names[a]) for b in range(4) for a in range(b)]
    score_pairs(PairSet(pairs), "redness", folder / "x.jsonl", batch=2)
    assert len(pairs) == 6 and judge.scored == 4
    other = judges(Counted())
    score_pairs(PairSet([Pair("0", "p", *names[:2]), Pair("1", "q", *names[:2])]), "redness", folder / "y.jsonl")
    assert other.scored == 4


def test_a_bad_image_or_score_is_named_and_the_other_pairs_are_scored(folder, judges):
    judge = judges(Counted())
    score = judge.score
    judge.score = lambda prompts, images: torch.where(score(prompts, images) == 4 / 5, math.nan, score(prompts, images))
    (folder / "rejected-1.png").write_bytes(b"nothing")
    with pytest.raises(DataError) as error:
        score_pairs(read_pairs(folder), "redness", batch=2)
    assert "2 pairs could not be scored" in str(error.value) and "redness.jsonl" in str(error.value)
    assert "metadata.jsonl:4: redness gave the score nan" in str(error.value)
    assert "rejected-1.png' cannot be decoded" in str(error.value) and "bad_images=drop" in str(error.value)
    table = read_scores(folder / "scores" / "redness.jsonl")
    pairs = read_pairs(folder).pairs
    assert list(table.rows) == [pairs[n].id for n in (0, 2, 4)]
    (folder / "rejected-1.png").write_bytes(encoded(Image.new("RGB", (4, 4), (51, 0, 0))))
    mended = judges(Counted())
    assert score_pairs(read_pairs(folder), "redness", batch=2).rows[pairs[1].id] == pytest.approx((0.4, 0.2))
    assert mended.scored == 4 and not (folder / "scores" / "redness.jsonl.part").exists()


def test_the_command_fails_after_the_sound_pairs_are_scored(folder):
    (folder / "chosen-3.png").write_bytes(b"nothing")
    out = folder / "out.jsonl"
    with pytest.raises(DataError, match="1 pair could not be scored.*chosen-3.png"):
        call("score", folder, "--scorer", "background:red", "--batch", 3, "--output", out)
    assert len(read_scores(out).rows) == 4
    with pytest.raises(DataError, match="could not be scored; .* in no file"):
        score_pairs(PairSet([read_pairs(folder).pairs[3]], source=str(folder)), "background:red", folder / "x.jsonl")


def test_several_scorers_in_one_pass_open_each_image_once_and_give_what_each_gives_alone(folder, tmp_path, monkeypatch):
    specs = ["background:red", "background:black", "background:blue"]
    alone = {spec: score_pairs(read_pairs(folder), spec, tmp_path / f"{n}.jsonl").rows for n, spec in enumerate(specs)}
    opened = count_decoded(monkeypatch)
    tables = score_pairs_in_one_pass(read_pairs(folder), specs, batch=2)
    assert {table.scorer: table.rows for table in tables} == alone
    assert len(opened) == 10 and set(opened.values()) == {1}


def test_a_table_says_how_samples_were_prepared_and_tables_of_earlier_versions_stay_valid(folder, judges):
    judge = judges(Counted())
    judge.preprocessing = "4 shortest"
    path = folder / "scores" / "redness.jsonl"
    score_pairs(read_pairs(folder, limit=3), "redness")
    assert read_scores(path).preprocessing == "4 shortest"
    old = path.read_text().replace(', "preprocessing": "4 shortest"', "")
    path.write_text(old)
    judges(judge)
    judge.scored = 0
    assert score_pairs(read_pairs(folder), "redness").preprocessing == "4 shortest" and judge.scored == 4
    judge.preprocessing = "8 shortest"
    with pytest.raises(UserError, match="scores of other preprocessing"):
        score_pairs(read_pairs(folder), "redness")


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
    assert "1 image)" in call("score", tmp_path, "--scorer", "background:red")
    assert json.loads((tmp_path / "metadata.jsonl").read_text())["scores"] == {"background:red": 1.0}
    call("score", tmp_path, "--scorer", "background:red", "--output", tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[1].startswith("a.png,a fox,background:red,1.0,")


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
