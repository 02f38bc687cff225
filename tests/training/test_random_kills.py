"""Runs that are killed at random moments end in the adapter, metrics and previews of a run that is not, bit for bit."""

import json
import os
import subprocess
import sys

import pytest

KILLS = 50


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("medium", ["image", "text", "image-rounds", "text-rounds"])
def test_fifty_kills_at_random_moments_change_no_bit(medium):
    command = [sys.executable, "-m", "tests.training.random_kills", medium, str(KILLS), "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] == KILLS and len(found["hits"]) >= 3
