"""The folders of a diffusers model: found here or fetched from the hub, and the family that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diffalign.errors import ConfigError, RunError, near_miss
from diffalign.files.model_files import is_folder, read_object
from diffalign.files.text_files import is_file
from diffalign.files.weightless import opens_without_weights
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.families import FAMILIES, Family
from diffalign.policies.diffusion.families.motion_adapter import is_motion_adapter
from diffalign.policies.diffusion.families.source import Betas, ModelSource
from diffalign.policies.diffusion.video_config import VideoModelConfig
from diffalign.sharing.read_adapter import adapter_advice


def find_folder(path: str, revision: str | None = None) -> Path:
    """Returns the diffusers folder that ``path`` means, fetched from the hub when it is a name there.

    Raises:
        ConfigError: There is neither such a folder nor such a name.
        RunError: The hub cannot be reached.
    """
    local = Path(path).expanduser()
    if is_file(local):
        raise ConfigError(
            f"model.path is the single file {path}; a folder in diffusers' format is needed. Convert it once:"
            " StableDiffusionPipeline.from_single_file(file).save_pretrained(folder)"
        )
    if is_folder(local):
        if not is_file(local / "model_index.json"):
            raise ConfigError(f"model.path {path} is a folder without model_index.json{_advice(local)}")
        return local
    if _looks_local(path):
        raise ConfigError(
            f"model.path {path} does not exist.{_near(local)} Give a folder written by"
            " save_pretrained, or a hub name such as stable-diffusion-v1-5/stable-diffusion-v1-5."
        )
    return _fetch(path, revision, "diffusers model", _download_pipeline)


def find_model(config: ModelConfig, *, samples: bool = True) -> tuple[Family, ModelSource]:
    """Returns the family and the folders of the model that a recipe means, after checks that read no weights.

    Args:
        config: The model.
        samples: Whether clips will go through it, whose number of frames must then fit.

    Raises:
        ConfigError: A folder or name is missing, of no family, of another medium than the recipe's kind of model, or
        its
            parts do not fit each other.
        RunError: The hub cannot be reached.
    """
    folder = find_folder(config.path, config.revision)
    family = family_of(folder, config.path)
    if not isinstance(config, VideoModelConfig):
        if family.medium == "video":
            raise ConfigError(f"{config.path} holds a {family.pipeline}, a video model. Type: --set model.kind=video")
        return family, ModelSource(folder)
    family, source = _with_motion(family, folder, config)
    family.check(source, config.clip.frames if samples else 1)
    return family, source


def _with_motion(family: Family, folder: Path, config: VideoModelConfig) -> tuple[Family, ModelSource]:
    """Returns the video family and the folders of a video pipeline, or of an image pipeline with a motion adapter."""
    betas = config.schedule or "own"
    if family.medium == "video":
        if config.motion is not None:
            raise ConfigError(
                f"{config.path} holds a {family.pipeline}, which has its motion layers already, so model.motion"
                f" {config.motion} has no place. Type: --set model.motion=null   or give the image model as model.path"
            )
        own = folder / "motion_adapter"
        beside = bool(family.base) and _network_class(folder, family) != family.network and is_motion_adapter(own)
        return family, ModelSource(folder, own if beside else None, betas)
    made = next((row for row in FAMILIES.values() if row.base == family.pipeline), None)
    if config.motion is None or made is None:
        advice = "Give a motion adapter, model.motion, such as guoyww/animatediff-motion-adapter-v1-5-2"
        raise ConfigError(
            f"{config.path} holds a {family.pipeline}, an image model, so it makes no clips. "
            f"{advice if made is not None else 'Give a video model'}, or type: --set model.kind=image"
        )
    motion = find_motion(config.motion)
    default: Betas = "own" if is_folder(motion / "scheduler") else "linear"
    return made, ModelSource(folder, motion, config.schedule or default)


def find_motion(path: str) -> Path:
    """Returns the folder of a motion adapter, fetched from the hub when it is a name there. Raises as `find_folder`."""
    local = Path(path).expanduser()
    if is_folder(local):
        if not is_file(local / "config.json"):
            raise ConfigError(
                f"model.motion {path} is a folder without config.json. Give the folder that"
                " MotionAdapter.save_pretrained wrote."
            )
        return local
    if _looks_local(path):
        raise ConfigError(f"model.motion {path} does not exist.{_near(local)} Give a folder, or a hub name.")
    return _fetch(path, None, "motion adapter", _download_adapter)


def family_of(folder: Path, path: str) -> Family:
    """Returns the family of a folder, by the pipeline class in its index. ``path`` is its name for messages.

    Raises:
        ConfigError: The index is damaged, or names a pipeline of no family.
    """
    name = read_object(folder / "model_index.json").get("_class_name")
    if not isinstance(name, str):
        raise ConfigError(f"{path}/model_index.json names no pipeline class. Download or save the model again.")
    if name not in FAMILIES:
        raise ConfigError(
            f"{path} holds a {name[:80]}, which this version cannot align; supported are {', '.join(FAMILIES)}."
            f"{near_miss(name[:80], FAMILIES)}"
        )
    return FAMILIES[name]


def _network_class(folder: Path, family: Family) -> str:
    return str(ModelSource(folder).config(family.component).get("_class_name"))


def _looks_local(path: str) -> bool:
    return path.startswith((".", "/", "~", "\\")) or path.count("/") != 1


def _near(path: Path) -> str:
    """Returns what a missing folder may have been meant to be."""
    return near_miss(path.name, [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else [])


def _download_pipeline(name: str, revision: str | None) -> Path:
    if opens_without_weights():
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.txt", "*.model"]))
    from diffusers import DiffusionPipeline

    folder = Path(DiffusionPipeline.download(name, revision=revision))
    if not any(folder.glob("*/*.safetensors")) and not any(folder.glob("*/*.bin")):  # only halves were published
        folder = Path(DiffusionPipeline.download(name, revision=revision, variant="fp16"))
    return folder


def _download_adapter(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "diffusion_pytorch_model*", "tokenizer/*", "text_encoder/*", "scheduler/*"]
    if opens_without_weights():
        patterns = ["*.json", "*.txt"]
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _fetch(name: str, revision: str | None, what: str, download: Callable[[str, str | None], Path]) -> Path:
    try:
        return download(name, revision)
    except Exception as error:
        kind, text = type(error).__name__, str(error).splitlines()[0] if str(error) else ""
        if kind in ("RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError", "EntryNotFoundError"):
            raise ConfigError(
                f"the hub has no {what} {name!r} (revision {revision or 'main'}) that you may read: {text}"
                " Check the name; for a gated model accept its terms and run `hf auth login`."
            ) from error
        raise RunError(
            f"{name!r} is neither a folder here nor could it be fetched from the hub ({kind}: {text}). Give a folder"
            " written by save_pretrained, or connect and try again."
        ) from error


def _advice(folder: Path) -> str:
    if advice := adapter_advice(folder):
        return f": {advice}"
    if is_motion_adapter(folder):
        return (
            ": it holds a motion adapter, not a whole model. Give an image model as model.path, and this folder as"
            f" model.motion: --set model.path=FOLDER --set model.motion={folder}"
        )
    if (folder / "config.json").exists():
        return "; it holds a single model. Give the folder of the whole pipeline, the one above."
    deeper = sorted(item.parent.name for item in folder.glob("*/model_index.json"))
    return f"; did you mean {folder / deeper[0]}?" if deeper else ". Give a folder written by save_pretrained."
