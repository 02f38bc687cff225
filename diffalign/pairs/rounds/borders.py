"""What happens to a policy at the border of two rounds, a row for each rule.

    plain            it goes on as it is
    momentum         its weights are moved on in the direction of its last round, see `extrapolate`
    extragradient    rounds are pairs of two phases: the second begins again from the weights and the optimizer's state
                     of the first, and trains on answers of the policy that the first one led to

Sources: momentum: He et al. 2024 (arXiv 2410.06293); extragradient: Zhou et al. 2025 (arXiv 2503.08942). The two steps
of Nash Mirror Prox (Tiapkin et al. 2025, arXiv 2505.19731) are the same rule, with the policy at the beginning of the
first phase as the centre.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.rounds.extrapolate import extrapolate
from diffalign.pairs.source import RoundContext

PLAIN = "plain"
FACTS = "facts"


def plain(number: int, momentum: float, context: RoundContext) -> None:
    """The policy goes on as it is."""


def momentum(number: int, momentum: float, context: RoundContext) -> None:
    """Moves the policy on before it answers; its states as they were trained are kept in ``trained``."""
    trained = CheckpointPool(context.folder / "trained")
    if context.processes.is_main and number not in trained.indices():
        trained.add(number, context.policy.state())
    context.processes.wait()
    if not number:
        return
    state, distance = extrapolate(trained.load(number), trained.load(number - 1), momentum)
    context.policy.load_state(state)
    if distance:
        context.say(f"round {number}: the adapter is moved on within its rank, {distance:.1%} from the exact result")


def first_phase(number: int, momentum: float, context: RoundContext) -> None:
    """Keeps the optimizer's state at the beginning of a first phase."""
    kept = CheckpointPool(context.folder / "optimizer")
    if context.processes.is_main and number % 2 == 0 and number not in kept.indices():
        tensors, facts = context.optimizer_state()
        kept.add(number, {**tensors, FACTS: _as_bytes(facts)})
        kept.keep_only([number])
    context.processes.wait()


def second_phase(number: int, momentum: float, context: RoundContext) -> None:
    """Puts back weights and optimizer of the first phase's beginning, after the policy that it led to has answered."""
    if number % 2 == 0:
        return
    context.policy.load_state(CheckpointPool(context.folder / "pool").load(number - 1))
    tensors = CheckpointPool(context.folder / "optimizer").load(number - 1)
    facts = json.loads(tensors.pop(FACTS).numpy().tobytes())
    context.restore_optimizer(tensors, facts)


Rule = Callable[[int, float, RoundContext], None]
BORDERS: Mapping[str, tuple[Rule, Rule]] = {
    PLAIN: (plain, plain),
    "momentum": (momentum, plain),
    "extragradient": (first_phase, second_phase),
}
"""Name to what is done before the policy answers, and what after: ``rule(round, momentum, context)``."""


def _as_bytes(facts: Mapping[str, Any]) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
