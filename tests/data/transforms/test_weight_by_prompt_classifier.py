"""Weights of undesirable examples by how likely their prompts are among the desirable ones'."""

import random

import pytest
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import Pair
from diffalign.data.records.score_table import read_scores, with_scores
from diffalign.data.transforms.weight_by_prompt_classifier import density_weights, hash_words, write_density_weights
from diffalign.errors import DataError
from tests.data.fixtures import jsonl

COMMON = ["tell", "show", "write", "me", "please", "about", "some", "short", "long", "new", "old", "nice"]
TOPICS = {"cats": ["cat", "paw", "tail", "purr"], "cars": ["car", "wheel", "road", "fuel"]}


def asked(topic: str, number: int) -> str:
    words = random.Random(f"{topic}{number}")
    return " ".join([*words.sample(COMMON, 4), *words.choices(TOPICS[topic], k=3), str(number)])


def examples(good: dict[str, int], bad: dict[str, int]) -> list[Pair]:
    """So many prompts about each topic, those of the two kinds apart."""
    made = [(topic, k, True) for topic, count in good.items() for k in range(count)]
    made += [(topic, 1000 + k, False) for topic, count in bad.items() for k in range(count)]
    return [Pair(f"{t}{k}", asked(t, k), f" answer {k}", None, desirable=up) for t, k, up in made]


def mean(pairs, weights, topic):
    found = [weights[p.id] for p in pairs if not p.desirable and p.id.startswith(topic)]
    return sum(found) / len(found)


def test_bad_answers_to_prompts_of_the_good_ones_weigh_more():
    pairs = examples({"cats": 120, "cars": 40}, {"cats": 40, "cars": 120})
    density = density_weights(pairs)
    # The true ratio is 3 for cats and 1/3 for cars, which the lower limit makes one half.
    assert 2.0 < mean(pairs, density.weights, "cats") < 4.5 and mean(pairs, density.weights, "cars") < 0.7
    assert all(density.weights[p.id] == 1.0 for p in pairs if p.desirable)
    assert all(0.5 <= weight <= 10.0 for weight in density.weights.values()) and density.accuracy > 0.65


def test_where_both_kinds_share_their_prompts_weights_are_about_one():
    pairs = examples({"cats": 100, "cars": 100}, {"cats": 100, "cars": 100})
    density = density_weights(pairs)
    assert 0.8 < mean(pairs, density.weights, "cats") < 1.3 and 0.8 < mean(pairs, density.weights, "cars") < 1.3
    assert 0.4 < density.accuracy < 0.6


def test_how_many_there_are_of_a_kind_does_not_matter():
    pairs = examples({"cats": 30, "cars": 30}, {"cats": 150, "cars": 150})
    assert 0.75 < mean(pairs, density_weights(pairs).weights, "cats") < 1.4


def test_prompts_without_anything_in_common_reach_the_limits():
    pairs = [Pair(f"a{k}", f"cat {k}", "x", None) for k in range(200)]
    pairs += [Pair(f"b{k}", f"car {k}", "x", None, desirable=False) for k in range(200)]
    density = density_weights(pairs)
    assert {weight for name, weight in density.weights.items() if name[0] == "b"} == {0.5} and density.accuracy > 0.98


def test_weights_are_the_same_whatever_the_order_of_the_rows():
    pairs = examples({"cats": 20, "cars": 10}, {"cats": 10, "cars": 20})
    one, other = density_weights(pairs).weights, density_weights(pairs[::-1]).weights
    assert one == pytest.approx(other, rel=1e-6)


def test_a_text_is_its_words_and_their_neighbours():
    one, other = hash_words(["A cat, a CAT!", ""]), hash_words(["cat a", "a cat"])
    assert one.offsets.tolist() == [0, 4] and len(one.indices) == 4  # a, cat, "a cat", "cat a"
    assert one.values.square().sum().item() == pytest.approx(1.0)
    assert other.indices[:3].tolist() != other.indices[3:].tolist()


def test_pairs_and_examples_of_one_class_are_refused():
    with pytest.raises(DataError, match="share their prompts"):
        density_weights([Pair("a", "p", "x", "y")])
    with pytest.raises(DataError, match="30 distinct prompts of desirable and 0 of undesirable"):
        density_weights(examples({"cats": 30}, {}))


def test_the_weights_are_read_as_a_column_of_the_example(tmp_path):
    pairs = examples({"cats": 20, "cars": 10}, {"cats": 10, "cars": 20})
    rows = [{"id": p.id, "prompt": p.prompt, "completion": p.chosen, "label": p.desirable} for p in pairs]
    path = jsonl(tmp_path / "thumbs.jsonl", rows)
    result = CliRunner().invoke(app, ["data", "density", str(path)])
    assert result.exit_code == 0, result.output
    assert "30 undesirable examples of 60: weights from 0." in result.output and "right on" in result.output
    table = read_scores(tmp_path / "thumbs.scores.weight.jsonl")
    dataset = with_scores(read_pairs(path), [table])
    assert {p.id: p.scores["pair"]["weight"] for p in dataset.pairs} == density_weights(pairs).weights
    assert "weight" not in dataset.ranges and table == write_density_weights(read_pairs(path))[0]
