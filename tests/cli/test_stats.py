"""`diffalign stats`: every command on comparisons and scores that were made before."""

import json
import math
import re
from pathlib import Path

import pytest

from diffalign.cli.commands_stats import stats_app
from diffalign.data.records.score_table import write_scores
from diffalign.errors import DataError, RunError, UserError
from diffalign.evaluation.analysis.judges_and_people import judges_and_people
from diffalign.evaluation.compare.run import compare
from diffalign.scorers import load_scorer
from tests.cli.test_commands import call
from tests.evaluation.fakes import PlainPolicy, Redness


class Blueness(Redness):
    """Redness less than red by the prompt's length."""

    name = "blueness"

    def score(self, prompts, images):
        import torch

        return torch.tensor([float(len(prompt)) for prompt in prompts]) - super().score(prompts, images)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = []
    judges = {"red": (Redness(), "held-out"), "blue": (Blueness(), "held-out"), "trained": (Redness(), "trained-on")}
    for shift in (20, 40):
        made.append(tmp_path_factory.mktemp(f"shift{shift}"))
        compare(PlainPolicy(shift), ["a", "bb", "ccc"], [0, 1], judges, folder=made[-1])
    return made


def test_judges_prints_what_the_report_folds_away(folders):
    lines = call("stats", "judges", folders[0]).splitlines()
    assert lines[0].startswith("red (held out): mean difference +0.0784 share") and "wins 3 of 3 prompts" in lines[0]
    assert "Holm" in lines[0] and "Holm" not in lines[2] and lines[2].startswith("trained (trained on)")
    assert "red and blue: same winner 0 %" in lines[3] and "a trade-off in 100 %" in lines[-1]


def test_pool_and_its_errors(folders, tmp_path):
    out = call("stats", "pool", *folders)
    assert "red (held out): 100 % over 2 trainings and 3 prompts (95 % interval 44 % to 100 %; each 100 %, 100" in out
    assert call("stats", "pool", *(folder / "comparison.json" for folder in folders)) == out
    with pytest.raises(UserError, match="two trainings or more"):
        call("stats", "pool", folders[0])
    with pytest.raises(UserError, match="there is no comparison"):
        call("stats", "pool", folders[0], tmp_path)


def test_tradeoffs_of_two_models(folders, tmp_path):
    judges = {"long": (Blueness(), "held-out"), "short": (Blueness(), "held-out")}
    twins = []
    for shift in (20, 40):
        twins.append(tmp_path / str(shift))
        compare(PlainPolicy(-shift), ["a", "bb", "ccc"], [0], judges, folder=twins[-1])
    lines = call("stats", "tradeoffs", *twins).splitlines()
    assert "(on the front)" not in lines[0] and "(on the front)" in lines[1] and "hypervolume" in lines[2]
    with pytest.raises(DataError, match="got blue"):  # of plain colours, red scores no base sample unlike another
        call("stats", "tradeoffs", *folders)
    with pytest.raises(UserError, match="two models"):
        call("stats", "tradeoffs", folders[0], folders[0])


def changed(folder, target, change):
    content = json.loads((folder / "comparison.json").read_text())
    change(content)
    target.mkdir()
    (target / "comparison.json").write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.update(rows=[]), "it has no rows"),
        (lambda c: c.update(rows=[3]), "row 1 has no prompt or no scores"),
        (lambda c: c["rows"][1].pop("scores"), "row 2 has no prompt or no scores"),
        (lambda c: c["rows"][0]["scores"].update(red=["x", "y"]), "row 1 has no two scores of 'red'"),
        (lambda c: c["rows"][2]["scores"].update(red=[1, 2, 3]), "row 3 has no two scores of 'red'"),
        (lambda c: c["judgements"][0].update(base_hits=math.nan), "is not a comparison of this version"),
    ],
)
def test_a_comparison_that_is_damaged_is_named_with_what_is_wrong(change, reason, folders, tmp_path):
    damaged = changed(folders[0], tmp_path / "damaged", change)
    for command in (["judges", damaged], ["pool", folders[1], damaged], ["tradeoffs", damaged, folders[1]]):
        with pytest.raises(DataError, match=re.escape(reason)):
            call("stats", *command)


def test_one_training_does_not_count_twice_and_gains_over_two_bases_are_not_compared(folders, tmp_path):
    with pytest.raises(UserError, match="each once"):
        call("stats", "pool", folders[0], folders[1], folders[0])
    copy = changed(folders[0], tmp_path / "copy", lambda content: None)
    with pytest.raises(DataError, match="of the same aligned weights"):
        call("stats", "pool", folders[0], copy)
    other = changed(folders[0], tmp_path / "other", lambda c: c["settings"]["base"].update(model="another"))
    with pytest.raises(DataError, match="different bases"):
        call("stats", "tradeoffs", folders[0], other)


ROWS = [
    ("p", "good and long indeed", "bad"),
    ("p", "nice", "an awful text"),
    ("q", "I hate it", "I love it so much"),
    ("r", "fine", "so so, but longer"),
]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in ROWS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    call("score", path, "--scorer", "sentiment", "--scorer", "length")
    return path


def test_the_page_of_evaluation_names_every_command_and_its_example_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    commands = {command.name for command in stats_app.registered_commands}
    assert commands == set(re.findall(r"`?(?:diffalign )?stats (\w+)", page))
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})  # noqa: S102
    assert capsys.readouterr().out.startswith("0.666")


def test_votes_compares_judges_with_people_and_with_each_other(pairs):
    tables = [pairs.with_name(f"pairs.scores.{name}.jsonl") for name in ("sentiment", "length")]
    lines = call("stats", "votes", pairs, "--scores", tables[0], "--scores", tables[1]).splitlines()
    assert "sentiment agrees with people in 75 % of 4 pairs" in lines[0] and "kappa 0.50" in lines[0]
    assert "length agrees with people in 25 % of 4 pairs" in lines[1] and "kappa -0.50" in lines[1]
    assert lines[2].startswith("sentiment and length: kappa 0.00")
    with pytest.raises(DataError, match="judge of its own"):
        call("stats", "votes", pairs, "--scores", tables[0], "--scores", tables[0])


def test_a_table_that_lacks_pairs_is_named(pairs, tmp_path):
    from diffalign.data.readers import read_pairs

    table = write_scores(tmp_path / "few.jsonl", "length", {"1": (1.0, 2.0)})
    with pytest.raises(DataError, match="lacks 4 of 4 pairs"):
        judges_and_people(read_pairs(pairs), [table])


def test_ensemble_writes_a_file_that_loads(pairs, tmp_path):
    tables = [pairs.with_name(f"pairs.scores.{name}.jsonl") for name in ("sentiment", "length")]
    path = tmp_path / "judges.yaml"
    out = call("stats", "ensemble", *tables, "--output", path, "--combine", "mean_minus_std", "--k", "0.5")
    assert f"--scorer ensemble:{path}" in out
    scorer = load_scorer(f"ensemble:{path}")
    texts = [text for _, *both in ROWS for text in both]
    prompts = [prompt for prompt, *_ in ROWS for _ in range(2)]
    z = [(member.scorer.score(prompts, texts) - member.mean) / member.scale for member in scorer.members]
    for column in z:
        assert float(column.mean()) == pytest.approx(0, abs=1e-4)
        assert float(column.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert (scorer.combine, scorer.k) == ("mean_minus_std", 0.5)
    with pytest.raises(UserError, match="--combine is one of"):
        call("stats", "ensemble", *tables, "--output", path, "--combine", "median")
    with pytest.raises(UserError, match="one file for each"):
        call("stats", "ensemble", tables[0], tables[0], "--output", path)
    flat = write_scores(tmp_path / "flat.jsonl", "length", {"1": (2.0, 2.0)})
    with pytest.raises(DataError, match="no scale"):
        call("stats", "ensemble", flat.path, "--output", path)


def test_an_ensemble_is_measured_on_one_set_of_pairs_by_two_scorers_and_a_possible_k(pairs, tmp_path):
    tables = [pairs.with_name(f"pairs.scores.{name}.jsonl") for name in ("sentiment", "length")]
    few = write_scores(tmp_path / "few.jsonl", "fewer", {"1": (1.0, 2.0)}).path
    whole = write_scores(tmp_path / "pair.jsonl", "weight", {"1": (1.0,)}, roles=("pair",)).path
    output = ["--output", tmp_path / "e.yaml"]
    for arguments, reason in (
        ([tables[0], few], "scores of different pairs"),
        ([tables[0], whole], "numbers of pairs instead of scores"),
        ([tables[0]], "needs two members or more"),
        ([*tables, "--combine", "mean_minus_std", "--k", "nan"], "k is 0 or more"),
        ([*tables, "--combine", "mean_minus_std", "--k", "-1"], "k is 0 or more"),
    ):
        with pytest.raises(UserError, match=reason):
            call("stats", "ensemble", *arguments, *output)
    assert not (tmp_path / "e.yaml").exists()
    for output in (".", "/proc/1/e.yaml"):
        with pytest.raises(RunError, match="could not be written"):
            call("stats", "ensemble", *tables, "--output", output)
    with pytest.raises(DataError, match="is a folder. Name a file of scores in it"):
        call("stats", "votes", pairs, "--scores", ".")
