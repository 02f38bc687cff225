"""Checks of the environment for `diffalign doctor`, each with the command that fixes a problem."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from diffalign.devices.bf16_support import Bf16

State = Literal["ok", "note", "problem"]

MINIMUM = {
    "torch": "2.6",
    "transformers": "4.57",
    "diffusers": "0.36",
    "peft": "0.17",
    "accelerate": "1.2",
    "datasets": "3.2",
}
EXTRAS = {
    "lowbit": ("bitsandbytes", "8-bit optimizers"),
    "trackers": ("tensorboard", "TensorBoard curves"),
    "embedded": ("resvg_py", "rebuilding the embedded model's images"),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Args:
        state: "ok", "note" (works, with a limitation) or "problem" (something will fail).
        what: The result in one sentence.
        fix: Command or setting that fixes it; empty if there is nothing to fix.
    """

    state: State
    what: str
    fix: str = ""


def diagnose(folder: Path | None = None) -> list[Finding]:
    """Checks Python, packages, the torch/torchvision pair, extras, device, memory and disk. Never raises."""
    return [
        _python(sys.version_info[:3]),
        *_packages(),
        _torchvision(),
        *_extras(),
        *_device(),
        _disk(folder or Path.cwd()),
    ]


def _python(version: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, version))
    if (3, 10) <= version[:2] <= (3, 12):
        return Finding("ok", f"Python {text} on {platform.system()} {platform.machine()}")
    return Finding(
        "note", f"Python {text}; tested versions are 3.10 to 3.12", "python3.11 -m venv .venv && . .venv/bin/activate"
    )


def _packages() -> list[Finding]:
    findings = []
    for package, minimum in MINIMUM.items():
        version = installed_version(package)
        if version is None:
            findings.append(Finding("problem", f"{package} is not installed", f"pip install '{package}>={minimum}'"))
        elif _numbers(version) < _numbers(minimum):
            what = f"{package} {version} is older than {minimum}"
            findings.append(Finding("problem", what, f"pip install -U '{package}>={minimum}'"))
        else:
            findings.append(Finding("ok", f"{package} {version}"))
    return findings


def _torchvision() -> Finding:
    """Checks that torchvision can be imported; if it was built for another torch, transformers' models cannot."""
    version = installed_version("torchvision")
    if version is None:
        return Finding("ok", "torchvision is not installed and not needed")
    # In a child process, because a mismatch can abort the interpreter.
    child = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, timeout=120)
    if child.returncode == 0:
        return Finding("ok", f"torchvision {version} fits torch {installed_version('torch')}")
    reason = (child.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding(
        "problem",
        f"torchvision {version} does not fit torch {installed_version('torch')} ({reason}); "
        "with it, transformers' models fail to import",
        "pip uninstall -y torchvision   # or reinstall both from the default index: pip install -U torch torchvision",
    )


def _extras() -> list[Finding]:
    findings = []
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            what = f"{module} is absent; it is needed for {purpose}"
            findings.append(Finding("note", what, f"pip install 'diffalign[{extra}]'"))
        else:
            findings.append(Finding("ok", f"{module}: {purpose}"))
    return findings


def _device() -> list[Finding]:
    if installed_version("torch") is None:
        return []
    import torch

    from diffalign.devices.bf16_support import try_bf16
    from diffalign.devices.device_memory import available_bytes, best_device

    device = best_device()
    gib = available_bytes(device) / 2**30
    where = f"device {device}: {gib:.1f} GiB free"
    if device.type == "cpu":
        has_driver = shutil.which("nvidia-smi") is not None
        if has_driver and not torch.cuda.is_available():
            fix = "pip install -U torch   # the default build includes CUDA; check that the driver is recent enough"
            return [Finding("problem", "an NVIDIA driver is installed, but torch sees no GPU", fix)]
        return [
            Finding(
                "note", f"{where}, {torch.get_num_threads()} threads: enough for the embedded model, slow for SD 1.5"
            ),
            _precision(try_bf16(device)),
        ]
    findings = [Finding("ok", where), _precision(try_bf16(device))]
    if gib < 8:
        hint = "set train.gradient_checkpointing: true and train.micro_batch_size: 1"
        findings.append(Finding("note", f"{gib:.1f} GiB is little for SD 1.5 at 512 px", hint))
    return findings


def _precision(bf16: Bf16) -> Finding:
    chosen = "bf16" if bf16.pays else "float32"
    return Finding("ok", f"train.mixed_precision: auto is {chosen} here, as {bf16.reason}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    if free < 2:
        return Finding(
            "problem", f"{free:.1f} GiB free on disk at {folder}", "free some space, or set output: to another disk"
        )
    return Finding("ok", f"{free:.0f} GiB free on disk")


def installed_version(package: str) -> str | None:
    """Returns the installed version of a distribution, without importing it; None if absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for piece in version.split("+")[0].split(".")[:3]:
        digits = "".join(c for c in piece if c.isdigit())
        parts.append(int(digits) if digits else 0)
    return tuple(parts)
