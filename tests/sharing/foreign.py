"""Adapter files as other programs write them."""

import torch
from safetensors.torch import load_file, save_file

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def drawn(module, seed=1, scale=0.1):
    """Draws the second factor of an adapter, so that none is zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        if ".lora_B" in name:
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)


def diffusers_lora(base, folder, *, text_encoder=False, metadata=True, **settings):
    """A file as diffusers' training scripts save it; returns it with the pipeline that has the adapter."""
    from diffusers import StableDiffusionPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import get_peft_model_state_dict

    pipeline = StableDiffusionPipeline.from_pretrained(base)
    common = {"r": 4, "lora_alpha": 16, "init_lora_weights": "gaussian", **settings}
    parts = {"unet": (pipeline.unet, TARGETS)}
    if text_encoder:
        parts["text_encoder"] = (pipeline.text_encoder, ["q_proj", "v_proj"])
    saved, modules = {}, {}
    for name, (module, targets) in parts.items():
        # not the encoder's own add_adapter: a release of transformers may ask for a peft that is not out yet
        inject_adapter_in_model(LoraConfig(**{"target_modules": targets, **common}), module)
        drawn(module)
        saved[f"{name}_lora_layers"] = convert_state_dict_to_diffusers(get_peft_model_state_dict(module))
        modules[name] = module
    about = _collate_lora_metadata(modules) if metadata else {}
    StableDiffusionPipeline.save_lora_weights(folder, **saved, **about)
    return folder / "pytorch_lora_weights.safetensors", pipeline


def kohya_lora(path, target, alpha=2.0):
    """The denoiser's part of a file of diffusers in Kohya's names, with ``alpha`` as tensors."""
    tensors = {}
    for key, value in load_file(path).items():
        stem, _, tail = key.removeprefix("unet.").partition(".lora.")
        name = "lora_unet_" + stem.replace(".", "_")
        tensors[f"{name}.lora_{tail}"] = value
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, target)
    return target


def changed(path, change, target=None):
    """Rewrites a safetensors file by ``change(tensors)``; keeps its metadata."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(path)
    save_file(change(tensors) or tensors, target or path, metadata=metadata)
    return target or path
