"""Held-out pairs: does the policy agree with labels that it was not trained on?

Each look judges the same pairs at the same noise (visits -1, -2, ..., which training never makes), so two looks differ
by the policy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffalign.data.records.lazy import filter_pairs, map_pairs
from diffalign.data.records.pair import Pair
from diffalign.errors import ConfigError, DataError
from diffalign.labels import expected, swapped_by
from diffalign.losses import Objective
from diffalign.pairs.dataset import read_dataset
from diffalign.pairs.singles import one_by_one
from diffalign.pairs.winners import winner
from diffalign.training.held_out.per_pair import PerPairMetrics
from diffalign.training.recipe.schema import Data
from diffalign.training.step.batch_order import Visit, micro_batches, process_share
from diffalign.training.step.forward import in_microbatch_order, pair_logps
from diffalign.training.step.gradients import GradientComputer, Labeller
from diffalign.training.step.metrics import Metrics


@dataclass(frozen=True)
class HeldOut:
    """Pairs that are not trained on."""

    pairs: Sequence[Pair]

    @staticmethod
    def read(data: Data) -> HeldOut | None:
        """Those that a recipe names in ``data.eval``; None without."""
        if data.eval is None:
            return None
        found = read_dataset(
            data.eval,
            format=data.format,
            limit=data.eval_limit,
            scores=data.eval_scores,
            **{**data.options, **data.eval_options},
        )
        # Ids of their own: a split often counts from zero again.
        return HeldOut(map_pairs(found.pairs, lambda pair: replace(pair, id=f"eval/{pair.id}")))

    def fitting(self, loss: Objective, label: Labeller) -> HeldOut:
        """Those that the run's loss and label can judge: every candidate for itself where the loss takes examples of
        both kinds, winners alone where it takes these.

        Raises:
            ConfigError: Single examples, where the loss compares two; none that is desirable, where it takes no other.
            DataError: A row that lacks what the label needs.
        """
        single = loss.kind == "single"
        alone = [pair.id for pair in self.pairs if pair.rejected is None]
        if alone and not single:
            raise ConfigError(
                f"data.eval: {len(alone)} of {len(self.pairs)} held-out rows have no rejected candidate, but the loss "
                f"'{loss.name}' compares two. Give pairs, or do without held-out ones: --set data.eval=null"
            )
        fit = self
        if single and loss.accepts_undesirable:
            fit = HeldOut(one_by_one(self.pairs))
        elif single:
            fit = HeldOut(map_pairs(filter_pairs(self.pairs, lambda pair: pair.desirable), winner))
        if not fit.pairs:
            raise ConfigError(
                f"data.eval: none of {len(self.pairs)} held-out rows is desirable, but the loss '{loss.name}' looks at "
                "no other. Do without: --set data.eval=null"
            )
        try:
            label(fit.pairs)
        except DataError as error:
            raise DataError(f"data.eval: {error} Of held-out pairs the setting is data.eval_scores.") from None
        return fit

    def plan(self, eval_draws: int, first: int = 0) -> list[Visit]:
        """All looks, as ``(index, visit)``; ``first`` is the index of the first held-out pair."""
        return [(first + k, -1 - look) for look in range(eval_draws) for k in range(len(self.pairs))]

    @torch.no_grad()
    def measure(self, run: GradientComputer, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Metrics over the held-out pairs, named ``eval_...``; ``eval_pairs`` is how many there are."""
        metrics, plan = Metrics(run.loss), self.plan(eval_draws=run.policy.eval_draws)
        whole = PerPairMetrics(len(self.pairs), run.loss)
        point = run.baseline(self.pairs, plan)
        mine = process_share(plan, run.accelerator.process_index, run.accelerator.num_processes)
        for micro in micro_batches(in_microbatch_order(run.policy, self.pairs, mine), run.micro_batch_size):
            pairs = [self.pairs[index] for index, _ in micro]
            scores, info = pair_logps(run, pairs, [visit for _, visit in micro], point)
            label = run.label(pairs)
            told = swapped_by(scores, label)
            metrics.add(told, expected(run.loss, scores, label), info)
            whole.add([index for index, _ in micro], told, label)
        found = {**metrics.read(reduce), **whole.read(self.pairs, reduce, run.accelerator.device)}
        return {**{f"eval_{name}": value for name, value in found.items()}, "eval_pairs": len(self.pairs)}
