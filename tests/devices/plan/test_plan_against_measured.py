"""The plan of memory against what embedded and small models really take, each medium in a process of its own."""

import json
import os
import subprocess
import sys

import pytest

from tests.devices.plan.measured import ENVIRONMENT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the resident set is measured on Linux")


MEDIA = ["image", *(pytest.param(medium, marks=pytest.mark.long) for medium in ("video", "text"))]


@pytest.mark.parametrize("medium", MEDIA)
def test_every_stage_takes_the_planned_memory_within_15_percent(medium):
    command = [sys.executable, "-m", "tests.devices.plan.measured", medium]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == ({"update", "sample"} if medium == "text" else {"encode", "update", "sample"})
    ratios = {stage: measured / planned for stage, (planned, measured) in found.items()}
    assert all(0.85 <= ratio <= 1.15 for ratio in ratios.values()), ratios
