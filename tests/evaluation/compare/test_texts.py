"""Texts through the same generate, compare and report as images: files, diversity, lengths, and one escaped page."""

import json
import math
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.lengths import Lengths, compare_lengths
from diffalign.evaluation.compare.load_judges import check_judges
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare, compare_galleries
from diffalign.evaluation.report.sheet import examples
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.samples.diversity import BIGRAMS, compare_diversity
from diffalign.evaluation.samples.gallery import read_gallery
from diffalign.evaluation.samples.generate import generate
from diffalign.evaluation.samples.medium import MEDIA, medium_of
from diffalign.evaluation.stats.heldout_agreement import agreements
from diffalign.evaluation.stats.rates.share import share
from tests.evaluation.fakes import MovingPolicy, PlainPolicy, Praise, Redness, TalkingPolicy
from tests.evaluation.report.test_report import NASTY, Balanced

PROMPTS = ["a fox", NASTY, *(f"prompt {number}" for number in range(10))]
HELD = {"praise": (Praise(), "held-out")}


def test_texts_are_written_as_files_and_into_the_metadata(tmp_path):
    ticks = []
    gallery = generate(
        TalkingPolicy(1), PROMPTS[:2], [3, 7], tmp_path, temperature=0.5, progress=lambda *tick: ticks.append(tick)
    )
    first = "a fox\r\nis good good <3>"
    assert gallery.samples[0].path.suffix == ".txt" and gallery.contents()[0] == first
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "file_name": gallery.samples[0].path.name, "prompt": "a fox", "seed": 3, "completion": first
    }  # fmt: skip
    assert read_gallery(tmp_path) == gallery and ticks == [("texts", 4, 4)]
    again = TalkingPolicy(1)
    assert generate(again, PROMPTS[:2], [3, 7], tmp_path, temperature=0.5) == gallery and not again.drawn


def test_a_policy_whose_samples_do_not_fit_its_medium_is_refused(tmp_path):
    policy = PlainPolicy()
    policy.medium = "text"
    with pytest.raises(UserError, match="Expected 1 texts .* of type Image"):
        generate(policy, ["x"], [0], tmp_path / "a")
    policy.medium = "smell"
    with pytest.raises(UserError, match="image, video, text.*'smell'"):
        generate(policy, ["x"], [0], tmp_path / "b")


def test_a_judge_of_another_medium_is_refused_before_anything_is_generated(tmp_path):
    policy = TalkingPolicy()
    with pytest.raises(UserError, match="'red' judges images, but there are texts"):
        compare(policy, PROMPTS, [0], {"red": (Redness(), "held-out")}, folder=tmp_path)
    with pytest.raises(UserError, match=r"'praise' judges texts, .*Judges of images: .*clip"):
        check_judges(HELD, PROMPTS, "image")
    assert not policy.calls


def test_folders_of_two_media_are_not_compared(tmp_path):
    generate(PlainPolicy(), ["x"], [0], tmp_path / "a")
    generate(TalkingPolicy(), ["x"], [0], tmp_path / "b")
    with pytest.raises(DataError, match="holds images and .* texts"):
        compare_galleries(tmp_path / "a", tmp_path / "b", {})
    (tmp_path / "a" / "metadata.jsonl").open("a").write(json.dumps({"file_name": "x.txt", "prompt": "x"}) + "\n")
    (tmp_path / "a" / "x.txt").touch()
    with pytest.raises(DataError, match="several media"):
        read_gallery(tmp_path / "a")


def test_a_gain_with_longer_samples_is_reported_with_a_caution(tmp_path):
    result = compare(TalkingPolicy(2), PROMPTS, [0, 1], HELD, folder=tmp_path)
    assert result.held_out()[0].win.rate == 1 and result.medium == "text"
    assert result.lengths.unit == "words" and result.lengths.aligned - result.lengths.base == 2
    assert (result.lengths.longer["praise"].rate, result.lengths.longer["praise"].n) == (1, 24)
    summary = " ".join(verdict_of(result).sentences)
    assert (
        "longer" in summary and "praise prefers the longer of two texts in 100 %" in summary and "image" not in summary
    )
    assert Comparison.load(tmp_path / "comparison.json").lengths == result.lengths


def test_a_length_caution_needs_a_judge_that_gains_and_prefers_that_length(tmp_path):
    result = compare(TalkingPolicy(2), PROMPTS, [0], HELD, folder=tmp_path)

    def summary(base, aligned, longer):
        sizes = Lengths("words", base, aligned, {"praise": share(longer, 24)})
        return " ".join(verdict_of(replace(result, lengths=sizes)).sentences)

    assert "prefers the longer" in summary(10, 20, 20)
    assert "100 % longer: 20 words" in summary(10, 20, 12) and "of two" not in summary(10, 20, 12)
    assert "prefers the shorter of two texts in 100 %" in summary(20, 10, 0) and "of two" not in summary(20, 10, 24)
    assert "longer" not in summary(20, 21, 24)


def test_a_judge_of_short_texts_and_equal_lengths_give_no_caution(tmp_path):
    terse = compare(TalkingPolicy(2), PROMPTS, [0], {"terse": (Praise(-1), "held-out")}, folder=tmp_path / "a")
    summary = " ".join(verdict_of(terse).sentences)
    assert "longer: " in summary and "prefers the longer" not in summary
    even = compare(TalkingPolicy(0), PROMPTS, [0], HELD, folder=tmp_path / "b")
    assert math.isnan(even.lengths.longer["praise"].rate) and "longer" not in " ".join(verdict_of(even).sentences)
    assert Comparison.load(tmp_path / "b" / "comparison.json").medium == "text"


def test_preference_for_length_is_counted_over_decided_pairs_of_unequal_lengths():
    base, aligned = ["a b", "a", "a b c", "a"], ["a", "a b", "a", "b"]
    scores = [[0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 5.0]]  # the shorter wins, the longer wins, a tie, equal lengths
    result = compare_lengths(MEDIA["text"], base, aligned, {"x": scores}).longer["x"]
    assert (result.rate, result.n) == (0.5, 2)
    assert compare_lengths(MEDIA["image"], base, aligned, {"x": scores}) is None


def test_diversity_of_texts_is_the_share_of_bigrams_that_are_not_shared():
    varied = ["a b c", "A  b d", "yes", "no"]
    result = compare_diversity(varied, ["same"] * 4, ["p", "p", "q", "q"], BIGRAMS)
    # {.a, ab, bc, c.} and {.a, ab, bd, d.}: 4 of 6 unshared; yes and no: all of 4.
    assert result.base == pytest.approx((4 / 6 + 1) / 2)
    assert result.aligned == 0 and result.change == -1 and result.space == "bigrams"
    assert compare_diversity(["", ""], ["", "a"], ["p", "p"], BIGRAMS).base == 0


def test_the_page_shows_texts_escaped_and_uses_the_word_texts(tmp_path):
    result = compare(TalkingPolicy(1), PROMPTS, [0, 1], {NASTY: (Praise(), "held-out")}, folder=tmp_path)
    page = write_report(tmp_path, comparison=result).read_text(encoding="utf-8")
    read = Balanced(page)
    assert "<script" not in page and "img" not in read.tags and "blockquote" in read.tags
    assert any(NASTY in text and "good good" in text for text in read.text)
    assert "Mean length:" in page and "image" not in " ".join(read.text)
    assert examples(result, prompts=1)[0].aligned == ["a fox\r\nis good good <0>", "a fox\r\nis good good <1>"]


ROWS = [
    {"step": 5, "eval_rewards/accuracies": 0.9, "eval_pairs": 64},
    {"step": 9, "eval_rewards/accuracies": 0.75, "eval_accuracy/ranking": 0.5, "eval_pairs": 64},
    {"step": 10, "loss": 0.6},
]


def test_held_out_agreement_is_that_of_the_last_evaluation_with_wilsons_interval(tmp_path):
    implicit, ranking = agreements(ROWS)
    low, high = binomtest(48, 64).proportion_ci(method="wilson")
    assert (implicit.share.low, implicit.share.high) == pytest.approx((low, high))
    assert ranking.share.rate == 0.5 and ranking.share.n == 64
    assert implicit.summary().startswith("On 75 % of 64 held-out pairs") and "63 % to 84 %" in implicit.summary()
    page = write_report(tmp_path, metrics=ROWS).read_text()
    assert "Held-out pairs" in page and "ranking accuracy" in page and "63 % to 84 %" in page
    assert "<h2>Held-out" not in write_report(tmp_path, metrics=ROWS[2:]).read_text()


@pytest.mark.parametrize("row", [{}, {"eval_pairs": 0}, {"eval_pairs": 3}, {"eval_pairs": 3, "eval_loss": 1.0},
                                 {"eval_pairs": 3, "eval_rewards/accuracies": math.nan}])  # fmt: skip
def test_without_held_out_accuracies_there_are_no_agreements(row):
    assert agreements([row]) == []


def test_the_medium_of_a_sample_is_recognised(tmp_path):
    image = PlainPolicy().sample(["x"], [0])[0]
    clip = MovingPolicy().sample(["x"], [0])[0]
    assert [medium_of(sample).name for sample in (image, clip, "x")] == ["image", "video", "text"]
    MEDIA["video"].write(clip, tmp_path / "x.webp")
    assert open_clip(tmp_path / "x.webp") == clip and not list(tmp_path.glob(".*"))
    with pytest.raises(UserError, match="type int"):
        medium_of(3)
