"""What runs measured is read back, and what is no calibration counts as none."""

import json

import pytest

from diffalign.devices.plan.calibration import MOST, NAME, Measured, read_calibration, write_calibration


def test_what_a_run_measured_is_read_back_and_the_oldest_are_forgotten(tmp_path):
    for k in range(MOST + 1):
        write_calibration(tmp_path / "cache", f"run {k}", Measured(1.0 + k, 100, 110))
    assert read_calibration(tmp_path / "cache", "run 0") is None
    assert read_calibration(tmp_path / "cache", f"run {MOST}") == Measured(1.0 + MOST, 100, 110)
    assert read_calibration(tmp_path / "cache", "run 1").ratio == pytest.approx(1.1)
    assert Measured(1.0).ratio is None


BROKEN = ["", "{", "[]", '{"runs": 1}', '{"runs": {"a": 1}}']
BROKEN += ['{"runs": {"a": {"seconds": "x"}}}', '{"runs": {"a": {"seconds": -1}}}']


@pytest.mark.parametrize("text", BROKEN)
def test_a_damaged_file_is_no_calibration_and_is_written_over(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    assert read_calibration(tmp_path, "a") is None
    write_calibration(tmp_path, "a", Measured(2.0))
    assert json.loads((tmp_path / NAME).read_text())["runs"]["a"]["seconds"] == 2.0


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    write_calibration(tmp_path / "file", "a", Measured(2.0))
    assert (tmp_path / "file").read_text() == ""
