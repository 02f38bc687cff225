"""What judges by a vision-language model share: the hash of network and head, and which prompts they cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor, nn

from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import state_hash
from diffalign.scorers.vision_language.idefics2 import Idefics2
from diffalign.scorers.vision_language.instruction import check_prompt
from diffalign.scorers.vision_language.qwen2_vl import Qwen2VL


class NetworkAndHead(ComparesByScore):
    """A judge whose head reads states of a network; a base class."""

    network: Qwen2VL | Idefics2
    head: nn.Module | Tensor
    """A module, or the one tensor that it consists of."""
    name: str

    @cached_property
    def weights(self) -> str:
        """Hash of the parameters of network and head, computed on first access."""
        if isinstance(self.head, Tensor):
            head = {"head": self.head}
        else:
            head = {f"head.{key}": value for key, value in self.head.state_dict().items()}
        return state_hash({**self.network.model.state_dict(), **head})

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` for a prompt with one of the tokens that mark places in the model's input."""
        for prompt in prompts:
            check_prompt(prompt, self.network.reserved, self.name)
