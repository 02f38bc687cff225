"""Starting is quick: heavy packages are imported where they are used."""

import subprocess
import sys

import pytest

HEAVY = ["torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "matplotlib", "scipy", "pydantic"]


@pytest.mark.parametrize("statement", ["import diffalign", "import diffalign.cli"])
def test_importing_loads_no_heavy_package(statement):
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["-c", "import diffalign"], ["-m", "diffalign", "--help"]])
def test_starting_takes_less_than_a_second_of_computing(arguments):
    # CPU seconds of the child, so that a busy machine does not decide.
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, capture_output=True);"
        "usage = resource.getrusage(resource.RUSAGE_CHILDREN); print(usage.ru_utime + usage.ru_stime)"
    )
    best = min(
        float(subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True).stdout)
        for _ in range(3)
    )
    assert best < 1.0
