"""Held-out pairs: whether the policy agrees with labels that it was not trained on.

Each evaluation uses the same pairs at the same noise (visits -1, -2, ..., which training never uses), so two
evaluations differ only by the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.lazy_pairs import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.devices.halving import Pieces
from diffalign.errors import ConfigError, DataError
from diffalign.labels import expected_terms, swapped_by
from diffalign.losses import Objective
from diffalign.pairs.dataset import read_dataset
from diffalign.pairs.singles import as_single_examples
from diffalign.pairs.winners import without_rejected
from diffalign.training.held_out.per_pair import PerPairMetrics
from diffalign.training.recipe.schema import Data
from diffalign.training.step.batch_order import Visit, process_share
from diffalign.training.step.forward import in_microbatch_order, pair_logps
from diffalign.training.step.gate_votes import with_gate_votes
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.micro_batch_metrics import metric_rows
from diffalign.training.step.micro_batch_step import Labeller


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not trained on."""

    pairs: Sequence[Pair]

    @staticmethod
    def read(data: Data, **options: Any) -> HeldOut | None:
        """Reads the pairs that a recipe names in ``data.eval``, with further options; returns None without."""
        if data.eval is None:
            return None
        options |= {"format": data.format, "limit": data.eval_limit, **data.options, **data.eval_options}
        try:
            dataset = read_dataset(data.eval, scores=data.eval_scores, latents=data.eval_latents, **options)
        except DataError as error:
            raise DataError(str(error).replace("data.latents", "data.eval_latents")) from error
        # Ids that no training pair has: a split often counts from zero again.
        return HeldOut(map_pairs(dataset.pairs, lambda pair: replace(pair, id=f"eval/{pair.id}")))

    def for_loss(self, loss: Objective, label: Labeller) -> HeldOut:
        """Returns the examples that the run's loss and label can evaluate: every candidate separately where the loss
        takes single examples of both kinds, only winners where it takes desirable ones.

        Raises:
            ConfigError: Single examples, where the loss compares two; none that is desirable, where it takes no other.
            DataError: A row that lacks what the label needs.
        """
        takes_singles = loss.kind == "single"
        singles = sum(pair.rejected is None for pair in self.pairs)
        if singles and not takes_singles:
            raise ConfigError(
                f"data.eval: {singles} of {len(self.pairs)} held-out rows have no rejected candidate, but the loss "
                f"'{loss.name}' compares two. Give pairs, or do without held-out ones: --set data.eval=null"
            )
        examples = self.pairs
        if takes_singles and loss.accepts_undesirable:
            examples = as_single_examples(self.pairs)
        elif takes_singles:
            examples = map_pairs(filter_pairs(self.pairs, lambda pair: pair.desirable), without_rejected)
        if not examples:
            raise ConfigError(
                f"data.eval: none of {len(self.pairs)} held-out rows is desirable, but the loss '{loss.name}' looks at "
                "no other. Do without: --set data.eval=null"
            )
        try:
            label(examples)
        except DataError as error:
            raise DataError(f"data.eval: {error} For held-out pairs the setting is data.eval_scores.") from None
        return HeldOut(examples)

    def visits(self, eval_draws: int, first: int = 0) -> list[Visit]:
        """Returns the visits of one evaluation, ``eval_draws`` of each pair.

        Args:
            eval_draws: Draws per pair.
            first: Index of the first held-out pair.
        """
        return [(first + k, -1 - draw) for draw in range(eval_draws) for k in range(len(self.pairs))]

    @torch.no_grad()
    def evaluate(self, run: GradientComputer, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Returns metrics over the held-out pairs, named ``eval_...``; ``eval_pairs`` is their number."""
        metrics, per_pair = Metrics(run.loss), PerPairMetrics(len(self.pairs), run.loss)
        visits = self.visits(run.policy.eval_draws)
        numbers = run.batch_numbers(self.pairs, visits)
        local = process_share(visits, run.accelerator.process_index, run.accelerator.num_processes)

        def evaluate(micro_batch: list[Visit]) -> list[Visit]:
            pairs, visit_numbers = [self.pairs[index] for index, _ in micro_batch], [visit for _, visit in micro_batch]
            label = with_gate_votes(run, run.label(pairs), pairs, visit_numbers)
            logps, info = pair_logps(run, pairs, visit_numbers, numbers)
            labelled = swapped_by(logps, label)
            metrics.add(metric_rows(run.loss, labelled, expected_terms(run.loss, logps, label), info))
            per_pair.add([index for index, _ in micro_batch], labelled, label)
            return micro_batch

        pieces = Pieces("held-out pairs are evaluated", run.micro_batch_size)
        for _ in pieces.each(in_microbatch_order(run.policy, self.pairs, local), evaluate):
            pass  # each piece adds to the metrics
        record = {**metrics.read(reduce), **per_pair.read(self.pairs, reduce, run.accelerator.device)}
        return {**{f"eval_{name}": value for name, value in record.items()}, "eval_pairs": len(self.pairs)}
