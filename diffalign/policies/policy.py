"""The policy interface: what training and evaluation need from a model together with its reference.

A policy turns pairs into log-probabilities, under its trainable weights and under a reference:

    pairs --encode--> tensors --logps, reference_logps--> one log-probability per candidate, each ``(B,)``

``B`` is the number of pairs in a batch. The loss and the loop are the same for images, videos and texts. A policy has
no random state: randomness is an argument, a :class:`~diffalign.randomness.Draw`.

:class:`Policy` holds what every model implements, in the order in which a run uses it. The small protocols at the end
are optional abilities; a caller checks for them with ``isinstance``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import LatentSpace
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.devices.processes import Processes
from diffalign.losses.candidate_logps import CandidateLogps
from diffalign.named_choice import Choice
from diffalign.policies.latent_noise import LatentNoise
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.stages import SupportsStages
from diffalign.randomness import Draw
from diffalign.sharing.card import Card

Progress = Callable[[str, int, int], None]
"""``progress(label, done, total)``, called in the course of a long computation."""

Plan = Sequence[tuple[int, int]]
"""``(index into pairs, visit)``, one for each time that a run will train on a pair; visits count from 0."""


def no_progress(label: str, done: int, total: int) -> None:
    """Ignores progress."""


@dataclass(frozen=True)
class BatchLogps:
    """Log-probabilities of a batch's candidates under one model.

    Args:
        candidates: One :class:`CandidateLogps` per answer of a pair, in the order of ``Pair.answers``: chosen, rejected
            where there is one, then further answers. Each tensor has ``B`` rows.
        info: Diagnostics, each ``(B,)``. ``"level"`` is each pair's noise level as a share of the schedule, [0, 1).
    """

    candidates: tuple[CandidateLogps, ...]
    info: Mapping[str, Tensor] = field(default_factory=dict)


class ComputeCounts(Protocol):
    """Forward passes by purpose, counted since the policy was loaded: the cost of a method on any machine."""

    def as_dict(self) -> dict[str, int]:
        """Returns the counts by purpose. ``"forwards"`` is their total, where a pass with gradient counts three."""

    def summary(self) -> str:
        """Returns one line for the end of a run."""


@runtime_checkable
class Policy(Protocol):
    """A model that is trained, with its reference."""

    module: nn.Module
    """The network that is trained. The loop may replace it by a distributed wrapper of the same network."""

    medium: str
    """What a sample is: ``"image"``, ``"video"`` or ``"text"``."""

    eval_draws: int
    """Number of draws over which the log-probabilities of a held-out pair are averaged; 1 if they are not random."""

    @property
    def reference_kind(self) -> str:
        """``"adapter_off"``, ``"copy"``, ``"stored"`` (see `references`); ``"earlier"`` after :meth:`set_reference`."""

    @property
    def forward_counts(self) -> ComputeCounts:
        """The forward passes so far."""

    def describe(self) -> dict[str, str]:
        """Returns rows for the header of a run: model, adapter, trainable parameters, reference, cache."""

    def fingerprint(self) -> str:
        """Returns a hash of the base weights and of every setting that changes log-probabilities or cached tensors.

        Training does not change it, so it identifies what was computed before training.
        """

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the parameters that the optimizer updates, by their name in the unwrapped network."""

    def show(self, pair: Pair) -> str:
        """Returns a pair as the network will read it, for people to check before training."""

    def prepare(self, pairs: Sequence[Pair], progress: Progress) -> list[str]:
        """Checks every pair, caches what is encoded only once (latents, prompt embeddings) and releases the encoders.

        An interrupted call resumes. Returns lines to report, for example how many texts were truncated.
        """

    def prepare_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> int:
        """Computes and stores what training will need from the reference, if the model's configuration says so.

        Call it before the first step, in the autocast of training, and after a resume before :meth:`load_state`.
        Values that an earlier call or run has stored are not computed again.

        Args:
            pairs: The pairs that ``plan`` indexes.
            plan: The visits that the run will make.
            seed: The run's seed, as in its draws.
            batch: Pairs per forward pass. With the size of a training micro-batch the rounding is the same.
            progress: Called after each batch.
            prompts: As in :meth:`encode`.

        Returns:
            The number of values that were computed; 0 if nothing is to be stored.
        """

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """Returns a permutation of a batch in which pairs that share computation are neighbours.

        Micro-batches are consecutive parts of it.
        """

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> Any:
        """Returns the tensors of a batch, on the device. Their type belongs to the policy.

        Args:
            pairs: ``B`` pairs with answers for the same roles.
            prompts: Whether log-probabilities of the prompts are needed too. Denoisers have none and ignore it.
        """

    def reference_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """Returns the log-probabilities under the reference, each ``(B,)`` float32, without gradient."""

    def logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """Returns the log-probabilities under the policy, each ``(B,)`` float32, with gradient.

        Row b depends on pair b and on draw b only. A fresh adapter gives exactly the numbers of the reference.
        """

    def compare_parts(self, encoded: Any, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Returns the log-probabilities of policy and reference part by part (tokens, or positions of a latent).

        The numbers are those of :meth:`logps` and :meth:`reference_logps`. In addition both sides have ``parts``
        ``(B, N)``. The policy's side has their ``divergence`` from the reference, ``(B, N)``, the ``masks`` that the
        model's configuration defines, ``(2, B, N)``, and the diagnostics of `divergence_and_mask_metrics`. Positions
        are in the orientation in which the image is stored.

        Raises:
            ConfigError: The reference is stored as numbers per candidate, which have no parts.
        """

    def set_reference(self, state: Mapping[str, Tensor] | None) -> None:
        """Makes the network with these trainable tensors the reference; None: that of the beginning again. The policy's
        own tensors stay as they are.

        Raises:
            ConfigError: The configuration stores results of one fixed reference.
        """

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors, for losses that compare with an earlier policy."""

    def previous_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """Returns the log-probabilities under the tensors of :meth:`set_previous`, without gradient."""

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second set of trained weights on the same base; it becomes part of :meth:`trainable`.

        Raises:
            ConfigError: There is no adapter, or activations are checkpointed.
        """

    def second_adapter_logps(self, encoded: Any, draw: Draw) -> BatchLogps:
        """Returns the log-probabilities under the second adapter, with gradient."""

    def state(self) -> dict[str, Tensor]:
        """Returns copies of the trainable tensors, by name, on the CPU: the policy's part of a checkpoint."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores the tensors of :meth:`state` exactly. Raises RunError if a name or a shape differs."""

    def sampling(self) -> AbstractContextManager[Any]:
        """Keeps the modules that sampling needs (text encoders, decoder) loaded within the block."""

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[Any]:
        """Returns one sample per prompt and seed.

        Args:
            prompts: One for each sample.
            seeds: One for each sample. A sample depends on its prompt, seed and settings, not on the rest of the batch.
            reference: Sample from the model that the policy started from, also after :meth:`set_reference`.
            settings: Sampling settings of the model's kind, see `model_kinds`.
        """

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """Returns the prompt as :meth:`sample` formats it: for a chat model a plain text becomes the user's turn."""

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
        """Samples candidates for training and stores them in the form that :meth:`encode` reads.

        Args:
            prompts, seeds: As in :meth:`sample`.
            store: Where the candidates are kept.
            keys: One name in ``store`` for each sample.
            reference: Sample from the current reference.
            settings: Settings of candidates of the model's kind, see `model_kinds`.
        """

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes the files to share (an adapter with the metadata ``about``, or full weights), returns their path."""

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes the model card for the result of :meth:`save` and returns its path."""


@runtime_checkable
class LatentPolicy(Protocol):
    """A policy whose log-probabilities are errors at noisy latents (every denoiser)."""

    @property
    def latent_elements(self) -> int:
        """Numbers in one latent: the ratio of the sum of squared errors to their mean."""

    @property
    def latents_refresh_every(self) -> int:
        """Optimizer steps for which inverted latents are kept; 0 if the policy inverts at each step or never."""

    def refresh_latents(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        folder: Path,
        number: int,
        batch: int = 8,
        progress: Progress = no_progress,
    ) -> int:
        """Inverts the images of all visits of one window of steps with the policy's current weights.

        An interrupted call resumes, if the weights are the same.

        Args:
            pairs, plan, seed, batch, progress: As in :meth:`Policy.prepare_reference`.
            folder: Where the latents are kept.
            number: Which window it is, from 0.

        Returns:
            The number of visits that were inverted.
        """


@runtime_checkable
class SupportsKeptLatents(Protocol):
    """A policy that scores an image at the latent that it was decoded from, where that was kept (`data.latents`)."""

    def latent_space(self) -> LatentSpace:
        """Returns what decides what an image's latent is: the autoencoder and its scale."""

    def check_kept_latents(self, pairs: Sequence[Pair]) -> None:
        """Raises ConfigError or DataError where kept latents among the candidates are not of this model."""

    def sample_with_latents(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> tuple[list[Any], list[Tensor]]:
        """Returns :meth:`Policy.sample` and the scaled latent ``(C, ...)`` of each sample, float32 on the CPU."""


@runtime_checkable
class SupportsTrialForward(Protocol):
    """A policy whose forward pass can be followed before anything is encoded, to know the memory that it takes."""

    def trial_forward(self, pairs: Sequence[Pair], needs: Collection[str]) -> Callable[[nn.Module], Tensor]:
        """Returns a function that computes with a network like ``module`` the sum of a batch's log-probabilities.

        Args:
            pairs: The batch. The function's tensors have the shapes of its tensors, but not always their values.
            needs: What the loss reads, see `Loss.needs`.
        """


@runtime_checkable
class SupportsTokenCounts(Protocol):
    """A policy whose examples have lengths, so that micro-batches can be cut by tokens."""

    def token_counts(self, pairs: Sequence[Pair]) -> list[int]:
        """Returns the tokens of each pair: its prompt once, and all its answers."""


@runtime_checkable
class SupportsSharedPreparation(Protocol):
    """A policy whose results before training can be computed by several processes, each a share, into one store."""

    def prepare_share(self, pairs: Sequence[Pair], processes: Processes, progress: Progress) -> None:
        """Computes this process's share of what :meth:`Policy.prepare` stores. All processes call it at once, then wait
        for each other; after that :meth:`Policy.prepare` finds everything.
        """

    def prepare_reference_share(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        processes: Processes,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> None:
        """Likewise for :meth:`Policy.prepare_reference`, in its autocast."""


@dataclass(frozen=True)
class TrialStage:
    """A stage of a run outside of the update, to know its memory before it runs.

    Args:
        parts: The parts that compute, names of :meth:`SupportsPlan.parts`.
        at_once: What is computed at once, such as ``"8 images"``.
        run: Computes as the stage does, with a network like ``module``, on tensors without a meaning.
    """

    parts: tuple[str, ...]
    at_once: str
    run: Callable[[nn.Module], object]


@runtime_checkable
class SupportsPlan(SupportsTrialForward, SupportsStages, Protocol):
    """A policy that says what its stages hold and compute. It does not ask what fits."""

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Returns the modules by part: ``"network"`` (with its adapter), and those that are frozen beside it."""

    @property
    def reference_bytes(self) -> int:
        """Bytes of a reference that is kept beside the network in training."""

    def trial_stages(self, prompts: Sequence[Text], settings: Mapping[str, Any]) -> Mapping[str, TrialStage]:
        """Returns the stages ``"encode"`` and ``"sample"``, those that a run can have.

        Args:
            prompts: Of the samples that are drawn together, one for each.
            settings: Their sampling settings.
        """

    def cached_bytes(self, pairs: Sequence[Pair]) -> int:
        """Returns about how many bytes on disk the results take that are computed once for these pairs."""


@runtime_checkable
class SupportsNoiseProbe(Protocol):
    """A policy whose noisy latents can be measured on a few pairs. A probe changes nothing and keeps nothing."""

    @property
    def inverts(self) -> bool:
        """Whether candidates are scored at latents that a network finds; otherwise their noise is plain noise."""

    def latent_noise(self, pairs: Sequence[Pair], latents: Choice | None = None, batch: int = 8) -> LatentNoise:
        """Returns the rms of the latents' noise by level, and its cosine with the noise of seeds.

        Args:
            pairs: A few pairs, with answers for the same roles.
            latents: How the latents are found; None: as in training.
            batch: Pairs at a time.
        """

    def forward_errors(self, pairs: Sequence[Pair], batch: int = 8) -> list[float]:
        """Returns each pair's mean error under the policy at forward latents, the same levels and noises each time."""


@runtime_checkable
class SupportsRoundtrip(Protocol):
    """A policy with an autoencoder, through which candidates can be sent."""

    def roundtrip_candidates(self, media: Sequence[Media], store: TensorCache, keys: Sequence[str]) -> None:
        """Decodes the latents of candidates and encodes them again, and stores the result under their keys in the form
        that :meth:`Policy.encode` reads.
        """


@runtime_checkable
class SupportsShownCandidates(Protocol):
    """A policy whose sampled candidates can be shown to people and to judges."""

    def show_candidates(self, candidates: Sequence[CachedCandidate], prompts: Sequence[Text]) -> list[Any]:
        """Returns candidates of :meth:`Policy.make_candidates` as what they are: images, clips or texts.

        Args:
            candidates: The candidates.
            prompts: The prompt of each.
        """


@runtime_checkable
class SupportsSteps(Protocol):
    """A policy whose answers have steps, such as the lines of a solution, for losses that compare steps."""

    def with_steps(self, encoded: Any, scored: BatchLogps) -> BatchLogps:
        """Returns ``scored`` with the ``steps`` of each candidate and the network's ``states`` of them, no gradient."""


@runtime_checkable
class SupportsContentDegree(Protocol):
    """A policy with a head that detects how much of an answer's content was removed."""

    def logps_with_degree(self, encoded: Any, draw: Draw) -> tuple[BatchLogps, Tensor]:
        """Returns :meth:`Policy.logps`, and ``(B,)`` the log-probability that the head finds the right degree."""
