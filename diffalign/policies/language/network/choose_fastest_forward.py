"""Chooses the forward mode of a model by trial: the fastest one that gives the model's own numbers.

Nothing is assumed about an architecture. A few tokens are scored in each mode. A faster mode is taken only if it agrees
with the model's own logits, and if its layers use the attention windows of its configuration (a window is longer than
a trial).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from diffalign.errors import ConfigError
from diffalign.policies.language.network import packed_attention
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.network.network import ForwardMode, LanguageNetwork
from diffalign.policies.language.tokens.token_pair import Response, TokenPair

FORWARD_MODES: tuple[ForwardMode, ...] = ("shared", "padded", "plain")
HALF_TOLERANCE = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.bfloat16, torch.float16)}
TOLERANCE = 1e-4
"""Largest difference that counts as rounding, as a share of the largest log-probability. Measured on nine models, with
and without units for bfloat16, up to 1.9 times the step of a half precision and 8e-7 in float32; a wrong mask makes 0.1
and more, a soft cap that is left out 0.06."""


@dataclass(frozen=True)
class ForwardChoice:
    """The chosen forward mode.

    Args:
        mode: The mode.
        rejected: Why faster modes were not taken, by mode.
    """

    mode: ForwardMode
    rejected: dict[ForwardMode, str]

    def summary(self) -> str:
        """Returns one line for a header."""
        meaning = {
            "shared": "each prompt computed once for all its responses, no padding, logits at responses only",
            "padded": "a padded row per response, logits at responses only",
            "plain": "a padded row per response, logits everywhere",
        }[self.mode]
        return f"{self.mode}: {meaning}" + "".join(f"; not {mode}: {why}" for mode, why in self.rejected.items())


def choose_forward_mode(network: LanguageNetwork, requested: str = "auto") -> ForwardChoice:
    """Tries forward modes from the fastest on, and sets ``network.forward_mode`` to the first that is correct.

    Args:
        network: The network, on its device, with its adapter.
        requested: ``"auto"``, or the only mode to try.

    Raises:
        ConfigError: The requested mode is not correct for this architecture.
    """
    packed_attention.keep_soft_cap(network.model)
    rejected: dict[ForwardMode, str] = {}
    for mode in FORWARD_MODES if requested == "auto" else [mode for mode in FORWARD_MODES if mode == requested]:
        # In the model's own precision: a copy may be loaded in the middle of a step, under the run's autocast.
        with torch.autocast(network.model.device.type, enabled=False):
            fault = _find_fault(network, mode) if mode != "plain" else None
        if fault is None:
            network.forward_mode = mode
            return ForwardChoice(mode, rejected)
        rejected[mode] = fault
    reasons = "; ".join(rejected.values())
    raise ConfigError(
        f"model.forward is {requested}, but this model cannot be computed that way: {reasons}. Type: --set "
        "model.forward=auto"
    )


@torch.no_grad()
def _find_fault(network: LanguageNetwork, mode: ForwardMode) -> str | None:
    """Returns why ``mode`` is not correct for this model; None if it is."""
    model, config = network.model, network.model.config
    implementation_before = config._attn_implementation
    layout = lay_out(_trial_pairs(config.get_text_config().vocab_size), model.device)
    training_before = network.training
    network.eval()
    try:
        with network.using_forward_mode("plain"):
            expected = network(layout)
        if mode == "shared":
            model.set_attn_implementation(packed_attention.register())
        with network.using_forward_mode(mode), _record_windows() as windows:
            computed = network(layout)
        difference = float((computed - expected).abs().max())
        if not difference <= HALF_TOLERANCE.get(model.dtype, TOLERANCE) * max(1.0, float(expected.abs().max())):
            fault = f"its numbers differ from the model's own by up to {difference:.2g}"
        elif mode == "shared" and windows != (configured := _configured_windows(config.get_text_config())):
            fault = f"its layers use attention windows {windows}, its configuration says {configured}"
        else:
            return None
    except Exception as error:  # architectures fail in different ways
        text = str(error).splitlines()[0] if str(error) else ""
        unsupported = isinstance(error, packed_attention.UnsupportedAttention)
        fault = str(error) if unsupported else f"{type(error).__name__}: {text}"[:120]
    finally:
        network.train(training_before)
    if mode == "shared" and config._attn_implementation != implementation_before:
        model.set_attn_implementation(implementation_before)
    return fault


def _trial_pairs(vocabulary: int) -> list[TokenPair]:
    """Returns two prompts, one with two responses and one with one, of fixed tokens."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda count: tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())
    response = lambda count: Response(draw(count), (True,) * count)
    return [TokenPair(draw(7), (response(5), response(3))), TokenPair(draw(4), (response(6),))]


class _record_windows:
    """Records the attention windows of the layers within the block, in their order."""

    def __enter__(self) -> list[int | None]:
        from transformers import AttentionInterface

        windows: list[int | None] = []

        def recording_attention(*args: Any, **options: Any) -> Any:
            windows.append(options.get("sliding_window"))
            return packed_attention.attention(*args, **options)

        AttentionInterface.register(packed_attention.NAME, recording_attention)
        return windows

    def __exit__(self, *_: Any) -> None:
        packed_attention.register()


def _configured_windows(config: Any) -> list[int | str | None]:
    window, count = getattr(config, "sliding_window", None), config.num_hidden_layers
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return [window] * count
    windows = {"full_attention": None, "sliding_attention": window}
    return [windows.get(kind, kind) for kind in kinds]
