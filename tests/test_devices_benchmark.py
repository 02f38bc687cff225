"""The benchmark of choices: each is a recipe that runs, and the table states ratios to the plain one."""

import pytest

from benchmarks import devices
from benchmarks.measure import Measurement
from benchmarks.text_setting import Shape


def test_the_table_states_ratios_to_the_plain_choice():
    results = {name: Measurement([2.0 + k], [100.0 + 10 * k]) for k, name in enumerate(devices.CHOICES)}
    lines = devices.table("image", results).splitlines()
    assert lines[2].split() == ["plain", "1.00", "1.00"] and lines[3].split()[-2:] == ["1.50", "1.10"]
    assert "plain: 2.00 s a step, 100 MB" in lines[-1]


@pytest.mark.parametrize("name", ["plain", "model.quantize=int8", "every weight, stored, adafactor"])
def test_a_choice_of_texts_takes_steps(name, tmp_path, monkeypatch):
    make = devices.make_llama
    monkeypatch.setattr(
        devices, "make_llama", lambda folder: make(folder, width=64, layers=1, heads=2, mlp=128, vocabulary=300)
    )
    job = devices.make_job
    monkeypatch.setattr(devices, "make_job", lambda model, shape: job(model, Shape((8, 8), (8, 8), 4), vocabulary=300))
    step = devices.prepare_texts(tmp_path)(devices.CHOICES[name])
    step()
    step()
