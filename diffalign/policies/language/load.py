"""Loads a language policy from a folder, a GGUF file or a hub name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffalign.devices.block_offload import offload_blocks
from diffalign.devices.device_memory import best_device
from diffalign.devices.movable import place
from diffalign.devices.quantized_linear import quantize_linear_layers
from diffalign.errors import ConfigError, RunError, UserError, near_miss
from diffalign.files.complete_weights import first_words, load_pretrained
from diffalign.files.model_files import is_folder
from diffalign.files.text_files import is_file
from diffalign.files.weightless import opens_without_weights
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.network.choose_fastest_forward import choose_forward_mode
from diffalign.policies.language.network.content_degree_head import DegreeHead
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.network.token_masks import decoder_layers, make_mask_network
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from diffalign.policies.module_utils import disable_dropout, weights_digest
from diffalign.quiet import quiet
from diffalign.sharing.peft_folder import CONFIG as ADAPTER_CONFIG
from diffalign.sharing.public_name import public_name
from diffalign.sharing.read_adapter import adaptable_layers, adapter_advice, read_adapter
from diffalign.sharing.shared_adapter import SharedAdapter, check_layers

__all__ = ["AdapterConfig", "LanguageConfig", "load_aligned", "load_policy"]


def load_policy(config: LanguageConfig, device: torch.device | str | None = None) -> LanguagePolicy:
    """Loads a causal language model, adds a fresh adapter (or makes all weights trainable), and chooses a reference.

    Args:
        config: The model's section of a recipe.
        device: None: the accelerator if there is one.

    Raises:
        ConfigError: There is no such folder, file or name; it is no causal language model, or not a complete one; its
            tokenizer lacks a token.
    """
    return _load(config, device, None)


def _load(config: LanguageConfig, device: torch.device | str | None, shared: SharedAdapter | None) -> LanguagePolicy:
    """Loads a policy; the adapter that it will get must fit the network."""
    config.check_offload()
    device = torch.device(device or ("cpu" if opens_without_weights() else best_device()))
    check_path(config)
    pair_tokenizer = PairTokenizer(_load_tokenizer(config), config)
    dtype = torch.float32 if config.adapter is None else getattr(torch, config.dtype)

    digests: list[str] = []  # of the weights before they are packed

    def load_network() -> LanguageNetwork:
        model = _load_model(config, dtype)
        digests.append(weights_digest([model]))
        if config.quantize is not None:
            quantize_linear_layers(model, config.quantize, kept=[model.get_output_embeddings()])
        disable_dropout(model)
        return LanguageNetwork(model, keep_bytes=config.head_memory * 2**20).requires_grad_(False).eval()

    network = load_network()
    if shared is not None:
        check_layers(adaptable_layers(network.model), shared, public_name(config.path))
    if config.adapter is not None:
        add_adapter(network.model, config.adapter)
    else:
        network.requires_grad_(True)
    network.eval()  # the adapter's layers too
    if config.offload is not None:
        text = network.model.config.get_text_config()
        offload_blocks(decoder_layers(network.model.base_model, text.num_hidden_layers), device)
    place(network, device)
    choice = choose_forward_mode(network, config.forward)
    if config.masks is not None and config.masks.learned:
        network.masks = make_mask_network(config.masks, network.model.config.get_text_config()).to(device)
    if config.degree is not None:
        if network.forward_mode == "plain":
            raise ConfigError(
                "model.degree reads hidden states, but this model runs in the plain forward mode, which gives only "
                "logits. Type: --set model.forward=padded   or leave model.degree out"
            )
        width = network.model.config.get_text_config().hidden_size
        network.degree = DegreeHead(width, len(config.degree.removed)).to(device)
    if config.gradient_checkpointing:  # active only in training mode, which has no dropout left
        network.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        network.train()

    def load_frozen() -> LanguageNetwork:
        frozen = load_network().to(device)
        choose_forward_mode(frozen, choice.mode)
        return frozen

    notes = {"forward": choice.summary()}
    return LanguagePolicy(network, pair_tokenizer, config, load_frozen, notes, digests[0])


def load_aligned(config: LanguageConfig, adapter: Path, device: torch.device | str | None = None) -> LanguagePolicy:
    """Loads the policy of ``config`` with a shared adapter; rank and layers come from the adapter's folder."""
    shared = read_adapter(adapter)
    shape = shared.shape
    from_file = AdapterConfig(rank=shape.rank, targets=shape.targets, dora=shape.dora)
    policy = _load(config.model_copy(update={"adapter": from_file}), device, shared)
    policy.load_adapter(shared)
    return policy


def check_path(config: LanguageConfig) -> None:
    """Raises ConfigError if ``config.path`` cannot hold a language model. Does not access the internet."""
    local = Path(config.path).expanduser()
    if is_file(local):
        raise ConfigError(
            f"model.path is the single file {config.path}; a folder is needed. For a GGUF file give its folder and: "
            f"--set model.gguf_file={local.name}"
        )
    if not is_folder(local):
        looks_local = config.path.startswith((".", "/", "~", "\\")) or config.path.count("/") > 1
        if looks_local:
            siblings = [item.name for item in local.parent.iterdir()] if local.parent.is_dir() else []
            raise ConfigError(
                f"model.path {config.path} does not exist.{near_miss(local.name, siblings)} Give a folder written by "
                "save_pretrained, or a hub name such as HuggingFaceTB/SmolLM2-135M-Instruct."
            )
        return
    required = config.gguf_file or "config.json"
    if not is_file(local / required):
        files = sorted(item.name for item in local.glob("*.gguf"))
        if adapter := adapter_advice(local):
            advice = adapter[0].upper() + adapter[1:]
        elif is_file(local / "model_index.json"):
            advice = "It holds an image model: --set model.kind=image"
        elif files:
            advice = f"It holds GGUF files: --set model.gguf_file={files[0]}"
        else:
            advice = "Give a folder written by save_pretrained."
        raise ConfigError(f"model.path {config.path} is a folder without {required}. {advice}")
    if is_file(local / ADAPTER_CONFIG):
        raise ConfigError(
            f"model.path {config.path} holds a model and an adapter ({ADAPTER_CONFIG}), so it is unclear which weights"
            " are the base. Move one of them into a folder of its own."
        )


def _load_model(config: LanguageConfig, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    model = _from_pretrained(partial(load_pretrained, AutoModelForCausalLM), config, dtype=dtype)
    if getattr(model, "peft_config", None):  # of a name on the hub; a folder is checked before
        raise ConfigError(
            f"{config.path} is an adapter, not a whole model. To train on top of it, merge it into its base first, and"
            f" give the result as the model: diffalign merge {config.path} --into BASE --output FOLDER"
        )
    if config.gguf_file:  # the weights are plain now; transformers would refuse to save quantised ones
        for name in ("hf_quantizer", "is_quantized", "quantization_method"):
            model.__dict__.pop(name, None)
        model.config.__dict__.pop("quantization_config", None)
    return model


def _load_tokenizer(config: LanguageConfig) -> Any:
    from transformers import AutoTokenizer

    return _from_pretrained(AutoTokenizer.from_pretrained, config)


def _from_pretrained(load: Callable[..., Any], config: LanguageConfig, **settings: Any) -> Any:
    if config.gguf_file:
        settings["gguf_file"] = config.gguf_file
    folder = Path(config.path).expanduser()
    try:
        with quiet():
            return load(str(folder), revision=config.revision, **settings)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the loader lets errors of several libraries through
        text = first_words(error)
        if isinstance(error, ImportError):
            raise ConfigError(
                f"{config.path} needs another package: {text}. Type: pip install 'diffalign[text]'"
            ) from error
        if is_folder(folder):
            raise ConfigError(f"{config.path} cannot be loaded as a causal language model: {text}.") from error
        raise RunError(
            f"{config.path!r} is no folder here and could not be fetched from the hub: {text}. Check the name, log in "
            "with `hf auth login` if it is gated, or give a folder."
        ) from error
