"""The language policy: a causal language model with its reference, behind the interface `policies.policy.Policy`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.devices.block_offload import OFFLOAD_NOTE
from diffalign.devices.device_memory import format_bytes, module_bytes
from diffalign.devices.halving import Pieces
from diffalign.devices.processes import ALONE, Processes
from diffalign.devices.quantized_linear import describe_packed
from diffalign.devices.residency import Part, Residency
from diffalign.errors import ConfigError
from diffalign.files.atomic import replace_folder
from diffalign.policies.language import saving
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.decode import decode_answers
from diffalign.policies.language.generation.generator import TextGenerator
from diffalign.policies.language.generation.settings import TextSampling
from diffalign.policies.language.generation.trial_sampling import sample_stage
from diffalign.policies.language.network.content_degree_head import LogpsAndDegree, TokenRarity, kept_tokens
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.network.token_kl import LogpsAndDivergence
from diffalign.policies.language.scoring.batch import EncodedTexts, encode_pairs, microbatch_order
from diffalign.policies.language.scoring.compute_cost import TokenCounts
from diffalign.policies.language.scoring.logps_by_role import logps_and_degree_by_role, logps_by_role
from diffalign.policies.language.scoring.reference import LanguageReference
from diffalign.policies.language.scoring.step_states import StepSplitter, with_steps
from diffalign.policies.language.tokens.show_token_pair import render_pair
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from diffalign.policies.module_utils import unwrap, weights_digest
from diffalign.policies.movable_parts import MovableReference, movable_network
from diffalign.policies.policy import BatchLogps, Plan, Progress, TrialStage, no_progress
from diffalign.policies.references import EarlierCheckpoint
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.trainable import Trainable
from diffalign.randomness import Draw
from diffalign.sharing.card import Card, write_card
from diffalign.sharing.card_templates import language_style
from diffalign.sharing.public_name import public_name
from diffalign.sharing.shared_adapter import SharedAdapter


class LanguagePolicy:
    """Implements :class:`~diffalign.policies.policy.Policy` for texts. Built by `load.load_policy`.

    Log-probabilities of texts are deterministic, so ``draw`` arguments are ignored.

    Args:
        module: The network with its adapter, or with all its weights in float32, on its device.
        pair_tokenizer: Tokenises pairs and prompts.
        config: The model's section of the recipe.
        load_base: Loads the network again, frozen.
        notes: Further lines for the header.
        base_fingerprint: Hash of the base weights as they are in their files; None: those of the module.
    """

    medium = "text"
    eval_draws = 1

    def __init__(
        self,
        module: LanguageNetwork,
        pair_tokenizer: PairTokenizer,
        config: LanguageConfig,
        load_base: Callable[[], nn.Module],
        notes: Mapping[str, str] | None = None,
        base_fingerprint: str | None = None,
    ) -> None:
        self.module: nn.Module = module
        self.config = config
        self.pair_tokenizer = pair_tokenizer
        self.device: torch.device = next(module.parameters()).device
        self.base_fingerprint = base_fingerprint or weights_digest([module.model])
        self.forward_counts = TokenCounts()
        self.reference = LanguageReference(module, config, self.fingerprint(), load_base, self.forward_counts)
        self._generator = TextGenerator(pair_tokenizer, self.forward_counts, base_is_separate=config.adapter is None)
        self._notes = dict(notes or {})
        self._trainable = Trainable(module)
        self._previous: EarlierCheckpoint | None = None
        network = movable_network(module, self._trainable, self.device, present=True)
        parts: dict[str, Part] = {"network": network, "reference": MovableReference(self.reference.current)}
        self.residency = Residency(self.device, parts)
        self._rarity, self._splitter = TokenRarity(), StepSplitter(pair_tokenizer.decode, pair_tokenizer.end_ids)

    @property
    def network(self) -> LanguageNetwork:
        """The network without distributed wrappers, on its device."""
        self.residency.bring("network")
        return cast(LanguageNetwork, unwrap(self.module))

    @property
    def reference_kind(self) -> str:
        """``"adapter_off"``, ``"copy"``, ``"stored"`` or ``"earlier"``."""
        return self.reference.kind

    def describe(self) -> dict[str, str]:
        """Returns lines for the header: model, trainable parameters, reference, and how texts are read."""
        network, config = self.network, self.config
        total = sum(parameter.numel() for parameter in network.parameters())
        return {
            "model": f"{public_name(config.path)} ({format_bytes(module_bytes(network))} of weights)",
            "trains": "every weight of the model" if config.adapter is None else config.adapter.describe(),
            **({} if config.quantize is None else {"base": describe_packed(config.quantize)}),
            **({} if config.offload is None else {"offload": OFFLOAD_NOTE}),
            "parameters": f"{self._trainable.count:,} trainable of {total:,}",
            "reference": self.reference.describe(),
            "texts": self.pair_tokenizer.describe(),
            **({} if config.masks is None else {"masks": config.masks.describe()}),
            **({} if config.degree is None else {"degrees": config.degree.describe()}),
            **self._notes,
        }

    def fingerprint(self) -> str:
        """Returns a hash of the base weights and of the rules by which texts become tokens."""
        packed = [] if self.config.quantize is None else [f"quantize {self.config.quantize}"]
        return content_key(self.base_fingerprint, self.pair_tokenizer.fingerprint(), self.config.dtype, *packed)

    def prepare(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> list[str]:
        """Tokenises every pair once, to find bad rows before training. Returns one line of statistics."""
        self._rarity = TokenRarity()
        count_rarity = self._rarity.add if self.config.degree is not None else None
        statistics = self.pair_tokenizer.scan(
            pairs, lambda done: progress("read texts", done, len(pairs)), count_rarity
        )
        unwritten = ", ".join(sorted(self.pair_tokenizer.chat.unwritten))
        note = f"; the chat template does not write {unwritten}" if unwritten else ""
        return [f"texts: {statistics.summary()}{note}"]

    def show(self, pair: Pair) -> str:
        """Returns prompt and candidates as decoded tokens, with scored ones between ``[[`` and ``]]``."""
        return render_pair(self.pair_tokenizer, pair)

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """Returns an order in which pairs of one prompt are neighbours, and short ones come before long ones."""
        return microbatch_order(pairs)

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> EncodedTexts:
        """Returns the tokens of a batch, on the device. With ``prompts`` their tokens are scored as well."""
        self.residency.bring("network")
        return encode_pairs(self.pair_tokenizer, pairs, self.device, prompts=prompts)

    def logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the policy, with gradient."""
        self._count_policy_tokens(encoded)
        return logps_by_role(self.module(encoded.layout), encoded)

    def trial_forward(self, pairs: Sequence[Pair], needs: Collection[str]) -> Callable[[nn.Module], Tensor]:
        """Returns a function that scores a batch's tokens with a network, and compares them with a reference where the
        loss needs that. A degree head is left out.
        """
        layout = self.encode(pairs, prompts="prompts" in needs).layout

        def forward(network: nn.Module) -> Tensor:
            language = cast(LanguageNetwork, network)
            if "divergence" not in needs:
                return cast(Tensor, language(layout)).sum()
            compared: LogpsAndDivergence = language(layout, language.reference_states(layout, self.config.masks))
            return compared.logps.sum() + compared.divergence.sum()

        return forward

    def token_counts(self, pairs: Sequence[Pair]) -> list[int]:
        """Returns the tokens of each pair as a packed row holds them: its prompt once, and all its answers."""
        return [len(self.encode([pair]).layout.ids) for pair in pairs]

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Returns the language model."""
        return {"network": [self.network]}

    @property
    def reference_bytes(self) -> int:
        """Bytes of a reference that is kept beside the network."""
        return self.reference.kept_bytes

    def trial_stages(self, prompts: Sequence[Text], settings: Mapping[str, Any]) -> Mapping[str, TrialStage]:
        """Returns sampling where there are prompts; texts are not encoded ahead."""
        if not prompts:
            return {}
        longest = max(len(self.pair_tokenizer.prompt_ids(prompt)) for prompt in prompts)
        new_tokens = int(settings.get("max_new_tokens") or TextSampling().max_new_tokens)
        return {"sample": sample_stage(self.network, len(prompts), longest + new_tokens)}

    def cached_bytes(self, pairs: Sequence[Pair]) -> int:
        """Returns the bytes of the numbers of a stored reference: one of four bytes for each token, at most as many as
        an answer may have; 0 where the reference is not stored.
        """
        if self.reference_kind != "stored":
            return 0
        longest = self.config.max_length or 0
        characters = sum(len(str(answer.candidate)) for pair in pairs for answer in pair.answers.values())
        answers = sum(len(pair.answers) for pair in pairs)
        return 4 * min(characters, answers * longest if longest else characters)

    def reference_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the reference, without gradient: stored ones, or computed."""
        return logps_by_role(self.reference.token_logps(encoded), encoded)

    def compare_parts(self, encoded: EncodedTexts, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Returns log-probabilities under the policy, with gradient, with the divergence from the reference and masks;
        and log-probabilities under the reference. The reference runs first.

        Raises:
            ConfigError: The reference is stored.
        """
        reference_states = self.reference.states(encoded.layout)
        self._count_policy_tokens(encoded)
        compared: LogpsAndDivergence = self.module(encoded.layout, reference_states)
        policy_logps = logps_by_role(compared.logps, encoded, compared.divergence, compared.masks)
        return policy_logps, logps_by_role(compared.reference_logps, encoded)

    def logps_with_degree(self, encoded: EncodedTexts, draw: Draw) -> tuple[BatchLogps, Tensor]:
        """Returns log-probabilities under the policy, and ``(B,)`` the mean log-probability of predicting right how
        much of a pair's answers was removed; both with gradient.

        Raises:
            ConfigError: The model has no degree head.
        """
        if self.config.degree is None:
            raise ConfigError("this loss predicts degrees, and the model has no head. Type: --set model.degree={}")
        self._count_policy_tokens(encoded)
        kept = kept_tokens(encoded.layout, self._rarity, self.config.degree.removed)
        output: LogpsAndDegree = self.module(encoded.layout, kept=kept)
        return logps_and_degree_by_role(output, encoded)

    def with_steps(self, encoded: EncodedTexts, scored: BatchLogps) -> BatchLogps:
        """Returns the log-probabilities with each answer's steps, and the policy's states of these."""
        return with_steps(scored, self.network, encoded, self._splitter)

    def prepare_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> int:
        """Stores log-probabilities of the planned pairs under the reference, if it is a stored one. Returns the number
        of responses and prompts that were computed. The visits of the plan make no difference to texts.
        """
        return self._store_reference(pairs, plan, batch, progress, prompts, ALONE)

    def prepare_share(self, pairs: Sequence[Pair], processes: Processes, progress: Progress) -> None:
        """Does nothing: texts are not encoded ahead."""

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
        """Computes and stores this process's share of what :meth:`prepare_reference` does."""
        self._store_reference(pairs, plan, batch, progress, prompts, processes)

    def _store_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        batch: int,
        progress: Progress,
        prompts: bool,
        processes: Processes,
    ) -> int:
        indices = processes.blocks(sorted({index for index, _ in plan}), batch)
        computed = 0
        with self.reference.storing() as store:

            def compute(part: list[int]) -> list[int]:
                nonlocal computed
                computed += store(self.encode([pairs[index] for index in part], prompts))
                return part

            pieces = Pieces("the reference's numbers are computed", batch)
            for done, _ in enumerate(pieces.each(indices, compute), 1):
                progress("reference", done, len(indices))
        return computed

    def set_reference(self, state: Mapping[str, Tensor] | None) -> None:
        """Makes the network with these trainable tensors the reference; None: the initial one again. Raises ConfigError
        if it is stored.
        """
        self.reference.set_state(state)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors, for losses that compare with an earlier policy."""
        self._previous = self.reference.earlier(state)

    def previous_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the tensors of :meth:`set_previous`, without gradient."""
        assert self._previous is not None, "there is no previous policy"
        return logps_by_role(self.reference.compute(self._previous, encoded.layout), encoded)

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second adapter, which trains with the first one."""
        return self._trainable.add_second_adapter(self.config)

    def second_adapter_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Returns log-probabilities under the second adapter, with gradient."""
        assert self._trainable.second is not None, "there is no second adapter"
        self.forward_counts.policy += len(encoded.layout.ids)
        return logps_by_role(self._trainable.second.network(self.network)(encoded.layout), encoded)

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
        """Samples answers and stores their tokens in ``store``, in the form that :meth:`encode` reads."""
        self.residency.bring("network")
        context = self.reference.network() if reference else nullcontext(self.network)
        with context as network:
            return self._generator.candidates(network, prompts, seeds, store, keys, **settings)

    def show_candidates(self, candidates: Sequence[CachedCandidate], prompts: Sequence[Text]) -> list[str]:
        """Returns sampled answers to these prompts as texts."""
        answers = [candidate.read()["ids"].tolist() for candidate in candidates]
        return decode_answers(self.network.model, self.pair_tokenizer, prompts, answers, raw=True)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Returns the adapter's tensors, or every weight, by their name in the unwrapped network."""
        return dict(self._trainable.everything)

    def state(self) -> dict[str, Tensor]:
        """Returns copies of the trainable tensors on the CPU."""
        return self._trainable.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores trainable tensors. Raises RunError if a name or a shape differs."""
        self._trainable.load(state)

    def sampling(self) -> AbstractContextManager[Any]:
        """Does nothing: a language model loads nothing for sampling."""
        return nullcontext()

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[str]:
        """Returns one answer per prompt and seed; settings are those of `generation.settings.TextSampling`."""
        self.residency.bring("network")
        base = None if reference else self.reference.base_network
        with self.reference.base_network() if reference else nullcontext(self.network) as network:
            return self._generator.texts(network, prompts, seeds, base, **settings)

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """Returns a prompt as :meth:`sample` formats it: with a chat template, and unless the settings say ``raw``, a
        plain text becomes the user's turn.
        """
        return self.pair_tokenizer.format_prompt(prompt, settings.get("raw", False))

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes an adapter's folder as peft does, or the whole model if every weight trains; returns its path."""
        if self.config.adapter is None:
            return replace_folder(Path(folder), self.write)
        metadata = {"base_model": public_name(self.config.path), "base_revision": self.config.revision, **about}
        return saving.save_adapter(self.network, folder, {**metadata, "base_fingerprint": self.base_fingerprint})

    def write(self, folder: Path) -> None:
        """Writes model and tokenizer as transformers does."""
        saving.save_model(self.network, self.pair_tokenizer.tokenizer, folder)

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes ``README.md`` into the folder that :meth:`save` wrote."""
        name, chat = public_name(self.config.path), self.pair_tokenizer.chat.available
        return write_card(artifact, language_style(name, self.config.adapter is not None, chat=chat), card)

    def load_adapter(self, path: Path | SharedAdapter, *, any_base: bool = False) -> dict[str, Any]:
        """Loads a shared adapter's weights and returns the folder's metadata. Raises ConfigError for another base
        model, unless ``any_base``.
        """
        if self.config.adapter is None:
            raise ConfigError(
                "cannot load an adapter into a fully fine-tuned model. Set model.adapter with the rank stored in the "
                "folder"
            )
        base = None if any_base else (self.base_fingerprint, public_name(self.config.path))
        return saving.load_adapter(self.network, path, base)

    def _count_policy_tokens(self, encoded: EncodedTexts) -> None:
        self.forward_counts.policy += len(encoded.layout.ids)
        self.forward_counts.policy_without_sharing += encoded.tokens_without_sharing
