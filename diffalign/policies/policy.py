"""The seam: a policy is the thing that is aligned, together with its reference.

Neither loss nor loop asks whether it got images, clips or text. Every method takes what it needs as an argument;
randomness comes as a :class:`~diffalign.randomness.Draw`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.randomness import Draw
from diffalign.sharing.card import Card

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``, called while something long goes on."""


def no_progress(what: str, done: int, total: int) -> None:
    """A progress that says nothing."""


@dataclass(frozen=True)
class BatchLogps:
    """Candidates' scores, and what happened while scoring.

    Args:
        candidates: One :class:`CandidateLogps` per role: chosen and rejected for pairs, one for single examples.
        info: Diagnostics, each ``(B,)``. ``"level"`` is each example's noise level as a share of the schedule, [0, 1).
    """

    candidates: tuple[CandidateLogps, ...]
    info: Mapping[str, Tensor] = field(default_factory=dict)


class Policy(Protocol):
    """What the loop needs to know of a model."""

    module: nn.Module
    """The network that is trained. The loop may replace it by a distributed wrapper of the same module."""

    medium: str
    """What a sample is: ``"image"``, ``"video"`` or ``"text"``."""

    eval_draws: int
    """At how many draws a held-out pair is judged: 1 where nothing of a judgement is drawn."""

    def describe(self) -> dict[str, str]:
        """What it is, for the run's header: model, adapter, reference, trainable parameters, cached parts."""

    def fingerprint(self) -> str:
        """Hash of the base weights and of everything that decides what a cached tensor holds."""

    def prepare(self, pairs: Sequence[Pair], progress: Progress) -> list[str]:
        """Looks at every pair, encodes what can be encoded once (latents, text embeddings), resumably, and releases the
        encoders that training does not need. Returns what there is to tell, such as what was cut."""

    def show(self, pair: Pair) -> str:
        """One pair as the network will read it, for people, before anything is trained."""

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """The order in which a batch is best cut into micro-batches: indices, those that share work side by side."""

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> Any:
        """Tensors of a batch, on the device. Opaque to everybody but the policy. ``prompts``: scores will carry the
        log-probabilities of the prompts as well, where the model gives them any (a denoiser does not)."""

    def logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """Log-probabilities of the candidates under the policy, with gradient, each ``(B,)`` float32."""

    def reference_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """The same under the reference, without gradient: adapter off, frozen copy, or stored numbers."""

    def compare_parts(self, encoded: Any, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Policy and reference side by side, for losses that look at the parts of a candidate.

        The reference is computed first, without gradient, then the policy.

        Returns:
            The policy's scores, with gradient: as of :meth:`score`, with ``parts`` (tokens; positions of a latent, in
            the orientation in which the image is stored), their ``divergence`` from the reference, and ``masks``
            where the model's section asks for some. The reference's scores: as of :meth:`reference`, with ``parts``.
            Diagnostics: ``"seq_kl/ROLE"``, the sum of a candidate's divergences, and of masks
            ``"mask/sparsity_TERM/ROLE"`` and ``"mask/mean_TERM/ROLE"`` for the terms "reward" and "divergence".

        Raises:
            ConfigError: The reference is stored: numbers, where the network itself is asked.
        """

    def set_reference(self, state: Mapping[str, Tensor]) -> None:
        """From now on the reference is the network with these trainable tensors; the policy is left as it is."""

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors for losses that read the policy as it was."""

    def previous_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """The scores under what :meth:`set_previous` kept, without gradient."""

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second set of trained weights on the same base (see `second`); it is part of :meth:`trainable`."""

    def second_adapter_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """The scores under the second set, with gradient."""

    def make_candidates(
        self,
        prompts: Sequence[Text],
        seeds: Sequence[int],
        store: TensorCache,
        keys: Sequence[str],
        *,
        reference: bool = False,
        **settings: Any,
    ) -> list[Media]:
        """Samples of its own, or of its reference, kept in ``store`` under ``keys`` in the form that training reads."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that the optimizer steps, by name."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold of the policy: the trainable tensors, by name, on the CPU."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts a checkpoint's tensors back, exactly."""

    def sampling(self) -> AbstractContextManager[Any]:
        """Within this block what sampling needs (encoders, decoder) stays at hand between calls of :meth:`sample`."""

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[Any]:
        """Candidates of its own, one per prompt. Equal seeds start from equal noise, whatever the batch. ``reference``
        asks the model that the policy started from."""

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """The prompt as :meth:`sample` puts it with these settings: of a chat model a plain one is the user's turn."""

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes what users share (an adapter file with metadata, or full weights) and returns its path."""

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes the model card beside what :meth:`save` wrote, and returns its path."""
