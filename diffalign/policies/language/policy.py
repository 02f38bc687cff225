"""The language policy: a causal language model with its reference and sampler, behind the seam of `policy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.devices.budget import format_bytes, module_bytes
from diffalign.errors import ConfigError
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.answer import Base, answered
from diffalign.policies.language.generation.generate import spelled
from diffalign.policies.language.network.content_degree_head import Rarity, save_head
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.network.token_masks import load_masks, save_masks
from diffalign.policies.language.scoring.batch import encode_pairs
from diffalign.policies.language.scoring.score import EncodedTexts, PolicyAndReference
from diffalign.policies.language.scoring.step_states import Steps, with_steps
from diffalign.policies.language.scoring.token_counts import TokenCounts
from diffalign.policies.language.tokens.render_pair import shown
from diffalign.policies.language.tokens.tokenize import Tokens
from diffalign.policies.module_utils import unwrap, weights_digest
from diffalign.policies.policy import BatchLogps, Plan, Progress, no_progress
from diffalign.policies.second_adapter import SecondAdapter
from diffalign.policies.trainable import Trainable
from diffalign.quiet import quiet
from diffalign.randomness import Draw
from diffalign.sharing.atomic import replace_folder
from diffalign.sharing.card import Card, write_card
from diffalign.sharing.card_templates import language_style
from diffalign.sharing.peft_folder import find_peft, load_peft, save_peft
from diffalign.sharing.public_name import public_name


class LanguagePolicy:
    """Implements :class:`~diffalign.policies.policy.Policy` for texts. Built by `load.load_policy`.

    Args:
        module: The network, its adapter added (or all its weights in float32), on its device.
        tokens: Turns texts into tokens.
        config: What it was built from.
        load_base: Loads the network once more, frozen.
        notes: Lines for the header.
    """

    medium = "text"
    eval_draws = 1

    def __init__(
        self,
        module: LanguageNetwork,
        tokens: Tokens,
        config: LanguageConfig,
        load_base: Callable[[], nn.Module],
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.module: nn.Module = module
        self.config = config
        self.tokens = tokens
        self.device: torch.device = next(module.parameters()).device
        self.base_fingerprint = weights_digest([module.model])
        self._notes = dict(notes or {})
        self._trainable = Trainable(module)
        self._rarity, self._steps = Rarity(), Steps(tokens.spell, tokens.ends)
        self._policy_and_reference = PolicyAndReference(
            lambda: self.module, self._trainable.parameters, config, self.fingerprint(), load_base
        )

    @property
    def forward_counts(self) -> TokenCounts:
        """What the network has computed so far."""
        return self._policy_and_reference.counts

    @property
    def reference_kind(self) -> str:
        """Kind of the reference: ``"adapter_off"``, ``"copy"``, ``"stored"`` or ``"earlier"``."""
        return self._policy_and_reference.reference_kind

    def describe(self) -> dict[str, str]:
        """Model, what trains, reference, and how texts are read and computed, each in words."""
        network = unwrap(self.module)
        total = sum(parameter.numel() for parameter in network.parameters())
        adapter, config = self.config.adapter, self.config
        return {
            "model": f"{public_name(config.path)} ({format_bytes(module_bytes(network))} of weights)",
            "trains": "every weight of the model" if adapter is None else adapter.describe(),
            "parameters": f"{self._trainable.count:,} trainable of {total:,}",
            "reference": self._policy_and_reference.reference.describe(),
            "texts": self.tokens.describe(),
            **({} if config.masks is None else {"masks": config.masks.describe()}),
            **({} if config.degree is None else {"degrees": config.degree.describe()}),
            **self._notes,
        }

    def fingerprint(self) -> str:
        """Identity of the base weights and of the rules by which texts become tokens."""
        return content_key(self.base_fingerprint, self.tokens.fingerprint(), self.config.dtype)

    def prepare(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> list[str]:
        """Reads every pair once, so that what cannot be trained on is told before training, and tells what was cut."""
        self._rarity = Rarity()
        also = self._rarity.add if self.config.degree is not None else None
        cuts = self.tokens.survey(pairs, lambda read: progress("read texts", read, len(pairs)), also)
        return [f"texts: {cuts.summary()}"]

    def show(self, pair: Pair) -> str:
        """Prompt and candidates as decoded tokens, what is scored between ``[[`` and ``]]``."""
        return shown(self.tokens, pair)

    def microbatch_order(self, pairs: Sequence[Pair]) -> list[int]:
        """Pairs of one prompt side by side, short ones before long ones."""
        sizes = {pair.prompt: 0 for pair in pairs}
        for pair in pairs:
            longest = max(len(str(answer.candidate)) for answer in pair.answers.values())
            sizes[pair.prompt] = max(sizes[pair.prompt], longest)
        first = {prompt: number for number, prompt in enumerate(sizes)}
        keys = [(len(str(p.prompt)) + sizes[p.prompt], first[p.prompt]) for p in pairs]
        return sorted(range(len(pairs)), key=lambda index: keys[index])

    def encode(self, pairs: Sequence[Pair], prompts: bool = False) -> EncodedTexts:
        """Tokens of a batch, on the device; ``prompts``: those of its prompts are scored as well. Raises DataError for
        pairs with other answers than the batch's first."""
        return encode_pairs(self.tokens, pairs, self.device, prompts=prompts)

    def logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Scores under the policy, with gradient. Nothing of them is drawn."""
        return self._policy_and_reference.policy_logps(encoded)

    def with_steps(self, encoded: EncodedTexts, scored: BatchLogps) -> BatchLogps:
        """The scores with each answer's steps, and the policy's states of these."""
        network: Any = unwrap(self.module)
        return with_steps(scored, network, encoded, self._steps)

    def logps_with_degree(self, encoded: EncodedTexts, draw: Draw) -> tuple[BatchLogps, Tensor]:
        """The same, and ``(B,)`` the log-probability of telling right how much of the answers is missing."""
        return self._policy_and_reference.logps_with_degree(encoded, self._rarity)

    def reference_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Scores under the reference: looked up where they are stored, else computed."""
        return self._policy_and_reference.reference_logps(encoded)

    def compare_parts(self, encoded: EncodedTexts, draw: Draw) -> tuple[BatchLogps, BatchLogps]:
        """Scores under policy and reference, and how far apart the two are at each token."""
        return self._policy_and_reference.compare_parts(encoded)

    def prepare_reference(
        self,
        pairs: Sequence[Pair],
        plan: Plan,
        seed: int,
        batch: int = 8,
        progress: Progress = no_progress,
        prompts: bool = False,
    ) -> int:
        """Computes and stores what the reference says of the planned pairs, where it is stored, of their ``prompts``
        too where a loss reads them; returns of how many responses (and prompts). Arguments as those of the image
        policy; the visit makes no difference to a text."""
        if self.reference_kind != "stored":
            return 0
        met, fresh = sorted({index for index, _ in plan}), 0
        parts = [met[start : start + batch] for start in range(0, len(met), batch)]
        batches = (self.encode([pairs[index] for index in part], prompts) for part in parts)
        for number, count in enumerate(self._policy_and_reference.store(batches), 1):
            fresh += count
            progress("reference", min(number * batch, len(met)), len(met))
        return fresh

    def set_reference(self, state: Mapping[str, Tensor]) -> None:
        """From now on the reference is the network with these trainable tensors. Raises ConfigError where its numbers
        were to be stored."""
        self._policy_and_reference.set_reference(state)

    def set_previous(self, state: Mapping[str, Tensor]) -> None:
        """Keeps the network with these trainable tensors for losses that read the policy as it was."""
        self._policy_and_reference.set_previous(state)

    def previous_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Scores under the policy as it was held, without gradient."""
        return self._policy_and_reference.previous_logps(encoded)

    def add_second_adapter(self) -> SecondAdapter:
        """Adds a second adapter, which trains beside the first; see `weights`."""
        return self._trainable.add_second_adapter(self.config)

    def second_adapter_logps(self, encoded: EncodedTexts, draw: Draw) -> BatchLogps:
        """Scores under the second adapter, with gradient."""
        assert self._trainable.second is not None, "there is no second adapter"
        return self._policy_and_reference.second_adapter_logps(encoded, self._trainable.second)

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
        """Answers as candidates, kept in ``store`` as the tokens that were written: nothing is decoded and tokenised
        again. A plain prompt is continued as it is, as the plain rows of a data set are read."""
        lent = self._policy_and_reference.reference.network() if reference else nullcontext(unwrap(self.module))
        with lent as network:
            answered = self._write(network, prompts, seeds, **{**settings, "raw": True})
        store.put_many({key: {"ids": torch.tensor(ids)} for key, ids in zip(keys, answered, strict=True)})
        return [CachedCandidate(str(store.root), store.maker, key) for key in keys]

    def trainable(self) -> dict[str, nn.Parameter]:
        """The adapter's tensors, or every weight, by their name in the unwrapped network."""
        return dict(self._trainable.everything)

    def state(self) -> dict[str, Tensor]:
        """Copies of the trainable tensors on the CPU."""
        return self._trainable.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts trainable tensors back. Raises RunError when names or shapes are not this policy's."""
        self._trainable.load(state)

    def sampling(self) -> AbstractContextManager[Any]:
        """Nothing is put away between calls, so nothing has to stay."""
        return nullcontext()

    def sample(
        self, prompts: Sequence[Text], seeds: Sequence[int], *, reference: bool = False, **settings: Any
    ) -> list[str]:
        """Answers, one per prompt and seed; settings are those of `generate.TextSampling`. ``reference`` means the base
        model, also where an earlier checkpoint is compared with; it is searched by its own likelihood."""
        base = None if reference else self._policy_and_reference.base
        with self._policy_and_reference.base() if reference else nullcontext(unwrap(self.module)) as network:
            new = self._write(network, prompts, seeds, base, **settings)
            return spelled(network.model, self.tokens, prompts, new, raw=settings.get("raw", False))

    def format_prompt(self, prompt: Text, **settings: Any) -> Text:
        """Of a model with a chat template a plain prompt is the user's turn, unless settings say ``raw``."""
        return self.tokens.format_prompt(prompt, settings.get("raw", False))

    def save(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes an adapter's folder as peft does, or for full fine-tuning a model's; returns its path."""
        facts = {"base_model": public_name(self.config.path), "base_revision": self.config.revision, **about}
        if self.config.adapter is not None:
            network: Any = unwrap(self.module)
            path = save_peft(network.model, folder, {**facts, "base_fingerprint": self.base_fingerprint})
            if network.masks is not None:
                save_masks(network.masks, path)
            if network.degree is not None:
                save_head(network.degree, path)
            return path
        return replace_folder(Path(folder), self.write)

    def write(self, folder: Path) -> None:
        """Writes model and tokenizer as transformers reads them."""
        network: Any = unwrap(self.module)
        with quiet():
            network.model.save_pretrained(folder)
            self.tokens.tokenizer.save_pretrained(folder)
        if network.masks is not None:
            save_masks(network.masks, folder)
        if network.degree is not None:
            save_head(network.degree, folder)

    def card(self, artifact: Path, card: Card) -> Path:
        """Writes ``README.md`` into what :meth:`save` wrote."""
        style = language_style(
            public_name(self.config.path), self.config.adapter is not None, chat=self.tokens.chat.available
        )
        return write_card(artifact, style, card)

    def load_adapter(self, path: Path, *, any_base: bool = False) -> dict[str, Any]:
        """Puts a shared adapter's weights on this policy and returns what the folder says about itself."""
        if self.config.adapter is None:
            raise ConfigError("an adapter needs an adapter to load into; set model.adapter (rank as in the folder)")
        base = (self.base_fingerprint, public_name(self.config.path))
        network: Any = unwrap(self.module)
        about = load_peft(network.model, path, base=None if any_base else base)
        if network.masks is not None:
            load_masks(network.masks, find_peft(path))
        return about

    def _write(
        self, network: Any, prompts: Sequence[Text], seeds: Sequence[int], base: Base | None = None, **settings: Any
    ) -> list[list[int]]:
        apart = self.config.adapter is None
        new = answered(network, self.tokens, prompts, seeds, base=base, apart=apart, **settings)
        self.forward_counts.sampling += sum(map(len, new))
        return new
