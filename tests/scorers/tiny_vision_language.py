"""Tiny random Qwen2-VL and Idefics2 judges, written under the key names of the published files."""

import json
import math
from pathlib import Path

import torch
from torch import nn

from tests.scorers.tiny import WORDS

CHAT = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
WIDTH = 32
LORA = {"lora_enable": True, "lora_r": 4, "lora_alpha": 8, "use_rslora": False}
NORM = {"VQ_mean": 3.6757, "VQ_std": 2.2476, "MQ_mean": 1.1646, "MQ_std": 1.3811, "TA_mean": 2.8105, "TA_std": 2.5121}
INSTRUCTIONS = ["Quality", "text", "prompt", "image", "video", "END", "Textual", "rating", "(", ")", ":", ",", ".", "-"]


def words(special, extra=()):
    """A tokenizer of words, with special tokens."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", *dict.fromkeys([*WORDS, *INSTRUCTIONS, *extra])])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    names = {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", **names)


def qwen2_vl(marks=()):
    """A ``Qwen2VLForConditionalGeneration`` of two layers and its tokenizer, without and with rows for the marks."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tokenizer = words(CHAT)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CHAT}
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        vision_config=vision, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=8192, vocab_size=len(tokenizer) + len(marks),
        rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]}, initializer_range=0.3, tie_word_embeddings=False,
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"], pad_token_id=0,
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    return _wide(Qwen2VLForConditionalGeneration(config).eval()), tokenizer


def _wide(model):
    """Draws the weights wider than usual, so that what is seen shows in the score."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=1.5 / math.sqrt(parameter.shape[-1]))
    return model


def old_names(state):
    """Tensors of a Qwen2-VL as transformers named them before 4.52, as in all three published files."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix("model.") if key.startswith("model.visual.") else key
        found[name.replace("model.language_model.", "model.")] = value.detach().clone()
    return found


def save_settings(folder: Path, model, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def hpsv3(folder: Path):
    """HPSv3.safetensors with a config and a tokenizer. Returns the model and the head."""
    from safetensors.torch import save_file

    model, tokenizer = qwen2_vl(["<|Reward|>"])
    head = nn.Sequential(
        nn.Linear(WIDTH, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2)
    ).eval()
    save_settings(folder, model, tokenizer)
    state = old_names(model.state_dict()) | {f"rm_head.{k}": v for k, v in head.state_dict().items()}
    save_file(state, folder / "HPSv3.safetensors")
    return model, head


def video_reward(folder: Path, *, layout="whole", rows=1):
    """A VideoReward. Returns the model with its LoRA merged, and the weights of the head.

    Args:
        folder: Its base model goes to the folder ``base`` within.
        layout: ``"whole"``: one file as released; ``"adapter"``: LoRA on the base, and the tensors without LoRA.
        rows: Rows of the head.
    """
    from safetensors.torch import save_file

    marks = [f"<|{quality}_reward|>" for quality in ("VQ", "MQ", "TA")]
    model, tokenizer = qwen2_vl(marks)
    save_settings(folder / "base", model, tokenizer)
    state = old_names(model.state_dict())
    save_file(state, folder / "base" / "model.safetensors")
    head = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1)) / math.sqrt(WIDTH)
    checkpoint = folder / "checkpoint-20"
    checkpoint.mkdir(parents=True)
    (folder / "checkpoint-3").mkdir()
    lora = _lora(state)
    config = {
        "data_config": {"fps": 2.0, "max_frame_pixels": 200704, "sample_type": "uniform", "num_frames": None,
                        "prompt_template_type": "detailed_special", "eval_dim": ["VQ", "MQ", "TA"]},
        "model_config": {"model_name_or_path": str(folder / "base"), "output_dim": rows, "use_special_tokens": True,
                         "reward_token": "special"},
        "peft_lora_config": LORA, "inference_config": NORM,
    }  # fmt: skip
    (folder / "model_config.json").write_text(json.dumps(config))
    wrapped = {f"base_model.model.{key}": value for key, value in state.items()}
    if layout == "whole":
        for name, (a, b) in lora.items():
            key = f"base_model.model.{name}"
            wrapped[f"{key}.base_layer.weight"] = wrapped.pop(f"{key}.weight")
            if f"{key}.bias" in wrapped:
                wrapped[f"{key}.base_layer.bias"] = wrapped.pop(f"{key}.bias")
            wrapped |= {f"{key}.lora_A.default.weight": a, f"{key}.lora_B.default.weight": b}
        torch.save(wrapped | {"base_model.model.rm_head.weight": head}, checkpoint / "model.pth")
    else:
        adapter = {}
        for name, (a, b) in lora.items():
            adapter[f"base_model.model.{name}.lora_A.weight"] = a
            adapter[f"base_model.model.{name}.lora_B.weight"] = b
        save_file(adapter, checkpoint / "adapter_model.safetensors")
        torch.save({"base_model.model.rm_head.weight": head}, checkpoint / "non_lora_state_dict.pth")
    scale = LORA["lora_alpha"] / LORA["lora_r"]
    for name, (a, b) in lora.items():
        model.get_submodule(f"model.language_model.{name.removeprefix('model.')}").weight.data += scale * (b @ a)
    return model, head


def _lora(state):
    generator, found = torch.Generator().manual_seed(2), {}
    for key, value in state.items():
        if key.startswith("model.layers.") and key.endswith("proj.weight"):
            a = torch.randn(LORA["lora_r"], value.shape[1], generator=generator) / math.sqrt(value.shape[1])
            b = torch.randn(value.shape[0], LORA["lora_r"], generator=generator) / 4
            found[key.removesuffix(".weight")] = (a, b)
    return found


def video_score_qwen2_vl(folder: Path):
    """VideoScore-Qwen2-VL. Returns the model and the head."""
    from safetensors.torch import save_file

    model, tokenizer = qwen2_vl()
    head = nn.Linear(WIDTH, 5)
    save_settings(folder, model, tokenizer)
    state = {key: value for key, value in old_names(model.state_dict()).items() if not key.startswith("lm_head")}
    save_file(state | {f"score.{k}": v for k, v in head.state_dict().items()}, folder / "model.safetensors")
    return model, head


def video_score_idefics2(folder: Path, *, split=False):
    """VideoScore on Idefics2, in two files with an index. Returns the model and the head."""
    from safetensors.torch import save_file
    from transformers import Idefics2Config, Idefics2Model

    tokenizer = words(["<fake_token_around_image>", "<image>", "<end_of_utterance>"])
    text = {"model_type": "mistral", "vocab_size": len(tokenizer), "hidden_size": WIDTH, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0,
            "bos_token_id": None, "eos_token_id": None, "sliding_window": None, "head_dim": 16}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 56, "patch_size": 14}  # fmt: skip
    perceiver = {"resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8,
                 "num_key_value_heads": 1, "hidden_size": WIDTH}  # fmt: skip
    config = Idefics2Config(
        text_config=text, vision_config=vision, perceiver_config=perceiver, pad_token_id=0, tie_word_embeddings=False,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model, head = _wide(Idefics2Model(config).eval()), nn.Linear(WIDTH, 5)
    save_settings(folder, model, tokenizer)
    size = {"shortest_edge": 28, "longest_edge": 56}
    plain = {"do_image_splitting": split, "size": size, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(plain))
    state = {f"model.{key}": value.detach().clone() for key, value in model.state_dict().items()}
    state |= {f"score.{key}": value for key, value in head.state_dict().items()}
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key].contiguous() for key in keys}, folder / file)
    index = {"metadata": {}, "weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return model, head
