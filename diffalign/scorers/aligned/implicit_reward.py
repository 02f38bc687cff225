"""A policy's implicit reward: what an aligned model learnt to prefer, read off against the model that it started from.

    score_b = beta (log p(x_b | c_b) - log p_base(x_b | c_b)),      difference of two scores = logit of "the first wins"

The policy that maximises a reward r at the price beta of leaving its base has this score as r, up to a constant per
prompt (Rafailov et al. 2023, arXiv 2305.18290, eq. 5). So scores of one prompt are comparable, scores of two prompts
are not. A denoiser's log-probability is minus half its squared error, at the levels of its evaluation and at one noise
for all samples. beta is the one that the adapter states, and 1 where it states none.

Do not judge a policy by its own implicit reward: it is what training raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import encode_clip
from diffalign.policies.policy import Policy
from diffalign.policies.sample_logps import sample_logps
from diffalign.scorers.aligned.aligned_source import find_aligned
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count, state_hash
from diffalign.scorers.texts.text_input import as_answer


class ImplicitReward(ComparesByScore):
    """An aligned policy as a scorer.

    Args:
        policy: The policy with its base as the reference.
        beta: Factor on logratios.
        name: Its name in reports.
        batch_size: Samples per forward pass; the scores do not depend on it.
    """

    unit = "beta times logratio"
    range = (float("-inf"), float("inf"))
    license = "see the model's page"
    paper = "arXiv 2305.18290"
    preprocessing = "as the policy was trained"
    logits_per_unit = 1.0

    def __init__(
        self, policy: Policy, beta: float = 1.0, *, name: str = "implicit_reward", batch_size: int = 8
    ) -> None:
        self.policy, self.beta, self.name, self.batch_size = policy, beta, name, batch_size
        self.medium = policy.medium
        policy.module.requires_grad_(False)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> ImplicitReward:
        """Loads ``RUN``, ``ADAPTER`` or ``ADAPTER:BASE``.

        Raises:
            UserError: There is none, its base is not known, or they do not fit.
        """
        found = find_aligned(argument)
        return cls(found.open(device), found.beta, name=f"implicit_reward:{argument}")

    @cached_property
    def weights(self) -> str:
        """Hash of the base, of what was trained, and of beta."""
        parts = f"{self.policy.fingerprint()} {state_hash(self.policy.state())} {self.beta}"
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def score(self, prompts: Sequence[Any], samples: Sequence[Any]) -> Tensor:
        """Returns beta times the logratios, ``(B,)`` float32; 0 for an empty answer, which has no tokens."""
        check_prompt_count(prompts, samples)
        contents = [_as_content(sample, self.medium) for sample in samples]
        found = sample_logps(self.policy, prompts, contents, batch=self.batch_size, same_noise=True)
        scores = torch.zeros(len(contents), dtype=torch.float64)
        scores[list(found.indices)] = self.beta * torch.tensor(found.logratios, dtype=torch.float64)
        return scores.float()


def _as_content(sample: Any, medium: str) -> Any:
    """Returns a sample as data sets hold it: text, path, bytes or handle."""
    if medium == "text":
        return as_answer(sample)
    if isinstance(sample, Clip):
        return encode_clip(sample)
    if isinstance(sample, (Image.Image, np.ndarray)):
        file = BytesIO()
        as_rgb(sample).save(file, format="PNG")
        return file.getvalue()
    return Path(sample) if isinstance(sample, str) else sample
