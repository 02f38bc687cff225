"""What sampling keeps in memory, on tensors without a meaning, so that a plan can follow it before it runs."""

from __future__ import annotations

import torch
from torch import nn

from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.policy import TrialStage


def sample_stage(network: LanguageNetwork, samples: int, tokens: int) -> TrialStage:
    """Returns the last step of sampling a batch: keys and values of all tokens so far, and the logits of the next.

        keys and values = 2 layers (heads of keys) (width of a head) tokens samples bytes

    A cache grows by copies, so those of one layer are there twice for a moment.

    Args:
        network: The network.
        samples: Texts sampled together.
        tokens: Of the longest prompt and what is sampled.
    """
    config, model = network.model.config.get_text_config(), network.model
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def run(twin: nn.Module) -> object:
        device = next(twin.parameters()).device
        shape = samples, heads, tokens, width
        cache = [torch.zeros(2, *shape, dtype=model.dtype, device=device) for _ in range(config.num_hidden_layers)]
        grown = cache[0].clone()
        logits = torch.zeros(samples, config.vocab_size, device=device)
        return cache, grown, logits.softmax(-1), torch.rand_like(logits)

    return TrialStage(("network",), f"{samples} text{'s' if samples > 1 else ''}", run)
