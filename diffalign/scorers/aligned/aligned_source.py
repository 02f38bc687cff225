"""Finds an aligned policy: in the folder of a run, or as an adapter with its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.errors import UserError
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import read_yaml
from diffalign.policies.policy import Policy
from diffalign.sharing.peft_folder import CONFIG
from diffalign.sharing.read_adapter import read_adapter

RECIPE, RESULT, LORA_FILE = "recipe.yaml", "result", "pytorch_lora_weights.safetensors"
MEDIA = ("text", "image", "video")
EXAMPLE = "implicit_reward:runs/my_run"
FIXED = {"reference": "adapter_off", "use_cache": False, "gradient_checkpointing": False}
"""Settings of a model that is only scored with: nothing is stored, and the reference is the base."""


@dataclass(frozen=True)
class AlignedSource:
    """An aligned policy that is not loaded yet.

    Args:
        medium: What it makes.
        model: Settings of its model, as in a recipe, without the kind.
        adapter: The adapter, file or folder.
        beta: The beta that it was trained with, as the adapter states it; 1 where it states none.
    """

    medium: str
    model: Mapping[str, Any]
    adapter: Path
    beta: float

    def open(self, device: str) -> Policy:
        """Loads base and adapter. Raises ConfigError where they do not fit."""
        settings = {**self.model, **FIXED}
        if self.medium == "text":
            from diffalign.policies.language import load as language

            return language.load_aligned(language.LanguageConfig.model_validate(settings), self.adapter, device)
        from diffalign.policies.diffusion import load as diffusion

        config = diffusion.VideoModelConfig if self.medium == "video" else diffusion.ModelConfig
        return diffusion.load_aligned(config.model_validate(settings), self.adapter, device)


def medium_of(argument: str) -> str:
    """Returns the medium of a policy; loads no weights. Raises UserError where there is none."""
    folder, _ = _split(argument)
    return _model_of_run(folder)[0] if _is_run(folder) else _medium_of_adapter(folder)


def find_aligned(argument: str) -> AlignedSource:
    """Finds ``RUN``, ``ADAPTER`` or ``ADAPTER:BASE``.

    Raises:
        UserError: It is none, its base is not known, or the run trained every weight.
    """
    folder, base = _split(argument)
    if _is_run(folder):
        medium, model = _model_of_run(folder)
        result = folder / RESULT
        adapter = result if (result / CONFIG).is_file() else result / LORA_FILE
        if model.get("adapter") is None or not adapter.exists():
            reason = "trained every weight" if model.get("adapter") is None else "has no result yet"
            raise UserError(f"the run '{folder}' {reason}, and implicit_reward needs an adapter. Give ADAPTER:BASE.")
        return AlignedSource(medium, {**model, **({"path": base} if base else {})}, adapter, _beta(adapter))
    medium, about = _medium_of_adapter(folder), read_adapter(folder).about
    base = base or str(about.get("base_model") or "")
    if not base or (base.count("/") != 1 and not Path(base).expanduser().exists()):
        raise UserError(
            f"the adapter '{folder}' was trained on '{base or 'a model that it does not name'}', which is not here. "
            f"Write implicit_reward:ADAPTER:BASE, or give the folder of its run, as in {EXAMPLE}"
        )
    return AlignedSource(medium, {"path": base}, folder, _beta(folder))


def _split(argument: str) -> tuple[Path, str]:
    if not argument:
        raise UserError(f"implicit_reward needs the folder of a run or an adapter: write for example {EXAMPLE}")
    first, _, base = argument.partition(":")
    path = Path(first).expanduser()
    if not path.exists():
        raise UserError(f"there is no run and no adapter '{first}'. Write for example {EXAMPLE}")
    return path, base


def _is_run(folder: Path) -> bool:
    return (folder / RECIPE).is_file()


def _model_of_run(folder: Path) -> tuple[str, dict[str, Any]]:
    content = read_yaml(read_text_file(folder / RECIPE, "recipe", error=UserError), str(folder / RECIPE), UserError)
    model = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(model, Mapping) or model.get("kind") not in MEDIA:
        raise UserError(f"{folder / RECIPE} names no model of a kind in {', '.join(MEDIA)}, so it is no run's recipe.")
    return str(model["kind"]), {str(key): value for key, value in model.items() if key != "kind"}


def _medium_of_adapter(path: Path) -> str:
    if path.is_dir() and (path / CONFIG).is_file():
        return "text"
    if read_adapter(path).about.get("frames"):
        raise UserError(f"'{path}' is an adapter of a model of clips. Give the folder of its run, as in {EXAMPLE}")
    return "image"


def _beta(adapter: Path) -> float:
    try:
        return float(read_adapter(adapter).about.get("beta") or 1.0)
    except (TypeError, ValueError):
        return 1.0
