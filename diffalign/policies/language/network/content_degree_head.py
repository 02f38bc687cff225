"""A head that predicts, from the policy's own states, how much of an answer's key content was removed.

    z_k = mean of the states over the tokens that are left when the rarest rho_k of a response's tokens are removed
    cost = mean over degrees k of cross entropy(head(z_k), k),      head = linear after a layer norm, K classes

The states are those that predict the scored tokens, of the policy, with gradient. Removing a token leaves it out of the
mean, so one forward pass serves all degrees. A token's rarity is ``log (1 + answers) / (1 + answers that have it)``
over the training set; prompts are never touched.

Source: the self-supervised module of Li et al. 2024 (arXiv 2409.17791). The authors' repository holds no code, so the
rule of removal, the number of degrees and the pooling are ours.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.files.atomic import write_atomically
from diffalign.policies.language.network.layout import Layout
from diffalign.policies.language.tokens.token_pair import TokenPair

DEGREE_FILE = "degree_head.safetensors"
"""The file of the head, next to the weights that it was trained with."""


class TokenRarity:
    """Counts in how many answers of a dataset each token occurs."""

    def __init__(self) -> None:
        self.answers = 0
        self._answers_with: Counter[int] = Counter()

    def add(self, token_pair: TokenPair) -> None:
        """Counts the answers of a token pair."""
        for response in token_pair.responses:
            self.answers += 1
            self._answers_with.update(set(response.ids))

    def of(self, token: int) -> float:
        """Returns the rarity of a token, 0 or more."""
        return math.log((1 + self.answers) / (1 + min(self._answers_with[token], self.answers)))


def kept_tokens(layout: Layout, rarity: TokenRarity, removed: tuple[float, ...]) -> Tensor:
    """Returns ``(N, K)`` booleans: which scored tokens of responses each degree keeps.

    The rarest are removed first, the later of equally rare ones. At least one token stays.
    """
    targets, kept, start = layout.targets.tolist(), [], 0
    for length in layout.lengths:
        tokens = targets[start : start + length]
        order = sorted(range(length), key=lambda k: (rarity.of(tokens[k]), k), reverse=True)
        rank = {position: number for number, position in enumerate(order)}
        removed_counts = [min(int(share * length), length - 1) for share in removed]
        kept += [[rank[k] >= count for count in removed_counts] for k in range(length)]
        start += length
    return torch.tensor(kept, device=layout.ids.device)


class LogpsAndDegree(NamedTuple):
    """Output of a network with a degree head.

    Args:
        logps: ``(N,)``, log-probabilities of the scored tokens.
        cost: ``(responses,)``, mean cross entropy over the degrees.
        accuracy: ``(responses,)``, share of the degrees that were predicted right.
    """

    logps: Tensor
    cost: Tensor
    accuracy: Tensor


class DegreeHead(nn.Module):
    """Classifies degrees of removed content.

    Args:
        width: Size of a state.
        degrees: K.
    """

    def __init__(self, width: int, degrees: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, degrees)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor, response_index: Tensor, kept: Tensor, responses: int) -> tuple[Tensor, Tensor]:
        """Returns ``(cost, accuracy)``, each ``(responses,)`` float32, averaged over degrees.

        Args:
            states: ``(N, D)``, one per scored token.
            response_index: ``(N,)``, the response of each.
            kept: ``(N, K)``, see :func:`kept_tokens`.
            responses: Number of responses.
        """
        states, mask = states.float(), kept.to(torch.float32)
        weighted = states[:, None, :] * mask[:, :, None]
        sums = states.new_zeros(responses, mask.shape[1], states.shape[1]).index_add(0, response_index, weighted)
        counts = mask.new_zeros(responses, mask.shape[1]).index_add(0, response_index, mask)
        logits = self.linear.float()(self.norm.float()(sums / counts.clamp(min=1.0)[..., None]))
        labels = torch.arange(mask.shape[1], device=logits.device).expand(responses, -1)
        cost = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
        return cost, (logits.argmax(2) == labels).float().mean(1)


def save_head(head: DegreeHead, folder: Path) -> Path:
    """Writes the head next to the weights in ``folder``."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().float().cpu().contiguous() for name, value in head.state_dict().items()}
    return write_atomically(
        Path(folder) / DEGREE_FILE, lambda path: save_file(tensors, path, metadata={"format": "pt"})
    )
