"""Ensembles: members on one declared scale, combined as the formulas say, from a file or in Python."""

import json
import math

import pytest
import torch

from diffalign.errors import ConfigError, UserError
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.evaluation.scoring.score_samples import score_folder
from diffalign.scorers import load_scorer, scorer_medium
from diffalign.scorers.composed.combine_scores import WAYS, combine_scores, combined_range
from diffalign.scorers.composed.ensemble import Ensemble, Member
from tests.evaluation.fakes import Praise, Redness

TEXTS = ["good good", "good", "no", "good bad good good"]
PROMPTS = ["p"] * 4


class Words(Praise):
    """Number of words."""

    name = "words"

    def score(self, prompts, texts):
        return torch.tensor([float(len(text.split())) for text in texts])


def _both(**options):
    """Praise as 1, 0, -1, 2 and words as 0, -1/2, -1/2, 1."""
    return Ensemble([Member(Praise(), mean=1.0), Member(Words(), mean=2.0, scale=2.0)], **options)


@pytest.mark.parametrize(
    "combine, expected",
    [
        ("sum", [1.0, -0.5, -1.5, 3.0]),
        ("mean", [0.5, -0.25, -0.75, 1.5]),
        ("worst", [0.0, -0.5, -1.0, 1.0]),
        ("mean_minus_std", [0.5 - 0.5, -0.25 - 0.25, -0.75 - 0.25, 1.5 - 0.5]),
        ("mean_minus_variance", [0.25, -0.3125, -0.8125, 1.25]),
    ],
)
def test_each_way_of_combining_by_hand(combine, expected):
    assert _both(combine=combine).score(PROMPTS, TEXTS).tolist() == pytest.approx(expected)


def test_weights_and_k_by_hand():
    columns = torch.tensor([[4.0], [0.0]], dtype=torch.float64)
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    by = {way: float(combine_scores(columns, weights, way, k=2.0)) for way in WAYS}
    assert by == {
        "sum": 12.0,
        "mean": 3.0,
        "worst": 0.0,
        "mean_minus_std": pytest.approx(3 - 2 * math.sqrt(3)),  # V = (3 x 1 + 1 x 9) / 4
        "mean_minus_variance": -3.0,
    }


@pytest.mark.parametrize("way", WAYS)
def test_scores_stay_in_the_stated_range_and_agreement_costs_nothing(way):
    ranges, weights = [(-1.0, 2.0), (0.0, 1.0), (-3.0, 0.5)], [1.0, 1.0, 1.0]
    low, high = combined_range(ranges, weights, way, 1.5)
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand((3, 500), generator=generator, dtype=torch.float64)
    ends = torch.tensor(ranges, dtype=torch.float64)
    columns = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * torch.where(uniform > 0.8, 1.0, uniform.round())
    scores = combine_scores(columns, torch.tensor(weights, dtype=torch.float64), way, 1.5)
    assert low - 1e-9 <= scores.min() and scores.max() <= high + 1e-9
    if way != "sum":
        agreed = combine_scores(torch.full((3, 1), 0.4, dtype=torch.float64), torch.ones(3).double(), way, 1.5)
        assert float(agreed) == pytest.approx(0.4)


def test_ranges_without_an_end_and_negative_weights_are_ordered():
    assert combined_range([(0.0, math.inf), (0.0, 1.0)], [-1.0, 1.0], "sum") == (-math.inf, 1.0)
    assert combined_range([(0.0, math.inf), (0.0, 1.0)], [1.0, 1.0], "mean_minus_std") == (-math.inf, math.inf)
    assert combined_range([(0.0, math.inf), (0.0, 1.0)], [1.0, 1.0], "worst") == (0.0, 1.0)


def test_a_batch_scores_as_one_at_a_time_and_a_bad_score_stays_with_its_sample():
    scorer = _both(combine="mean_minus_std")
    alone = torch.cat([scorer.score(["p"], [text]) for text in TEXTS])
    assert torch.equal(alone, scorer.score(PROMPTS, TEXTS)) and alone.dtype == torch.float32
    assert scorer.score([], []).shape == (0,)

    class Holed(Praise):
        def score(self, prompts, texts):
            return torch.tensor([math.nan if text == "no" else 1.0 for text in texts])

    for combine in WAYS:
        scores = Ensemble([Member(Holed()), Member(Words())], combine).score(PROMPTS, TEXTS)
        assert scores.isnan().tolist() == [False, False, True, False]


def test_one_prompt_is_needed_for_each_sample():
    with pytest.raises(UserError, match="one prompt for each sample"):
        _both().score(["p"], TEXTS)


def _file(folder, content, name="judges.yaml"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


YAML = """
combine: mean_minus_std
k: 0.5
members:
  - {scorer: sentiment, mean: 0.1, scale: 0.4, unit: "VADER compound"}
  - {scorer: length, mean: 5, scale: 10, weight: 2}
"""


def test_a_file_loads_as_a_scorer_in_yaml_and_in_json(tmp_path):
    sentiment, length = load_scorer("sentiment"), load_scorer("length")
    path = _file(tmp_path, YAML.replace("VADER compound", sentiment.unit))
    scorer = load_scorer(f"ensemble:{path}")
    assert scorer.medium == "text" == scorer_medium(f"ensemble:{path}") and scorer.name == f"ensemble:{path}"
    texts = ["I love it", "It was there, and then it was not.", "terrible"]
    z = torch.stack([(sentiment.score(["p"] * 3, texts) - 0.1) / 0.4, (length.score(["p"] * 3, texts) - 5) / 10])
    mean = (z[0] + 2 * z[1]) / 3
    expected = mean - 0.5 * (((z[0] - mean) ** 2 + 2 * (z[1] - mean) ** 2) / 3).sqrt()
    torch.testing.assert_close(scorer.score(["p"] * 3, texts), expected)
    member = {"scorer": "sentiment", "mean": 0.1, "scale": 0.4}
    other = {"scorer": "length", "mean": 5, "scale": 10, "weight": 2}
    as_json = _file(tmp_path, {"combine": "mean_minus_std", "k": 0.5, "members": [member, other]}, "judges.json")
    assert torch.equal(load_scorer(f"ensemble:{as_json}").score(["p"] * 3, texts), scorer.score(["p"] * 3, texts))
    a, b = ["I love it"], ["terrible"]
    assert float(scorer.compare(["p"], a, b) + scorer.compare(["p"], b, a)) == 1.0


def test_other_numbers_are_another_scorer(tmp_path):
    hashes = set()
    for change in ("", "k: 0.5->k: 0.6", "mean: 5->mean: 6", "scale: 10->scale: 9", "weight: 2->weight: 3"):
        text = YAML.replace(', unit: "VADER compound"', "").replace(*(change.split("->") if change else ("", "")))
        hashes.add(load_scorer(f"ensemble:{_file(tmp_path, text)}").weights)
    assert len(hashes) == 5 and all(len(value) == 16 for value in hashes)


TWO = "members: [{scorer: sentiment, mean: 0, scale: 1}, {scorer: length, mean: 0, scale: 1}]"


@pytest.mark.parametrize(
    "content, message",
    [
        ("members: []", "one entry or more"),
        ("[1]", "expected the keys of ensemble"),
        ("combine: mean", "lacks members"),
        ("members: [length]", "member 1 is .*expected a mapping"),
        ("members: [{scorrer: length}]", "no key 'scorrer'. Did you mean 'scorer'"),
        ("members: [{scorer: lenght, mean: 0}]", "Did you mean 'length'"),
        ("members: [{scorer: length, mean: 0, scale: 0}, {scorer: length}]", "above 0; got"),
        ("members: [{scorer: length, mean: .nan}, {scorer: length}]", "mean is a finite number"),
        ("members: [{scorer: length}]", "needs two members"),
        ("members: [{scorer: length}, {scorer: sentiment}]", "member 1 needs mean and scale, .*different units"),
        (
            "members: [{scorer: length, unit: tokens}, {scorer: length}]",
            "scores in 'words', but the file states 'tokens'",
        ),
        ("members: [{scorer: length}, {scorer: flicker}, {scorer: flow_dynamic}]", "different media"),
        ("members: [{scorer: flicker}, {scorer: flicker}]", "alone prefers clips that stand still"),
        (TWO + "\ncombine: wrost", "Did you mean 'worst'"),
        (TWO + "\ncombine: mean_minus_std\nk: -1", "k is 0 or more"),
        ("combine: worst\nmembers: [{scorer: length, weight: 2}, {scorer: length}]", "has no weights"),
        ("members: [{scorer: length, weight: -1}, {scorer: length}]", "write combine: sum"),
        ("combine: sum\nmembers: [{scorer: length, weight: 0}]", "nothing would decide"),
        ("members: {", "is not YAML"),
    ],
)
def test_wrong_files_are_named_before_anything_is_scored(tmp_path, content, message):
    if "flow_dynamic" in content:
        pytest.importorskip("cv2")
        content = content.replace("scorer: flicker", "scorer: flicker, mean: 0, scale: 1")
        content = content.replace("scorer: flow_dynamic", "scorer: flow_dynamic, mean: 0, scale: 1")
        content = content.replace("scorer: length", "scorer: length, mean: 0, scale: 1")
        content = "combine: mean\n" + content
    with pytest.raises(UserError, match=message):
        load_scorer(f"ensemble:{_file(tmp_path, content)}")


def test_a_missing_file_and_one_that_names_itself_are_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no file of ensemble"):
        load_scorer(f"ensemble:{tmp_path / 'none.yaml'}")
    with pytest.raises(ConfigError, match="write ensemble:judges.yaml"):
        load_scorer("ensemble")
    loop = tmp_path / "loop.yaml"
    loop.write_text(f"members: [{{scorer: 'ensemble:{loop}'}}, {{scorer: length}}]")
    with pytest.raises(ConfigError, match="names itself"):
        load_scorer(f"ensemble:{loop}")
    with pytest.raises(ConfigError, match="names itself"):
        scorer_medium(f"ensemble:{loop}")


def test_an_ensemble_of_ensembles_is_one(tmp_path):
    inner = _file(tmp_path, "combine: sum\nmembers: [{scorer: length, weight: -1}]", "inner.yaml")
    outer = _file(tmp_path, f"members: [{{scorer: 'ensemble:{inner}'}}, {{scorer: 'ensemble:{inner}'}}]", "outer.yaml")
    assert load_scorer(f"ensemble:{outer}").score(["p"], ["two words"]).tolist() == [-2.0]


def test_members_of_different_media_are_refused_in_python_too():
    with pytest.raises(ConfigError, match="different media"):
        Ensemble([Member(Praise()), Member(Redness())])


def test_commands_and_comparisons_take_an_ensemble_by_its_file(tmp_path):
    path = _file(tmp_path, YAML.replace(', unit: "VADER compound"', ""))
    folder = tmp_path / "samples"
    folder.mkdir()
    texts = ["I love it", "terrible", "It was there."]
    rows = [{"prompt": "p", "completion": text} for text in texts]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = f"ensemble:{path}"
    score_folder(folder, [name])
    written = [json.loads(line)["scores"][name] for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert written == load_scorer(name).score(["p"] * 3, texts).tolist()
    judges = load_judges([name], ["polarity"])
    assert list(judges) == ["ensemble:judges.yaml", "polarity"]
    check_judges(judges, ["p"], "text")
    with pytest.raises(UserError, match="judges texts"):
        check_judges(judges, ["p"], "image")


def test_an_ensemble_is_not_held_out_if_training_learnt_from_a_member(tmp_path):
    path = _file(tmp_path, YAML.replace(', unit: "VADER compound"', ""))
    name = f"ensemble:{path}"
    with pytest.raises(UserError, match="is not held out: 'sentiment'"):
        load_judges([name], ["sentiment"])
    with pytest.raises(UserError, match="'sentiment' is not held out: 'ensemble:judges.yaml'"):
        load_judges(["sentiment"], [name])
    assert len(load_judges([], [name, "sentiment"])) == 2


def test_a_scorer_on_frames_is_not_held_out_if_training_learnt_from_it_on_images():
    with pytest.raises(UserError, match="shares the scorer"):
        load_judges(["frames:jpeg_compressibility"], ["jpeg_compressibility"])
    with pytest.raises(UserError, match="cannot both have made the pairs"):
        load_judges(["frames:jpeg_compressibility"], ["frames:jpeg_compressibility"])


def test_an_exponent_without_a_point_is_a_number(tmp_path):
    text = "members: [{scorer: length, mean: 0, scale: 1e1}, {scorer: length, mean: 0, scale: 1.0e+1}]"
    assert float(load_scorer(f"ensemble:{_file(tmp_path, text)}").score(["a"], ["one two three four five"])) == 0.5
