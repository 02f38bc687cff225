"""`diffalign doctor` reports problems of the environment with their fixes."""

import subprocess

import pytest

from diffalign.cli import doctor
from diffalign.devices import bf16_support as precision


def by_word(findings, word):
    return [finding for finding in findings if word in finding.what]


def test_this_environment_has_no_problem_and_every_finding_has_a_fix():
    findings = doctor.diagnose()
    assert not [finding for finding in findings if finding.state == "problem"]
    assert all(finding.fix for finding in by_word(findings, "is absent"))
    assert by_word(findings, "Python") and by_word(findings, "torch") and by_word(findings, "device")


@pytest.mark.parametrize(("pays", "name"), [(True, "bf16"), (False, "float32")])
def test_the_precision_of_auto_is_reported_with_its_reason(monkeypatch, pays, name):
    monkeypatch.setattr(precision, "try_bf16", lambda device: precision.Bf16(pays, "bf16 was tried"))
    (finding,) = by_word(doctor.diagnose(), "mixed_precision")
    assert finding.state == "ok" and f"auto is {name} here, as bf16 was tried" in finding.what


def test_a_torchvision_for_another_torch_is_a_problem_with_a_fix(monkeypatch):
    monkeypatch.setattr(doctor, "installed_version", lambda package: "0.28.0")
    broken = subprocess.CompletedProcess([], 1, "", "RuntimeError: operator torchvision::nms does not exist")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *args, **kwargs: broken)
    finding = doctor._torchvision()
    assert finding.state == "problem" and "nms" in finding.what and "uninstall -y torchvision" in finding.fix


@pytest.mark.parametrize(("version", "state"), [("2.5.1", "problem"), ("2.15.0+cpu", "ok"), (None, "problem")])
def test_old_and_missing_packages_are_problems(monkeypatch, version, state):
    monkeypatch.setattr(doctor, "MINIMUM", {"torch": "2.6"})
    monkeypatch.setattr(doctor, "installed_version", lambda package: version)
    (finding,) = doctor._packages()
    assert finding.state == state and bool(finding.fix) == (state == "problem")


def test_a_full_disk_is_a_problem(monkeypatch, tmp_path):
    full = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: full)
    assert doctor._disk(tmp_path).state == "problem"
