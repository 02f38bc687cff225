"""Each diagnosis, on curves made for it; and none of the others."""

import random
import re

import pytest

from diffalign.training.report.diagnosis import diagnose, suggested_beta
from diffalign.training.report.health import Health, first_loss_alarm, summary

HOW = {"beta": 1000.0, "learning_rate": 1e-4}


def curve(
    length=30,
    *,
    chosen=0.0,
    rejected=0.0,
    accuracy=0.5,
    saturated=0.0,
    size=None,
    noise=0.02,
    levels=None,
    pairs=40,
    rms=None,
    forward=None,
    spread=1e-5,
):
    """Records that ramp from nothing to the given values over their first half."""
    luck = random.Random(0)
    records = []
    for k in range(length):
        ramp = min(1.0, 2 * k / length)
        won, lost = ramp * chosen + luck.gauss(0, noise), ramp * rejected + luck.gauss(0, noise)
        record = {
            "rewards/chosen": won,
            "rewards/rejected": lost,
            "rewards/margins": won - lost,
            "rewards/accuracies": 0.5 + ramp * (accuracy - 0.5) + luck.gauss(0, noise / 4),
            "health/margin_size": abs(won - lost) if size is None else ramp * size,
            "health/saturated": ramp * saturated,
            "error/chosen_change": -2 * won / HOW["beta"],
            "error/rejected_change": -2 * lost / HOW["beta"],
        }
        for name, value in (levels or {}).items():
            record[f"accuracy/level_{name}"] = 0.5 + ramp * (value - 0.5) + luck.gauss(0, noise)
            record[f"pairs/level_{name}"] = pairs
        if rms is not None:
            record["noise/rms"] = rms + luck.gauss(0, 0.01)
        if forward is not None:
            record["forward/error_change"] = ramp * forward
            record["forward/error"] = 0.1 + ramp * forward
            record["forward/error_change_se"] = spread
        records.append(record)
    return records


CASES = {
    "learning": (curve(chosen=0.3, rejected=-0.3, accuracy=0.7, size=0.8), {"learning"}),
    "both_worse": (curve(chosen=-1.0, rejected=-2.0, accuracy=0.7, size=1.2), {"learning", "both_worse"}),
    "saturated": (curve(chosen=4.0, rejected=-4.0, accuracy=0.95, saturated=0.8), {"learning", "saturated"}),
    "still": (curve(size=0.001, noise=1e-4), {"still"}),
    "still_though_right": (curve(chosen=0.001, rejected=-0.001, accuracy=0.7, size=0.002, noise=1e-5), {"still"}),
    "wrong_way": (curve(chosen=-0.3, rejected=0.3, accuracy=0.4, size=0.7), {"wrong_way"}),
    "levels": (
        curve(
            chosen=0.3, rejected=-0.3, accuracy=0.6, size=0.8, levels={"0.0-0.2": 0.5, "0.4-0.6": 0.7, "0.8-1.0": 0.4}
        ),
        {"learning", "levels"},
    ),
    "noise_deficit": (curve(chosen=0.3, rejected=-0.3, accuracy=0.7, size=0.8, rms=0.6), {"learning", "noise_deficit"}),
    "unit_noise": (curve(chosen=0.3, rejected=-0.3, accuracy=0.7, size=0.8, rms=0.95), {"learning"}),
    "less_noise": (
        curve(chosen=0.6, rejected=0.4, accuracy=0.7, size=0.8, forward=1e-3),
        {"learning", "less_noise"},
    ),
    "only_the_chosen_error_falls": (
        curve(chosen=0.3, rejected=-0.3, accuracy=0.7, size=0.8, forward=1e-3),
        {"learning"},
    ),
    "the_forward_error_falls_too": (
        curve(chosen=0.6, rejected=0.4, accuracy=0.7, size=0.8, forward=-1e-3),
        {"learning"},
    ),
    "the_forward_error_rises_within_its_spread": (
        curve(chosen=0.6, rejected=0.4, accuracy=0.7, size=0.8, forward=1e-3, spread=6e-4),
        {"learning"},
    ),
    "noise": (curve(chosen=0.0, rejected=0.0, size=0.5, noise=0.3), set()),
}


@pytest.mark.parametrize("case", CASES)
def test_each_curve_gets_its_diagnosis_and_no_other(case):
    records, expected = CASES[case]
    assert {finding.name for finding in diagnose(records, **HOW)} == expected


def test_a_model_that_learns_less_noise_is_named_with_its_numbers_and_what_mends_it():
    text = next(f.text for f in diagnose(CASES["less_noise"][0], **HOW) if f.name == "less_noise")
    assert re.search(r"-0\.001\d* chosen, -0\.000\d+ rejected", text) and re.search(
        r"\+0\.0\d+, 1\.\d% of the base's", text
    )
    assert "unit_noise: fill" in text and "start: 60" in text and "earlier checkpoint" in text


def test_levels_are_named():
    text = next(f.text for f in diagnose(CASES["levels"][0], **HOW) if f.name == "levels")
    assert (
        "0.4-0.6 have learned" in text and "0.8-1.0 got worse than chance" in text and "0.0-0.2 are at chance" in text
    )


def test_advice_names_numbers_to_try():
    text = next(f.text for f in diagnose(CASES["both_worse"][0], **HOW) if f.name == "both_worse")
    assert "3.3e-05" in text and "2000" in text
    assert suggested_beta(1000.0, 8.0) == 125.0


def test_an_alarm_is_reported_once_and_only_when_it_persists():
    health = Health(**HOW)
    alarms = [text for record in CASES["both_worse"][0] for text in health.observe(record)]
    assert len(alarms) == 1 and alarms[0].startswith("Both candidates")
    resumed = Health(**HOW, records=CASES["both_worse"][0])
    assert resumed.observe(CASES["both_worse"][0][-1]) == []


def test_a_language_model_gets_the_same_alarm_without_errors():
    records = [{k: v for k, v in r.items() if not k.startswith("error/")} for r in CASES["both_worse"][0]]
    assert "both_worse" in {finding.name for finding in diagnose(records, **HOW)}


def displaced(length=40, chosen=-1.0, rejected=-3.0):
    """Both sides fall without end, the rejected one faster."""
    records = curve(length, chosen=chosen, rejected=rejected, accuracy=0.7, size=1.0)
    for k, record in enumerate(records):
        won, lost = chosen * k / length, rejected * k / length
        record |= {"rewards/chosen": won, "rewards/rejected": lost, "rewards/margins": won - lost}
        record["displacement/chosen"] = won / HOW["beta"]
    return records


def test_displacement_replaces_the_less_precise_alarm():
    records = displaced()
    assert {finding.name for finding in diagnose(records, **HOW)} == {"learning", "displaced"}
    text = next(f.text for f in diagnose(records, **HOW) if f.name == "displaced")
    assert "0.5 from one window" in text and "rpo" in text and "0.0001" in text
    alarms = [text for health in [Health(**HOW)] for record in records for text in health.observe(record)]
    assert sum("displacement" in text for text in alarms) == 1


@pytest.mark.parametrize(
    "records",
    [
        displaced(19),
        displaced(chosen=1.0),
        displaced(chosen=-3.0, rejected=-1.0),
        [{**record, "displacement/chosen": -1.0} for record in displaced()],
        [*displaced(), *[displaced()[-1]] * 20],
    ],
    ids=[
        "too short",
        "the chosen one gains",
        "the margin shrinks",
        "the chosen one has fallen before",
        "nothing moves any more",
    ],
)
def test_displacement_needs_a_falling_chosen_side_and_a_growing_margin(records):
    assert "displaced" not in {finding.name for finding in diagnose(records, **HOW)}


def test_only_denoisers_get_the_remark_on_their_loss():
    records = CASES["learning"][0]
    assert any("denoiser" in text for text in summary(records, **HOW))
    of_texts = [{k: v for k, v in r.items() if not k.startswith("error/")} for r in records]
    (text,) = summary(of_texts, **HOW)
    assert text.startswith("It learns") and "denoiser" not in text and "noise" not in text


def test_curves_without_a_margin_size_are_not_called_still():
    records = [{k: v for k, v in r.items() if not k.startswith("health/")} for r in CASES["learning"][0]]
    assert {finding.name for finding in diagnose(records, **HOW)} == {"learning"}


def test_a_summary_is_never_empty():
    assert summary([], **HOW) and summary(CASES["noise"][0], **HOW)
    assert any("0.693" in text for text in summary(CASES["learning"][0], **HOW))


def test_a_first_loss_off_its_known_value_raises_an_alarm():
    assert first_loss_alarm(0.693147, 0.6931472) is None
    assert "0.75" in (first_loss_alarm(0.75, 0.6931472) or "")


@pytest.mark.parametrize("case", CASES)
def test_without_a_reference_no_curve_raises_an_alarm(case):
    records = [{"loss": 1.0 - k / 100, **record} for k, record in enumerate(CASES[case][0])]
    assert diagnose(records, **HOW, reference=False) == []
    assert not [text for record in records for text in Health(**HOW, reference=False).observe(record)]
    (text,) = summary(records, **HOW, reference=False)
    assert "mean loss went from 0.955 to 0.755" in text and "the likelier one went from" in text
    assert "0.693" not in text and "It learns" not in text


def test_a_run_on_winners_is_summarised_by_its_loss():
    (text,) = summary([{"loss": 2.0}] * 10 + [{"loss": 1.0}] * 10, **HOW, reference=False)
    assert "went from 2 to 1" in text and "likelier" not in text


def test_a_handful_of_pairs_allows_no_verdict_on_a_level():
    few = {"chosen": 0.3, "rejected": -0.3, "accuracy": 0.6, "size": 0.8, "noise": 0.0, "pairs": 1}
    assert "levels" not in {f.name for f in diagnose(curve(**few, levels={"0.0-0.2": 1.0, "0.8-1.0": 0.0}), **HOW)}
    records = [
        {**record, "accuracy/level_0.2-0.4": 1.0, "pairs/level_0.2-0.4": 1}
        for record in curve(**{**few, "pairs": 40}, levels={"0.0-0.2": 0.7, "0.8-1.0": 0.5})
    ]
    text = next(f.text for f in diagnose(records, **HOW) if f.name == "levels")
    assert "0.0-0.2 have learned; 0.8-1.0 are at chance" in text and "worse" not in text
    assert "0.2-0.4: 1.00 of 10 pairs, too few to tell" in text and "0.0-0.2: 0.70 of 400 pairs" in text


def test_records_without_counts_allow_no_verdict_on_a_level():
    records = [{k: v for k, v in r.items() if not k.startswith("pairs/")} for r in CASES["levels"][0]]
    assert "levels" not in {finding.name for finding in diagnose(records, **HOW)}
