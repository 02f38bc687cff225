"""Tokenizers of the kinds that language models have, trained here on a few lines, in several scripts."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer
from transformers import PreTrainedTokenizerFast

LINES = [
    "[INST] What is the price? [/INST] It is $46 now: 46, not 64.",
    "User: Why is the sky blue?\n\nAssistant: Because of scattering, that is why.",
    "问：天空是什么颜色？答：蓝色。问：草是什么颜色？答：绿色的。",
    "空は何色ですか？青いです。草は緑です。",
    "ท้องฟ้าสีอะไร สีฟ้า หญ้าสีเขียว",
    "def f(x):\n    return x + 1\n",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST] "
    "{% else %}{{ m['content'] }} </s>{% endif %}{% endfor %}"
)
END_THEN_LINE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
TEMPLATES = {"chatml": CHATML, "inst": INST, "end then a line": END_THEN_LINE}
KINDS = ("bytes", "bytes, prefix space", "prepended", "metaspace always", "metaspace first", "unigram")


@cache
def tokenizer(kind: str, template: str = "chatml", begins: bool = True):
    """A tokenizer by its kind, one of ``KINDS``, and its chat template; ``begins``: it begins texts with ``<s>``."""
    core = Tokenizer(Unigram()) if kind == "unigram" else Tokenizer(BPE(unk_token="<unk>", byte_fallback=False))
    if kind.startswith("bytes"):
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space="prefix" in kind)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        alphabet = sorted({letter for line in LINES for letter in line} | {"▁"})
        if kind == "prepended":  # as Llama 2's: spaces are part of tokens, and tokens may hold several words
            core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
            core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        else:
            scheme = "always" if kind.endswith("always") else "first"
            core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
            core.decoder = decoders.Metaspace(prepend_scheme=scheme)
    if kind == "unigram":
        trainer = UnigramTrainer(
            vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=alphabet, show_progress=False
        )
    else:
        trainer = BpeTrainer(
            vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False, min_frequency=1
        )
    core.train_from_iterator(LINES * 4, trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    if begins:
        core.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATES[template]
    return made
