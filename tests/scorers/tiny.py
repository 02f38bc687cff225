"""Tiny models with random weights, written to a folder as the published ones are."""

import json
from pathlib import Path

import torch

from tests.tiny_text import tiny_tokenizer

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WORDS = ["a", "an", "the", "of", "on", "two", "fox", "foxes", "apple", "pineapple", "red", "blue", "background"]
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 32},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "do_convert_rgb": True,
}


def dual_encoder(folder: Path) -> Path:
    """A random CLIPModel of a few thousand parameters with a word tokenizer."""
    from transformers import CLIPConfig, CLIPModel

    vision = dict(SMALL, image_size=32, patch_size=8)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=_text_config(), vision_config=vision, projection_dim=8)).save_pretrained(folder)
    return _with_words(folder)


def x_clip(folder: Path, frames: int = 4) -> Path:
    """A random XCLIPModel of a few thousand parameters with a word tokenizer, for clips of ``frames`` frames."""
    from transformers import XCLIPConfig, XCLIPModel

    mit = {"mit_hidden_size": 8, "mit_intermediate_size": 16, "mit_num_attention_heads": 2, "num_frames": frames}
    vision = dict(SMALL, image_size=32, patch_size=8, **mit)
    prompt = {"prompt_num_attention_heads": 2, "prompt_layers": 1}
    torch.manual_seed(0)
    config = XCLIPConfig(text_config=_text_config(), vision_config=vision, projection_dim=8, **prompt)
    model = XCLIPModel(config)
    for parameter in model.parameters():  # the small published initialisation would hide what the frames change
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return _with_words(folder)


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VOCABULARY = {word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", *WORDS, "<eos>"])}


def _text_config() -> dict:
    size = len(VOCABULARY)
    tokens = {"vocab_size": size, "eos_token_id": size - 1, "bos_token_id": 2, "pad_token_id": 0}
    return {**SMALL, **tokens, "max_position_embeddings": 12}


def _with_words(folder: Path) -> Path:
    """Adds a word tokenizer and the preprocessing of images."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", len(VOCABULARY) - 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


def classifier(folder: Path) -> Path:
    """A random ViT classifier of foxes, apples and pineapples."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(1)
    names = {0: "fox", 1: "apple", 2: "pineapple, ananas"}
    config = ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8,
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    plain = dict(PREPROCESSOR, image_processor_type="ViTImageProcessor", size={"height": 32, "width": 32})
    (folder / "preprocessor_config.json").write_text(json.dumps(dict(plain, do_center_crop=False, resample=2)))
    return folder


REWARDS = ("llama", "gpt2", "bert")


def reward_model(folder: Path, family: str = "llama", *, labels: int = 1, pad: int | None = 0) -> Path:
    """A random sequence classifier: ``llama`` with a chat template, ``gpt2`` without, ``bert`` that takes two texts."""
    import transformers

    names = {"llama": "LlamaForSequenceClassification", "gpt2": "GPT2ForSequenceClassification"}
    names["bert"] = "BertForSequenceClassification"
    tokenizer = tiny_tokenizer(chat=family == "llama")
    if family == "bert":
        tokenizer = bert_tokenizer()
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = getattr(transformers, names[family])
    config = model.config_class(
        **small, vocab_size=len(tokenizer), max_position_embeddings=96, num_labels=labels, pad_token_id=pad,
        bos_token_id=None, eos_token_id=None, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bert_tokenizer():
    """Words, in two segments that [SEP] ends."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "good", "bad", "!"])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, model_input_names=["input_ids", "token_type_ids", "attention_mask"], **marks
    )


OPEN_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def open_clip_model(config: dict = OPEN_CLIP, seed: int = 0):
    """A random CLIP of open_clip, whose embeddings differ between images."""
    import open_clip

    torch.manual_seed(seed)
    model = open_clip.CLIP(**config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def open_clip_folder(folder: Path, name: str = "open_clip_model.safetensors", **config) -> Path:
    """The same in a folder with its config; a ``.pt`` is written as HPSv2 is, under ``state_dict``."""
    from safetensors.torch import save_file

    state = open_clip_model({**OPEN_CLIP, **config}).state_dict()
    settings = {"model_cfg": {**OPEN_CLIP, **config}, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    if name.endswith(".safetensors"):
        save_file({key: value.contiguous() for key, value in state.items()}, folder / name)
    else:
        torch.save({"epoch": 1, "state_dict": state}, folder / name)
    return folder


def image_reward(folder: Path) -> Path:
    """A random ImageReward under the published names: images of 32 pixels, widths of 16, words as tokens."""
    width, size, vocabulary = 16, 32, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    generator = torch.Generator().manual_seed(0)
    state = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=generator) * 0.4
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 1 + torch.randn(width, generator=generator) * 0.1
        state[f"{name}.bias"] = torch.randn(width, generator=generator) * 0.1

    vision, text = "blip.visual_encoder", "blip.text_encoder"
    state[f"{vision}.cls_token"] = torch.randn(1, 1, width, generator=generator)
    state[f"{vision}.pos_embed"] = torch.randn(1, (size // 8) ** 2 + 1, width, generator=generator)
    state[f"{vision}.patch_embed.proj.weight"] = torch.randn(width, 3, 8, 8, generator=generator) * 0.1
    state[f"{vision}.patch_embed.proj.bias"] = torch.randn(width, generator=generator)
    for n in range(2):
        block = f"{vision}.blocks.{n}"
        norm(f"{block}.norm1"), norm(f"{block}.norm2")
        linear(f"{block}.attn.qkv", 3 * width, width), linear(f"{block}.attn.proj", width, width)
        linear(f"{block}.mlp.fc1", 32, width), linear(f"{block}.mlp.fc2", width, 32)
    norm(f"{vision}.norm")
    for kind, count in (("word", len(vocabulary) + 2), ("position", 48)):
        state[f"{text}.embeddings.{kind}_embeddings.weight"] = torch.randn(count, width, generator=generator)
    state[f"{text}.embeddings.position_ids"] = torch.arange(48)[None]
    norm(f"{text}.embeddings.LayerNorm")
    for n in range(2):
        layer = f"{text}.encoder.layer.{n}"
        for kind in ("attention", "crossattention"):
            for part in ("query", "key", "value"):
                linear(f"{layer}.{kind}.self.{part}", width, width)
            linear(f"{layer}.{kind}.output.dense", width, width)
            norm(f"{layer}.{kind}.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", 32, width), linear(f"{layer}.output.dense", width, 32)
        norm(f"{layer}.output.LayerNorm")
    linear("blip.vision_proj", 8, width), linear("blip.text_proj", 8, width)
    for (n, outputs), inputs in zip(((0, 12), (2, 8), (4, 6), (6, 4), (7, 1)), (width, 12, 8, 6, 4), strict=True):
        linear(f"mlp.layers.{n}", outputs, inputs)
    torch.save(state, folder / "ImageReward.pt")
    sizes = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = {**sizes, "vocab_size": len(vocabulary) + 2, "max_position_embeddings": 48, "layer_norm_eps": 1e-12}
    (folder / "med_config.json").write_text(json.dumps({**config, "hidden_act": "gelu", "pad_token_id": 0}))
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    return folder


def aesthetic(folder: Path) -> Path:
    """Random heads of the LAION aesthetic predictors, and the encoder beside them in ``clip``."""
    (folder / "clip").mkdir()
    dual_encoder(folder / "clip")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for (n, outputs), inputs in zip(((0, 12), (2, 8), (4, 6), (6, 4), (7, 1)), (8, 12, 8, 6, 4), strict=True):
        state[f"layers.{n}.weight"] = torch.randn(outputs, inputs, generator=generator) * 0.6
        state[f"layers.{n}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    torch.save(state, folder / "aesthetic-model.pth")
    linear = {"weight": torch.randn(1, 8, generator=generator), "bias": torch.randn(1, generator=generator)}
    torch.save(linear, folder / "sa_0_4_vit_l_14_linear.pth")
    return folder


def siglip(folder: Path) -> Path:
    """A random SiglipModel, which attends to the padding of its texts."""
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    text = {**SMALL, "vocab_size": len(VOCABULARY), "max_position_embeddings": 12, "projection_size": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": len(VOCABULARY) - 1}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config={**text, **ends}, vision_config=vision))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return _with_words(folder)


def mps(folder: Path) -> Path:
    """A random MPS under the published names, with two layers of two heads, and its CLIP's settings in ``clip``."""
    from transformers import CLIPModel

    (folder / "clip").mkdir()
    model = CLIPModel.from_pretrained(dual_encoder(folder / "clip"))
    (folder / "clip" / "model.safetensors").unlink()
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    width, inner = 8, 128
    for n in range(2):
        one, other = f"cross_model.layers.{n}.0.fn.", f"cross_model.layers.{n}.1.fn."
        shapes = {
            f"{one}to_q": (inner, width), f"{one}to_kv": (128, width), f"{one}to_out": (width, inner),
            f"{one}ff.0": (8 * width, width), f"{one}ff.2": (width, 4 * width),
            f"{other}fused_attn_ff_proj": (inner + 128 + 8 * width, width), f"{other}attn_out": (width, inner),
            f"{other}ff_out.1": (width, 4 * width),
        }  # fmt: skip
        for name, shape in shapes.items():
            state[f"{name}.weight"] = torch.randn(shape) * 0.3
        for name in (one, other):
            state[f"{name}norm.weight"], state[f"{name}norm.bias"] = 1 + 0.1 * torch.randn(width), torch.zeros(width)
        state[f"{other}rotary_emb.inv_freq"] = 1.0 / (10000 ** (torch.arange(0, 64, 2).float() / 64))
    torch.save(state, folder / "mps.pth")
    return folder / "mps.pth"
