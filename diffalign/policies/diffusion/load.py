"""Loading a policy: from a folder or a hub name to an object behind the seam, with errors that say what to type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffalign.devices.budget import best_device
from diffalign.errors import ConfigError, RunError, near_miss
from diffalign.latents import LATENTS, Schedule
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.families.sd import StableDiffusionPrompts
from diffalign.policies.diffusion.families.sdxl import StableDiffusionXLPrompts
from diffalign.policies.diffusion.policy import ImagePolicy
from diffalign.policies.diffusion.scoring.attention import fit_attention
from diffalign.policies.diffusion.scoring.denoiser import Denoiser
from diffalign.policies.module_utils import disable_dropout
from diffalign.quiet import quiet
from diffalign.sharing.adapter_file import adapter_shape

__all__ = ["FAMILIES", "AdapterConfig", "ModelConfig", "find_folder", "load_aligned", "load_policy"]

FAMILIES: dict[str, Any] = {
    "StableDiffusionPipeline": StableDiffusionPrompts,
    "StableDiffusionXLPipeline": StableDiffusionXLPrompts,
}
"""Pipeline class (as ``model_index.json`` names it) to the family's prompt encoder."""


def load_policy(config: ModelConfig, device: torch.device | str | None = None) -> ImagePolicy:
    """Loads a text-to-image model, puts a fresh adapter on it (or thaws all of it), and gives it a reference.

    Args:
        config: Where it is, and how it is trained and judged.
        device: None takes the accelerator if there is one.

    Raises:
        ConfigError: no such folder or name, not a diffusers folder, a family that is not known.
    """
    device = best_device() if device is None else torch.device(device)
    folder = find_folder(config.path, config.revision)
    prompts_type = FAMILIES[_family(folder, config.path)]
    frozen = FrozenComponents(lambda: _open(folder, config), prompts_type, device)
    dtype = torch.float32 if config.adapter is None else getattr(torch, config.dtype)

    def load_base() -> nn.Module:
        network = _load_unet(folder, dtype).to(device)
        fit_attention(network, device)
        disable_dropout(network)
        return network.requires_grad_(False).eval()

    network: Any = load_base()
    if config.adapter is not None:
        add_adapter(network, config.adapter)
    else:
        network.requires_grad_(True)
    if config.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    network.eval()  # the adapter's layers too
    denoiser = Denoiser(
        schedule=Schedule.from_config(frozen.scheduler_config),
        estimate=LATENTS[config.latents.name].bind(**config.latents.hyper),
        offset=_on(frozen.offset, device),
        factor=_on(frozen.factor, device),
        caption_dropout=config.caption_dropout,
        flip=config.flip,
        low=config.timesteps[0],
        high=config.timesteps[1],
        reduction=config.reduction,
    )
    resolution = config.resolution or int(network.config.sample_size) * frozen.pixels_per_latent
    _check_resolution(resolution, network, frozen.pixels_per_latent)
    return ImagePolicy(network, frozen, denoiser, config, resolution, prompts_type.sizes, load_base)


def load_aligned(config: ModelConfig, adapter: Path, device: torch.device | str | None = None) -> ImagePolicy:
    """The policy of ``config`` with a shared adapter file on it; rank and layers are taken from the file."""
    shape = adapter_shape(adapter)
    fitted = AdapterConfig(rank=shape.rank, targets=shape.targets, dora=shape.dora)
    policy = load_policy(config.model_copy(update={"adapter": fitted}), device)
    policy.load_adapter(adapter)
    return policy


def find_folder(path: str, revision: str | None = None) -> Path:
    """The diffusers folder that ``path`` means, fetched from the hub when it is a name there.

    Raises:
        ConfigError: when there is neither.
        RunError: when the hub cannot be reached.
    """
    local = Path(path).expanduser()
    if local.is_file():
        raise ConfigError(
            f"model.path is the single file {path}; a folder in diffusers' format is needed. Convert it once:"
            " StableDiffusionPipeline.from_single_file(file).save_pretrained(folder)"
        )
    if local.is_dir():
        if not (local / "model_index.json").exists():
            raise ConfigError(f"model.path {path} is a folder without model_index.json{_inside(local)}")
        return local
    looks_local = path.startswith((".", "/", "~", "\\")) or path.count("/") != 1
    if looks_local:
        siblings = [item.name for item in local.parent.iterdir()] if local.parent.is_dir() else []
        raise ConfigError(
            f"model.path {path} does not exist.{near_miss(local.name, siblings)} Give a folder written by"
            " save_pretrained, or a hub name such as stable-diffusion-v1-5/stable-diffusion-v1-5."
        )
    return _download(path, revision)


def _download(name: str, revision: str | None) -> Path:
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(name, revision=revision))
    except Exception as error:
        kind, text = type(error).__name__, str(error).splitlines()[0] if str(error) else ""
        if kind in ("RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError", "EntryNotFoundError"):
            raise ConfigError(
                f"the hub has no diffusers model {name!r} (revision {revision or 'main'}) that you may read: {text}"
                " Check the name; for a gated model accept its terms and run `hf auth login`."
            ) from error
        raise RunError(
            f"{name!r} is neither a folder here nor could it be fetched from the hub ({kind}: {text}). Give a folder"
            " written by save_pretrained, or connect and try again."
        ) from error


def _family(folder: Path, given: str) -> str:
    try:
        name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{given}/model_index.json names no pipeline class: {error!r}. Save the model again."
        ) from error
    if name not in FAMILIES:
        raise ConfigError(
            f"{given} holds a {name}, which this version cannot align; it knows {', '.join(FAMILIES)}."
            f"{near_miss(str(name), FAMILIES)}"
        )
    return name


def _open(folder: Path, config: ModelConfig) -> Any:
    """The pipeline without its denoiser."""
    import diffusers
    from diffusers import AutoencoderKL

    kind = _family(folder, config.path)
    given: dict[str, Any] = {"unet": None, **_dtype(getattr(torch, config.dtype))}
    if kind == "StableDiffusionPipeline":
        given |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    with quiet():
        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **_dtype(torch.float32))
        return getattr(diffusers, kind).from_pretrained(folder, vae=vae, **given)


def _load_unet(folder: Path, dtype: torch.dtype) -> Any:
    from diffusers import UNet2DConditionModel

    with quiet():
        return UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **_dtype(dtype))


def _dtype(dtype: torch.dtype) -> dict[str, torch.dtype]:
    """The keyword that this version of diffusers takes a dtype by."""
    from diffusers import __version__ as version

    new = tuple(int(part) for part in version.split(".")[:2]) >= (0, 42)
    return {"dtype" if new else "torch_dtype": dtype}


def _inside(folder: Path) -> str:
    if (folder / "config.json").exists():
        return "; it holds a single model. Give the folder of the whole pipeline, the one above."
    deeper = sorted(item.parent.name for item in folder.glob("*/model_index.json"))
    return f"; did you mean {folder / deeper[0]}?" if deeper else ". Give a folder written by save_pretrained."


def _check_resolution(resolution: int, network: nn.Module, pixels_per_latent: int) -> None:
    halvings = len(network.config.block_out_channels) - 1  # type: ignore[union-attr, arg-type]
    step = pixels_per_latent * 2**halvings
    if resolution % step:
        nearest = max(step, round(resolution / step) * step)
        raise ConfigError(
            f"resolution must be a multiple of {step} px for this model, got {resolution}. Try {nearest}."
        )


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
