"""Whether bf16 pays is measured where flags can lie, quickly, once, and undisturbed by other work."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from diffalign.devices import bf16_support as precision
from diffalign.devices.bf16_support import try_bf16


@pytest.fixture
def timed(monkeypatch):
    """Lets each timing take what a test says, in the trial's order: float32, bf16, float32, ..."""
    precision._cpu_factor.cache_clear()
    taken = []

    def of(*seconds):
        left = iter(seconds)
        monkeypatch.setattr(precision, "_seconds", lambda run: taken.append(run) or next(left))
        return taken

    yield of
    precision._cpu_factor.cache_clear()


def test_a_processor_that_is_faster_in_bf16_gets_it(timed):
    timed(*[1.0, 0.5] * 5)
    found = try_bf16("cpu")
    assert found.pays and found.factor == 0.5 and "0.5 times as long" in found.reason


def test_a_processor_that_only_converts_does_not(timed):
    timed(*[1.0, 2.4] * 5)
    found = try_bf16("cpu")
    assert not found.pays and found.factor == 2.4


def test_a_processor_that_is_as_fast_either_way_stays_with_float32(timed):
    timed(*[1.0, 0.95] * 5)
    assert not try_bf16("cpu").pays


def test_a_hopeless_trial_ends_after_one_look(timed):
    taken = timed(1.0, 33.0)
    assert "33 times as long" in try_bf16("cpu").reason
    assert len(taken) == 2


def test_one_quiet_moment_is_enough_on_a_busy_machine(timed):
    timed(9.0, 8.0, 1.0, 7.0, 5.0, 0.5, 9.0, 9.0, 9.0, 9.0)
    assert try_bf16("cpu").factor == 0.5


def test_a_process_tries_once(timed):
    taken = timed(*[1.0, 0.5] * 5)
    assert try_bf16("cpu") == try_bf16(torch.device("cpu")) and len(taken) == 10


def test_the_trial_leaves_threads_and_generator_as_they_were(timed):
    before, state = torch.get_num_threads(), torch.get_rng_state()
    timed()  # so that the first timing fails
    with pytest.raises(StopIteration):
        try_bf16("cpu")
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    found = try_bf16("cuda")
    assert found.pays == native and found.factor is None


def test_other_devices_stay_with_float32():
    assert not try_bf16("mps").pays and "mps" in try_bf16("mps").reason


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the limit is one for x86 processors")
def test_units_that_libraries_must_not_use_do_not_count():
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "from diffalign.devices.bf16_support import try_bf16; print(try_bf16('cpu').pays)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **limits})
    assert done.stdout.strip() == "False", done.stderr
