"""Degrees: does the policy's own state tell how much of an answer's key content is missing?

    z_k = mean of the states over the tokens that are left when the rarest rho_k of a response's tokens are removed
    cost = mean over degrees k of cross entropy(head(z_k), k),      head = linear after a layer norm, K classes

The states are those that predict the scored tokens, of the policy, with gradient; removing is leaving out of the mean,
so one forward pass serves all degrees. A token's rarity is ``log (1 + answers) / (1 + answers that have it)`` over the
training set; prompts are never touched.

Source: the self-supervised module of Li et al. 2024 (arXiv 2409.17791). The authors' repository holds no code, so the
rule of removal, the number of degrees and the pooling are ours.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.tokens.token_pair import TokenPair
from diffalign.sharing.atomic import write_atomically

DEGREE = "degree_head.safetensors"
"""The file of the head, beside the weights that it was trained with."""


class DegreeConfig(BaseModel):
    """How answers are thinned out.

    Args:
        removed: Share of the rarest tokens that each degree leaves out, growing from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 0.75), min_length=2)

    @model_validator(mode="after")
    def _grows(self) -> DegreeConfig:
        if self.removed[0] != 0.0 or any(a >= b for a, b in pairwise(self.removed)) or self.removed[-1] >= 1.0:
            raise ValueError(
                f"removed holds shares that grow from 0 and stay below 1; got {list(self.removed)}. "
                "Type for example: --set model.degree.removed=[0,0.25,0.5,0.75]"
            )
        return self

    def describe(self) -> str:
        """One line."""
        return (
            f"{len(self.removed)} degrees, without {', '.join(f'{share:.0%}' for share in self.removed)} of the tokens"
        )


class Rarity:
    """In how many answers of a data set each token occurs."""

    def __init__(self) -> None:
        self.answers = 0
        self._found: Counter[int] = Counter()

    def add(self, question: TokenPair) -> None:
        """Counts a question's answers."""
        for response in question.responses:
            self.answers += 1
            self._found.update(set(response.ids))

    def of(self, token: int) -> float:
        """Of one token, 0 or more."""
        return math.log((1 + self.answers) / (1 + min(self._found[token], self.answers)))


def kept_tokens(layout: Layout, rarity: Rarity, removed: tuple[float, ...]) -> Tensor:
    """``(N, K)`` of booleans: which of a layout's scored tokens each degree keeps; the rarest go first, of equally rare
    ones the later, and one token at least stays."""
    targets, kept, start = layout.targets.tolist(), [], 0
    for length in layout.lengths:
        tokens = targets[start : start + length]
        order = sorted(range(length), key=lambda k: (rarity.of(tokens[k]), k), reverse=True)
        rank = {place: number for number, place in enumerate(order)}
        gone = [min(int(share * length), length - 1) for share in removed]
        kept += [[rank[k] >= count for count in gone] for k in range(length)]
        start += length
    return torch.tensor(kept, device=layout.ids.device)


class Graded(NamedTuple):
    """What a network says of tokens and of degrees.

    Args:
        logps: ``(N,)``, the scored tokens' log-probabilities.
        cost: ``(responses,)``, mean cross entropy over the degrees.
        right: ``(responses,)``, share of the degrees that were told right.
    """

    logps: Tensor
    cost: Tensor
    right: Tensor


class DegreeHead(nn.Module):
    """Tells degrees apart.

    Args:
        width: Of the states.
        degrees: K.
    """

    def __init__(self, width: int, degrees: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, degrees)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor, owners: Tensor, kept: Tensor, responses: int) -> tuple[Tensor, Tensor]:
        """``(cost, right)``, each ``(responses,)`` float32: the mean cross entropy over degrees, and the share that the
        head tells right.

        Args:
            states: ``(N, D)``, one per scored token.
            owners: ``(N,)``, the response of each.
            kept: ``(N, K)``, see :func:`kept_tokens`.
            responses: How many there are.
        """
        states, mask = states.float(), kept.to(torch.float32)
        weighed = states[:, None, :] * mask[:, :, None]
        sums = states.new_zeros(responses, mask.shape[1], states.shape[1]).index_add(0, owners, weighed)
        counts = mask.new_zeros(responses, mask.shape[1]).index_add(0, owners, mask)
        logits = self.linear.float()(self.norm.float()(sums / counts.clamp(min=1.0)[..., None]))
        labels = torch.arange(mask.shape[1], device=logits.device).expand(responses, -1)
        cost = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
        return cost, (logits.argmax(2) == labels).float().mean(1)


def save_head(head: DegreeHead, folder: Path) -> Path:
    """Writes the head beside the weights in ``folder``."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().float().cpu().contiguous() for name, value in head.state_dict().items()}
    return write_atomically(Path(folder) / DEGREE, lambda path: save_file(tensors, path, metadata={"format": "pt"}))
