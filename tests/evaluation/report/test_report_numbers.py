"""The page shows numbers of held-out pairs, drift, lengths and previews, and omits sections without numbers."""

from dataclasses import replace

import pytest

from diffalign.evaluation.compare.differential_information_entropy import DifferentialEntropy
from diffalign.evaluation.compare.drift import Drift, DriftMeasurement
from diffalign.evaluation.compare.lengths import Lengths
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report.plot_preview_curve import preview_curve_chart
from diffalign.evaluation.report.verdict import verdict_of
from diffalign.evaluation.report.write import write_report
from diffalign.evaluation.stats.rates.length_control import LengthControlled
from diffalign.evaluation.stats.rates.share import share
from diffalign.losses.diagnostics.monitors import Dispersion
from tests.evaluation.compare.test_best_of import Late
from tests.evaluation.fakes import Praise, TalkingPolicy
from tests.evaluation.report.test_report import NASTY, Balanced
from tests.evaluation.stats.test_ranking_accuracy import ROW

AGREED = {"eval_rewards/accuracies": 0.75, "eval_accuracy/ranking": 0.625, "eval_accuracy/ranking_per_token": 0.5}
MEASUREMENT = DriftMeasurement(
    Drift(3.5, 0.25, "nats per answer", 40), Dispersion(0.5, -2.0), DifferentialEntropy(1.5, 3.0, 0.9, 8)
)


class Varied(TalkingPolicy):
    """Returns answers of many lengths."""

    def sample(self, prompts, seeds, *, reference=False, **settings):
        more = 0 if reference else self.shift
        return [
            f"{p} {'good ' * (s % 3 + more)}{'x ' * ((7 + 4 * more) * len(p) * s % 5 + more)}<{s}>"
            for p, s in zip(prompts, seeds, strict=True)
        ]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    judges = {f"trained {NASTY}": (Late(lambda s: s), "trained-on"), "held": (Praise(), "held-out")}
    folder = tmp_path_factory.mktemp("compared")
    result = compare(Varied(1), [NASTY, "ab", "abcd", "a"], range(4), judges, folder=folder)
    result = replace(result, sampled=MEASUREMENT)
    result.save(folder / "comparison.json")
    return Comparison.load(folder / "comparison.json")


def test_a_drift_measurement_survives_saving_and_loading(comparison):
    assert comparison.sampled == MEASUREMENT
    equal = comparison.lengths.controlled["held"]
    assert equal.n == 16 and equal.low < equal.rate < equal.high and comparison.lengths.aligned_median > 0


def course(drifts=True):
    return PreviewCurve(
        steps=(0, 10, 20),
        roles={"held $x$": "held-out", f"_{NASTY}": "trained-on"},
        scores={
            "held $x$": ((1.0,) * 12, (2.0,) * 12, (0.0,) * 12),
            f"_{NASTY}": ((1.0,) * 12, (2.0,) * 12, (3.0,) * 12),
        },
        prompts=tuple(f"p{k}" for k in range(12)),
        drifts=tuple(Drift(d, 0.1, "nats per answer", 12) if drifts else None for d in (-0.1, 1.0, 4.0)),
    )


def test_the_page_shows_every_number_and_escapes_the_names(tmp_path, comparison):
    page = write_report(
        tmp_path, comparison=comparison, metrics=[{**ROW, **AGREED}], preview_curve=course()
    ).read_text()
    read = Balanced(page)
    shown = " ".join(" ".join(read.text).split())
    for text in (
        "ranking accuracy per token", "reference right", "8 flipped", "4 unlearnt", "training flipped 8 of these",
        "at a loss of 0.4 or less", "Likelihood displacement", "chosen -2 (gain), rejected -5 (drop 5)",
        "167 % of the margin", "Calibration of the implied probabilities: error 0.2", "Drift from the reference: 3.5",
        "Entropy of the differential information: 1.5 nats", "log-ratio is -2 on average", "3.5 nats",
        "n = 4", "0.636 nats", "Win rate at equal lengths", "medians", "Over-optimisation: from step 10 (drift 1)",
        "Win rate over the first previews", "root of the drift",
    ):  # fmt: skip
        assert text in shown, text
    assert "<script" not in page and NASTY in " ".join(read.text)


def test_a_page_without_a_comparison_has_no_empty_sections(tmp_path):
    page = write_report(tmp_path, metrics=[{"eval_pairs": 4, **AGREED}]).read_text()
    assert "<h2>Held-out pairs" in page
    assert not [text for text in ("Drift and over", "reference right", "Best of n", "nan") if text in page]


def test_the_verdict_reports_over_optimisation_in_previews(comparison):
    assert "Over-optimisation: from step 10" in " ".join(verdict_of(comparison, course()).sentences)
    assert "Over-optimisation" not in " ".join(verdict_of(comparison).sentences)


def test_the_chart_is_by_step_where_no_drift_is_known():
    assert ">step<" in preview_curve_chart(course(drifts=False)).svg.replace("\n", "")
    known = preview_curve_chart(course())
    assert "4 nats per answer at the end" in known.caption and "root of the drift" in known.svg


def test_a_gain_from_length_is_reported_with_the_rate_at_equal_lengths(tmp_path):
    result = compare(
        TalkingPolicy(2), [f"p{k}" for k in range(12)], [0], {"x": (Praise(), "held-out")}, folder=tmp_path
    )
    sizes = Lengths("words", 10, 20, {"x": share(20, 24)}, controlled={"x": LengthControlled(0.52, 0.4, 0.63, 2.0, 24)})
    summary = " ".join(verdict_of(replace(result, lengths=sizes)).sentences)
    assert "so its gain may come from length. At equal lengths the aligned one would win 52 % (40 % to 63 %)" in summary
