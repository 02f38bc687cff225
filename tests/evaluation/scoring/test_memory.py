"""Memory of a pass is that of a batch, however many samples there are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a part of a process is read from /proc")
def test_memory_is_flat_over_ten_thousand_images(tmp_path):
    command = [sys.executable, "-m", "tests.evaluation.scoring.memory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # decoded, an image is 12 kB: ten thousand of them would be 123 MB
    assert float(done.stdout.split()[-1]) < 12e6
