"""Tiny random models that answer questions about images: a decoder with a chat, and a BLIP-2 with T5."""

from pathlib import Path

import torch

from tests.scorers import tiny

SMALL = tiny.SMALL
WORDS = ["USER", "ASSISTANT", "Yes", "yes", "No", "Does", "this", "figure", "show", "Please", "answer", "or", "no"]
CHAT = (
    "USER: {% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %} ASSISTANT:"
)


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = ["<pad>", "<unk>", "<s>", "</s>", "<image>", *tiny.WORDS, *WORDS, '"', "?", ".", ":", '"?']
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"], model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _save(model, processor, folder: Path) -> Path:
    for parameter in model.parameters():  # the small published initialisation would answer all questions alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """A LLaVA: the question is a turn of a chat, in which the image takes 16 tokens."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer()
    text = {**SMALL, "model_type": "llama", "vocab_size": len(words), "max_position_embeddings": 128}
    vision = {**SMALL, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=vision, text_config={**text, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
        image_token_id=words.convert_tokens_to_ids("<image>"), pad_token_id=0,
    )  # fmt: skip
    processor = LlavaProcessor(
        CLIPImageProcessor(**{k: v for k, v in tiny.PREPROCESSOR.items() if k != "image_processor_type"}), words,
        patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=CHAT,
    )  # fmt: skip
    return _save(LlavaForConditionalGeneration(config), processor, folder)


def blip2(folder: Path) -> Path:
    """A BLIP-2 with T5, whose answer is decoded from a start token."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    words = tokenizer()
    t5 = {"model_type": "t5", "vocab_size": len(words), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2}
    config = Blip2Config(
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        qformer_config={**SMALL, "vocab_size": 32, "encoder_hidden_size": 16, "cross_attention_frequency": 1},
        text_config={**t5, "num_heads": 2, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 3},
        num_query_tokens=4, image_token_index=words.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    processor = Blip2Processor(BlipImageProcessor(size={"height": 32, "width": 32}), words, num_query_tokens=4)
    return _save(Blip2ForConditionalGeneration(config), processor, folder)
