"""The folder of a diffusers model: found here or fetched from the hub, and the family that it belongs to."""

from __future__ import annotations

from pathlib import Path

from diffalign.errors import ConfigError, RunError, near_miss
from diffalign.files.model_files import is_folder, read_object
from diffalign.files.text_files import is_file
from diffalign.policies.diffusion.families import FAMILIES, Family
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
    looks_local = path.startswith((".", "/", "~", "\\")) or path.count("/") != 1
    if looks_local:
        siblings = [item.name for item in local.parent.iterdir()] if local.parent.is_dir() else []
        raise ConfigError(
            f"model.path {path} does not exist.{near_miss(local.name, siblings)} Give a folder written by"
            " save_pretrained, or a hub name such as stable-diffusion-v1-5/stable-diffusion-v1-5."
        )
    return _download(path, revision)


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


def _download(name: str, revision: str | None) -> Path:
    from diffusers import DiffusionPipeline

    try:
        folder = Path(DiffusionPipeline.download(name, revision=revision))
        if not any(folder.glob("*/*.safetensors")) and not any(folder.glob("*/*.bin")):  # only halves were published
            folder = Path(DiffusionPipeline.download(name, revision=revision, variant="fp16"))
        return folder
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


def _advice(folder: Path) -> str:
    if advice := adapter_advice(folder):
        return f": {advice}"
    if (folder / "config.json").exists():
        return "; it holds a single model. Give the folder of the whole pipeline, the one above."
    deeper = sorted(item.parent.name for item in folder.glob("*/model_index.json"))
    return f"; did you mean {folder / deeper[0]}?" if deeper else ". Give a folder written by save_pretrained."
