"""Generates and counts the answers of a policy, as texts or as candidates of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.devices.halving import Pieces
from diffalign.policies.language.generation.decode import decode_answers
from diffalign.policies.language.generation.generate_answers import NetworkContext, answer_ids
from diffalign.policies.language.network.network import LanguageNetwork
from diffalign.policies.language.scoring.compute_cost import TokenCounts
from diffalign.policies.language.tokens.tokenize import PairTokenizer


class TextGenerator:
    """Answers prompts with a network that is given for each call.

    Args:
        pair_tokenizer: Tokenises prompts.
        counts: Counts the generated tokens.
        base_is_separate: Whether the base network is another one than the policy's, not the same with its adapter off.
    """

    def __init__(self, pair_tokenizer: PairTokenizer, counts: TokenCounts, *, base_is_separate: bool) -> None:
        self._pair_tokenizer, self._counts, self._base_is_separate = pair_tokenizer, counts, base_is_separate

    def texts(
        self,
        network: LanguageNetwork,
        prompts: Sequence[Text],
        seeds: Sequence[int],
        base: NetworkContext | None,
        **settings: Any,
    ) -> list[str]:
        """Returns one answer per prompt and seed. Settings are those of :class:`TextSampling`; beam search over rewards
        needs ``base``.
        """
        answers = self._answer_ids(network, prompts, seeds, base, **settings)
        raw = settings.get("raw", False)
        return decode_answers(network.model, self._pair_tokenizer, prompts, answers, raw=raw)

    def candidates(
        self,
        network: LanguageNetwork,
        prompts: Sequence[Text],
        seeds: Sequence[int],
        store: TensorCache,
        keys: Sequence[str],
        **settings: Any,
    ) -> list[Media]:
        """Stores the tokens of one answer per prompt under each key; they are never decoded and tokenised again.

        A plain prompt is continued as it is, as in the plain rows of a dataset.
        """
        answers = self._answer_ids(network, prompts, seeds, None, **{**settings, "raw": True})
        store.put_many({key: {"ids": torch.tensor(ids)} for key, ids in zip(keys, answers, strict=True)})
        return [CachedCandidate(str(store.root), store.maker, key) for key in keys]

    def _answer_ids(
        self,
        network: LanguageNetwork,
        prompts: Sequence[Text],
        seeds: Sequence[int],
        base: NetworkContext | None,
        **settings: Any,
    ) -> list[list[int]]:
        def answer(part: list[tuple[Text, int]]) -> list[list[int]]:
            return answer_ids(
                network,
                self._pair_tokenizer,
                [prompt for prompt, _ in part],
                [seed for _, seed in part],
                base=base,
                base_is_separate=self._base_is_separate,
                **settings,
            )

        pieces = Pieces("texts are sampled", len(prompts))
        answers = list(pieces.each(zip(prompts, seeds, strict=True), answer))
        self._counts.sampling += sum(map(len, answers))
        return answers
