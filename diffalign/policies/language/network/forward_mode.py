"""The trial: which ways of computing scores this architecture can go, found by doing it and comparing the numbers.

Nothing is assumed about an architecture. A few tokens are scored each way; a faster way is taken only where it agrees
with the model's own logits, and where its layers ask for the attention windows that its configuration tells of (a
window is longer than a trial).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from diffalign.errors import ConfigError
from diffalign.policies.language.network import attention
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.network import LanguageNetwork, Way
from diffalign.policies.language.tokens.token_pair import Response, TokenPair

WAYS: tuple[Way, ...] = ("shared", "padded", "plain")
ROUNDING = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.bfloat16, torch.float16)}
WIDE = 1e-4
"""Largest difference that counts as rounding, as a share of the largest log-probability. Measured on nine models, with
and without units for bfloat16, up to 1.9 times the step of a half precision and 8e-7 in float32; a wrong mask makes 0.1
and more, a soft cap that is left out 0.06."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Args:
        way: The way to go.
        reasons: Why faster ways were not taken, by way.
    """

    way: Way
    reasons: dict[str, str]

    def summary(self) -> str:
        """One line for a header."""
        what = {
            "shared": "each prompt computed once for all its responses, no padding, logits at responses only",
            "padded": "a padded row per response, logits at responses only",
            "plain": "a padded row per response, logits everywhere",
        }[self.way]
        return f"{self.way}: {what}" + "".join(f"; not {way}: {why}" for way, why in self.reasons.items())


def find_way(network: LanguageNetwork, wanted: str = "auto") -> TrialResult:
    """Tries the ways from the fastest on, and sets ``network.way`` to the first that is right.

    Args:
        network: The network, on its device, adapter and all.
        wanted: ``"auto"``, or the one way that shall be taken.

    Raises:
        ConfigError: The wanted way is not right for this architecture.
    """
    attention.keep_soft_cap(network.model)
    reasons: dict[str, str] = {}
    tried = WAYS if wanted == "auto" else tuple(way for way in WAYS if way == wanted)
    for way in tried:
        # In the model's own precision: a copy may be loaded in the midst of a step, under the run's.
        with torch.autocast(network.model.device.type, enabled=False):
            why = _fault(network, way) if way != "plain" else None
        if why is None:
            network.way = way
            return TrialResult(way, reasons)
        reasons[way] = why
    raise ConfigError(
        f"model.forward is {wanted}, but this model cannot go that way: {reasons[wanted]}. Type: --set "
        "model.forward=auto"
    )


@torch.no_grad()
def _fault(network: LanguageNetwork, way: Way) -> str | None:
    """Why ``way`` is not right for this model; None where it is."""
    model, config = network.model, network.model.config
    before = config._attn_implementation
    layout = lay_out(_questions(config.get_text_config().vocab_size), model.device)
    mode = network.training
    network.eval()
    try:
        with network.going("plain"):
            want = network(layout)
        if way == "shared":
            model.set_attn_implementation(attention.register())
        with network.going(way), _windows() as asked:
            have = network(layout)
        gap = float((have - want).abs().max())
        if not gap <= ROUNDING.get(model.dtype, WIDE) * max(1.0, float(want.abs().max())):
            fault = f"its numbers differ from the model's own by up to {gap:.2g}"
        elif way == "shared" and asked != (expected := _expected_windows(config.get_text_config())):
            fault = f"its layers ask for attention windows {asked}, its configuration says {expected}"
        else:
            return None
    except Exception as error:  # architectures fail in ways of their own
        text = str(error).splitlines()[0] if str(error) else ""
        fault = str(error) if isinstance(error, attention.Unsupported) else f"{type(error).__name__}: {text}"[:120]
    finally:
        network.train(mode)
    if way == "shared" and config._attn_implementation != before:
        model.set_attn_implementation(before)
    return fault


def _questions(vocabulary: int) -> list[TokenPair]:
    """Two prompts with two responses and one, of fixed tokens."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())
    response = lambda count: Response(draw(count), (True,) * count)
    return [TokenPair(draw(7), (response(5), response(3))), TokenPair(draw(4), (response(6),))]


class _windows:
    """Within the block, the windows that layers ask for, in their order."""

    def __enter__(self) -> list[int | None]:
        from transformers import AttentionInterface

        self.format_prompt: list[int | None] = []

        def watched(*args: Any, **settings: Any) -> Any:
            self.format_prompt.append(settings.get("sliding_window"))
            return attention.attention(*args, **settings)

        AttentionInterface.register(attention.NAME, watched)
        return self.format_prompt

    def __exit__(self, *_: Any) -> None:
        attention.register()


def _expected_windows(config: Any) -> list[int | str | None]:
    window, count = getattr(config, "sliding_window", None), config.num_hidden_layers
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window] * count
    known = {"full_attention": None, "sliding_attention": window}
    return [known.get(kind, kind) for kind in kinds]
