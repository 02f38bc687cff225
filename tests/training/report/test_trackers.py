"""The metrics file and the trackers."""

import pytest

from diffalign.errors import ConfigError
from diffalign.training.report.trackers import PACKAGES, MetricsFile, check_trackers


def test_a_missing_package_is_named_with_the_line_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        check_trackers(["wandb"])
    with pytest.raises(ConfigError, match="Did you mean 'tensorboard'"):
        check_trackers(["tensorbord"])


def test_trackers_are_those_that_accelerate_knows():
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    assert set(PACKAGES) <= {str(getattr(name, "value", name)) for name in LOGGER_TYPE_TO_CLASS}


def test_a_metrics_file_is_cut_where_a_checkpoint_ends(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    file.append({"step": 1})
    size = file.size()
    file.append({"step": 2})
    file.cut(size)
    assert file.records() == [{"step": 1}]
