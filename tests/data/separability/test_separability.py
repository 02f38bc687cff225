"""The probe against what is known of Gaussians, and what a study says of sets with and without a shortcut."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm

from diffalign.data.records.pair import Pair
from diffalign.data.separability import image_features, text_features
from diffalign.data.separability.probe import accuracy, auc, fit_probe, folds_of, held_out_scores
from diffalign.data.separability.study import study_separability, surface_features
from diffalign.errors import DataError

COUNT = 4000


def gaussians(distance, dimensions=6, count=COUNT, seed=0):
    """Two isotropic Gaussians at a distance; rows of both, their labels, and a group for each two."""
    rng = np.random.default_rng(seed)
    centre = np.zeros(dimensions)
    centre[:2] = distance / math.sqrt(8)  # half the distance, along a diagonal
    rows = rng.standard_normal((2, count, dimensions)) + np.stack([centre, -centre])[:, None]
    labels = np.repeat([True, False], count)
    return rows.reshape(-1, dimensions), labels, [str(number) for number in range(count)] * 2


@pytest.mark.parametrize(("distance", "right", "area"), [(2.0, 0.841345, 0.921350), (0.5, 0.598706, 0.638163)])
def test_held_out_numbers_of_two_gaussians_are_the_best_there_are(distance, right, area):
    assert norm.cdf(distance / 2) == pytest.approx(right, abs=1e-6)
    assert norm.cdf(distance / math.sqrt(2)) == pytest.approx(area, abs=1e-6)
    rows, labels, groups = gaussians(distance)
    scores = held_out_scores(rows, labels, groups)
    error = 3 * 0.5 / math.sqrt(2 * COUNT)
    assert accuracy(scores, labels) == pytest.approx(right, abs=error)
    assert auc(scores, labels) == pytest.approx(area, abs=error)


def test_equal_distributions_and_permuted_labels_are_chance():
    rows, labels, groups = gaussians(0.0)
    assert auc(held_out_scores(rows, labels, groups), labels) == pytest.approx(0.5, abs=0.025)
    rows, labels, groups = gaussians(2.0)
    turned = np.random.default_rng(1).permutation(labels)
    assert auc(held_out_scores(rows, turned, groups), turned) == pytest.approx(0.5, abs=0.025)


def test_the_fit_is_the_minimum_and_swapped_labels_mirror_it():
    rows, labels, _ = gaussians(1.0, count=60)
    probe = fit_probe(rows, labels, penalty=2.0)
    mirrored = fit_probe(rows, ~labels, penalty=2.0)
    np.testing.assert_allclose(mirrored.weights, -probe.weights, atol=1e-5)
    assert accuracy(probe.score(rows), labels) == accuracy(mirrored.score(rows), ~labels)
    assert auc(probe.score(rows), ~labels) == pytest.approx(1 - auc(probe.score(rows), labels))

    def cost(weights, bias):
        standard = (rows - rows.mean(0)) / rows.std(0)
        margins = np.where(labels, 1, -1) * (standard @ weights + bias)
        return np.log1p(np.exp(-margins)).sum() + weights @ weights

    best = cost(probe.weights, probe.bias)
    for place in range(len(probe.weights)):
        for step in (-0.01, 0.01):
            moved = probe.weights.copy()
            moved[place] += step
            assert cost(moved, probe.bias) > best
    assert cost(probe.weights, probe.bias + 0.01) > best and cost(probe.weights, probe.bias - 0.01) > best


def test_features_without_spread_count_nothing():
    rows, labels, _ = gaussians(2.0, count=50)
    flat = np.hstack([rows, np.full((100, 1), 7.0)])
    probe = fit_probe(flat, labels)
    assert probe.weights[-1] == 0.0 and np.isfinite(probe.score(flat + 1.0)).all()


def test_auc_counts_pairs_and_ties_half():
    scores, labels = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auc(scores, labels) == (1 + 1 + 0 + 0.5) / 4
    assert math.isnan(auc(scores, np.ones(4, dtype=bool)))


def test_folds_keep_groups_whole_and_do_not_ask_for_the_order():
    names = ["a", "b", "c", "d", "a", "e", "b"]
    folds = folds_of(names, 3)
    assert folds[0] == folds[4] and folds[1] == folds[6] and set(folds) == {0, 1, 2}
    assert folds_of(names[::-1], 3).tolist() == folds[::-1].tolist()
    with pytest.raises(ValueError, match="two groups"):
        folds_of(["a", "a"], 3)


def test_folds_that_split_prompts_are_inflated_and_grouped_ones_are_not():
    """A set that can be memorised: each prompt has its own direction and its own labels, four rows of each."""
    rng = np.random.default_rng(0)
    prompts, copies = 60, 4
    directions = np.repeat(rng.standard_normal((prompts, 80)), copies, axis=0)
    labels = np.repeat(rng.random(prompts) < 0.5, copies)
    rows = directions + 0.1 * rng.standard_normal(directions.shape)
    groups = [str(number // copies) for number in range(len(rows))]
    leaked = auc(held_out_scores(rows, labels, [str(number) for number in range(len(rows))]), labels)
    assert leaked > 0.9
    assert abs(auc(held_out_scores(rows, labels, groups), labels) - 0.5) < 0.2


def texts(count, chosen, rejected, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = ["river", "stone", "cloud", "lamp", "tree", "bird", "road", "glass"]

    def made():
        return " ".join(rng.choice(vocabulary, rng.integers(5, 30)))

    return [Pair(f"t{n}", f"prompt {n}", chosen(made()), rejected(made())) for n in range(count)]


def plain(text):
    return text


def test_a_shortcut_is_found_and_named():
    pairs = texts(120, lambda text: f"Certainly! {text}", plain)
    study = study_separability(pairs, surface_features(pairs))
    assert list(study.probes) == ["length", "first 20 tokens", "surface"]
    assert study.suspicious and any("by first 20 tokens only" in reason for reason in study.reasons)
    assert study.probes["surface"].auc > 0.99 and study.probes["surface"].paired > 0.99
    assert abs(study.permuted.auc - 0.5) < 0.15
    assert all(margin > 0 for margin in study.margins.values()) and set(study.margins) == {p.id for p in pairs}
    assert "SUSPICIOUS" in study.render()


def test_answers_of_one_source_are_not_suspicious():
    pairs = texts(150, plain, plain)
    study = study_separability(pairs, surface_features(pairs))
    assert not study.suspicious and "nothing suspicious" in study.render()
    assert all(abs(result.auc - 0.5) < 0.12 for result in study.probes.values())


def test_a_difference_in_length_only_is_not_found_in_the_opening():
    pairs = texts(120, lambda text: f"{text} {text} {text} {text}", plain)
    found = study_separability(pairs, surface_features(pairs)).probes
    assert found["length"].auc > 0.85 > 0.75 > found["first 20 tokens"].auc


def test_a_probe_that_beats_the_judge_of_quality_is_suspicious():
    pairs = texts(80, lambda text: f"{text} {text}", plain)
    scored = [
        Pair(p.id, p.prompt, p.chosen, p.rejected, scores={"chosen": {"rm": n % 2}, "rejected": {"rm": 0.5}})
        for n, p in enumerate(pairs)
    ]
    study = study_separability(scored, surface_features(scored), quality="rm")
    assert study.quality == ("rm", 0.5)
    assert study.probes["surface"].paired > 0.6 and any("agrees with 50.0%" in reason for reason in study.reasons)
    with pytest.raises(DataError, match="no score 'other'.*it has: rm"):
        study_separability(scored, surface_features(scored), quality="other")


def test_the_pairs_mean_can_be_taken_away():
    """Prompts shift both answers far more than their labels do: only within pairs is the difference plain."""
    rng = np.random.default_rng(0)
    shift = 10 * rng.standard_normal((200, 1))
    chosen = shift + 0.5 + 0.1 * rng.standard_normal((200, 1))
    rejected = shift - 0.5 + 0.1 * rng.standard_normal((200, 1))
    pairs = texts(200, plain, plain)
    apart = study_separability(pairs, {"given": (chosen, rejected)}).probes["given"]
    within = study_separability(pairs, {"given": (chosen, rejected)}, within=True).probes["given"]
    assert apart.auc < 0.6 < 0.99 < within.auc


def test_sets_that_cannot_be_compared_are_refused():
    single = [Pair("a", "p", "x", None)]
    with pytest.raises(DataError, match="a has one"):
        study_separability(single, {})
    same = [Pair(str(n), "one prompt", f"x{n}", f"y{n}") for n in range(4)]
    with pytest.raises(DataError, match="all pairs have one prompt"):
        study_separability(same, surface_features(same))
    with pytest.raises(DataError, match="of one medium"):
        surface_features([Pair("a", "p", "x", "y"), Pair("b", "p", b"x", b"y")])


def test_surface_features_measure_their_names():
    def seen(text):
        return dict(zip(text_features.SURFACE, text_features.surface([text])[0], strict=True))

    listed = seen("# Plan\n- one\n- two\n1. three\n**bold** `x`!")
    assert listed["bullets"] == pytest.approx(math.log1p(2)) and listed["numbered items"] == pytest.approx(
        math.log1p(1)
    )
    assert listed["headings"] > 0 and listed["bold"] > 0 and listed["rate of '!'"] > 0
    assert seen("I\u2019m sorry, but no.")['says "i\'m sorry"'] == 1.0 and seen("Fine.")['says "i\'m sorry"'] == 0.0
    assert seen("abc def")["log characters"] == pytest.approx(math.log(8))
    assert (
        text_features.opening(["a b " * 30, "a b " * 10])[0].sum() == text_features.opening(["a b"])[0].sum() + 1
    )  # and "b a"
    assert (text_features.opening(["first " * 20 + "later"]) == text_features.opening(["first " * 20 + "other"])).all()


def image(rng, kind="PNG", quality=90, blur=False, size=32):
    pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    if blur:
        image = image.resize((size // 4, size // 4)).resize((size, size))
    out = io.BytesIO()
    image.save(out, format=kind, **({"quality": quality} if kind == "JPEG" else {}))
    return out.getvalue()


def test_images_of_two_codecs_or_two_sharpnesses_are_separated_and_those_of_one_are_not():
    rng = np.random.default_rng(0)

    def pairs(chosen, rejected, count=40):
        return [Pair(str(n), f"p{n}", image(rng, **chosen), image(rng, **rejected)) for n in range(count)]

    codecs = pairs({"kind": "JPEG", "quality": 95}, {"kind": "JPEG", "quality": 40})
    study = study_separability(codecs, surface_features(codecs))
    assert list(study.probes) == ["size and codec", "image statistics"] and study.probes["size and codec"].auc == 1.0
    blurred = pairs({}, {"blur": True})
    features = {
        "pixels": tuple(image_features.statistics([getattr(p, r) for p in blurred]) for r in ("chosen", "rejected"))
    }
    assert study_separability(blurred, features).probes["pixels"].auc == 1.0
    alike = pairs({}, {}, count=60)
    assert not study_separability(alike, surface_features(alike)).suspicious
