"""Tiny random language models in transformers' own folder format, a tokenizer of characters, and pairs of texts.

Printable ASCII is one token per character (with ``merges`` a few are longer); prompts and answers of the pairs have
3 to 60 characters. Equal seeds give equal weights.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache

END = "<|end|>"
SPECIAL = ("<pad>", "<unk>", "<s>", END, "<|system|>", "<|user|>", "<|assistant|>")
CHARACTERS = ("\n", "\t", *(chr(code) for code in range(32, 127)))
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
WINDOW = 8  # tokens that a sliding layer of gemma2, gemma3 and mistral sees
POSITIONS = 256
FAMILIES = ("llama", "gpt2", "qwen2", "qwen3", "gemma2", "gemma3", "mistral")

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": POSITIONS,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
LAYERS = ["sliding_attention", "full_attention"]
EXTRA = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": True},
    "mistral": {"sliding_window": WINDOW},
    "gemma2": {
        "sliding_window": WINDOW,
        "layer_types": LAYERS,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3": {"sliding_window": WINDOW, "layer_types": LAYERS, "query_pre_attn_scalar": 8},
}


def tiny_tokenizer(chat: bool = True, eos: bool = True, *, bos: bool = False, merges: tuple[str, ...] = ()):
    """A fast tokenizer of characters.

    Args:
        chat: Give it a chat template: ``<|role|>``, newline, text, ``<|end|>``, newline.
        eos: Name ``<|end|>`` as its end token. (It is in the vocabulary in any case.)
        bos: Begin every text with ``<s>``, as Llama's do; the template then begins so as well.
        merges: Pairs of characters that are one token, such as ``("th", ": ")``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    # In bytes, as GPT-2's: some families load whatever tokenizer stands beside them as one of bytes.
    letters = [_as_byte(character) for character in CHARACTERS]
    joined = [(_as_byte(pair[0]), _as_byte(pair[1])) for pair in merges]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters, *("".join(pair) for pair in joined)])}
    core = Tokenizer(BPE(vocabulary, joined, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    if bos:
        core.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", SPECIAL.index("<s>"))]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>" if bos else None,
        eos_token=END if eos else None,
        model_input_names=["input_ids", "attention_mask"],  # as causal models'; transformers 4 would add segments
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = ("<s>" if bos else "") + TEMPLATE
    return tokenizer


def tiny_model(family: str = "llama", *, seed: int = 0, **config):
    """A causal language model of two layers in evaluation mode, float32; keywords replace values of its configuration.

    Weights are drawn ten times wider than usual, so that positions, masks and windows show in the logits.
    """
    import transformers

    names = {
        "llama": ("LlamaConfig", "LlamaForCausalLM"),
        "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
        "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
        "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
        "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
        "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
        "mistral": ("MistralConfig", "MistralForCausalLM"),
    }[family]
    shape = GPT2 if family == "gpt2" else {**SHAPE, **EXTRA[family]}
    common = {
        "vocab_size": len(SPECIAL) + len(CHARACTERS),
        "pad_token_id": SPECIAL.index("<pad>"),
        "bos_token_id": SPECIAL.index("<s>"),
        "eos_token_id": SPECIAL.index(END),
        "initializer_range": 0.2,
    }
    built = getattr(transformers, names[0])(**{**common, **shape, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, names[1])(built).eval()


def tiny_llm(folder: Path, family: str = "llama", *, seed: int = 0, chat: bool = True, eos: bool = True, **config):
    """Model and tokenizer in ``folder``, as ``save_pretrained`` writes them. Returns the folder."""
    tiny_model(family, seed=seed, **config).save_pretrained(folder)
    tiny_tokenizer(chat, eos).save_pretrained(folder)
    return Path(folder)


def text_pairs(count: int = 6, *, seed: int = 0) -> list[Pair]:
    """Plain pairs of varied lengths; every third pair asks the prompt of the pair before it."""
    rng = random.Random(seed)
    prompts: list[str] = []
    for i in range(count):
        prompts.append(prompts[-1] if i % 3 == 2 else f"{_words(rng, 1, 8)}:")
    return [
        Pair(id=f"text{i}", prompt=prompts[i], chosen=f" {_words(rng, 1, 9)}!", rejected=f" {_words(rng, 1, 9)}?")
        for i in range(count)
    ]


def chat_pairs(count: int = 6, *, seed: int = 0) -> list[Pair]:
    """Conversational pairs: every second with a system turn, every third with an earlier exchange."""
    rng = random.Random(seed)
    pairs = []
    for i in range(count):
        turns = [Message("system", _words(rng, 1, 3))] if i % 2 else []
        if i % 3 == 2:
            turns += [Message("user", _words(rng, 1, 3)), Message("assistant", _words(rng, 1, 3))]
        turns.append(Message("user", _words(rng, 1, 6)))
        chosen, rejected = (Conversation((Message("assistant", _words(rng, 1, 8) + mark),)) for mark in "!?")
        pairs.append(Pair(id=f"chat{i}", prompt=Conversation(tuple(turns)), chosen=chosen, rejected=rejected))
    return pairs


def _words(rng: random.Random, least: int, most: int) -> str:
    return " ".join(
        "".join(rng.choices("abcdeghiklmnorstu", k=rng.randint(3, 6))) for _ in range(rng.randint(least, most))
    )


def _as_byte(character: str) -> str:
    """The letter that stands for a byte in vocabularies of bytes: visible ones for themselves."""
    return character if ord(character) > 32 else chr(ord(character) + 256)


def cached_answer(folder, ids, key="answer"):
    """An answer that a policy sampled, as the handle of its tokens in a cache in ``folder``."""
    cache = TensorCache(folder, "answers")
    cache.put_many({key: {"ids": torch.tensor(list(ids))}})
    return CachedCandidate(str(cache.root), cache.maker, key)
