"""Plays loops on games whose equilibrium is known, and prints how fast each comes to it.

    python -m pipelines.nash                      # tables, a few seconds
    python -m pipelines.nash --figure nash.png    # and the distances by round

Each loop runs twice: by the formula of its paper, and by the package's loss on all pairs of answers (`table_games`).
The last column is the largest difference of a probability between the two, so that a loss of the package which led
elsewhere would be seen.

Regularised games: KL(equilibrium || policy). A rate is the factor per round, fitted to the last half of the rounds
before rounding ends it; in brackets what theory guarantees. With decreasing steps it is a power of the round. Other
games: the duality gap, of policies and of their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from pipelines.paper import markdown
from pipelines.table_games.exact_steps import averages, constant, momentum, self_play
from pipelines.table_games.game import BIASED, CONDORCET, CYCLE, SCISSORS, Game, game, kl
from pipelines.table_games.loops import (
    FLOOR,
    MULTIPLICATIVE,
    RATE,
    ROUNDS,
    TO_EQUILIBRIUM,
    difference,
    fitted_power,
    fitted_rate,
    play,
)
from pipelines.table_games.loss_steps import dpo_step

SHOWN = (1, 10, 100, ROUNDS)

REGULARISED = {
    "cycle, beta 0.1": game(CYCLE, (0.6, 0.3, 0.1), 0.1),
    "cycle, beta 0.25": game(CYCLE, (0.5, 0.3, 0.2), 0.25),
    "rock, paper, scissors, beta 0.05": game(SCISSORS, (0.6, 0.3, 0.1), 0.05),
}
PLAIN = {
    "an answer that beats all": game(CONDORCET, (0.2, 0.3, 0.5)),
    "biased cycle": game(BIASED, (0.5, 0.3, 0.2)),
}
REWARDS = (0.0, 1.0, 0.5)


def regularised_table(of: Game, distances: dict[str, list[float]]) -> str:
    """Returns the table of a regularised game, and keeps the distances by loop."""
    nash, rows = of.equilibrium(), []
    for row in TO_EQUILIBRIUM:
        policies = play(row, of)
        found = distances[row.name] = [kl(nash, policy).item() for policy in policies]
        bound = f" [{row.bound(of):.3f}]" if row.bound else ""
        shown = [_number(found[k]) for k in SHOWN]
        rate = f"t^-{fitted_power(found):.1f}" if row.by_power else f"{fitted_rate(found):.3f}{bound}"
        rows.append([row.name, *shown, rate, _number(of.gap(policies[-1])), row.loss[0], f"{difference(row, of):.0e}"])
    header = ["loop", *(f"KL, round {k}" for k in SHOWN), "rate", "gap at the end", "loss", "loss - formula"]
    return markdown([header, *rows])


def plain_table(of: Game) -> str:
    """Returns the table of a game without a reference."""
    rows = []
    for row in MULTIPLICATIVE:
        policies = play(row, of)
        means = list(islice(averages(iter(policies)), ROUNDS + 1))
        gaps = [_number(of.gap(policies[k])) for k in SHOWN] + [_number(of.gap(means[k])) for k in SHOWN[1:]]
        rows.append([row.name, *gaps, row.loss[0], f"{difference(row, of):.0e}"])
    online = list(islice(self_play(dpo_step, of, constant(1.0), RATE), SHOWN[1] + 1))
    rows.append(["online DPO", *(_number(of.gap(online[k])) for k in SHOWN[:2]), *[""] * 5, "logistic", ""])
    header = ["loop", *(f"gap, round {k}" for k in SHOWN), *(f"of the mean, {k}" for k in SHOWN[1:])]
    return markdown([[*header, "loss", "loss - formula"], *rows])


def reward_game() -> Game:
    """Returns a game that a reward decides, by Bradley and Terry."""
    rewards = torch.tensor(REWARDS, dtype=torch.float64)
    wins = torch.sigmoid(rewards.unsqueeze(1) - rewards)
    return Game(wins, torch.tensor((0.5, 0.3, 0.2), dtype=torch.float64).log(), 0.0)


def lost_reward(policy: Tensor) -> float:
    """Returns the best reward less a policy's mean reward."""
    return max(REWARDS) - (policy.exp() * torch.tensor(REWARDS, dtype=torch.float64)).sum().item()


def momentum_table() -> str:
    """Returns the rewards that rounds of DPO lose, with momentum and without."""
    rows = []
    for amount in (0.0, 0.3, 0.5):
        policies = list(islice(momentum(dpo_step, reward_game(), 1.0, amount), 7))
        rows.append([f"{amount:g}", *(f"{lost_reward(policies[k]):.6f}" for k in (1, 2, 3, 4, 6))])
    return markdown([["momentum", *(f"reward lost, round {k}" for k in (1, 2, 3, 4, 6))], *rows])


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="file of the distances by round (.png, .svg, .pdf)")
    args = parser.parse_args(arguments)
    if args.figure and (args.figure.suffix not in (".png", ".svg", ".pdf") or not args.figure.parent.is_dir()):
        parser.error(f"--figure is {args.figure}: name a .png, .svg or .pdf file in a folder that exists")
    distances: dict[str, dict[str, list[float]]] = {}
    for name, of in REGULARISED.items():
        print(f"\n{name}: equilibrium {_policy(of.equilibrium())}\n")
        print(regularised_table(of, distances.setdefault(name, {})))
    for name, of in PLAIN.items():
        print(f"\n{name}, no reference, rate {RATE}\n")
        print(plain_table(of))
    print(f"\nrewards {REWARDS}, iterative DPO (loss logistic) and APO\n")
    print(momentum_table())
    if args.figure:
        draw(distances, args.figure)


def draw(distances: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Writes a figure of KL(equilibrium || policy) by round, a panel per game."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(distances), figsize=(5 * len(distances), 4), squeeze=False)
    for panel, (name, loops) in zip(panels[0], distances.items(), strict=True):
        for loop, found in loops.items():
            panel.semilogy([max(x, 1e-16) for x in found], label=loop)
        panel.set(title=name, xlabel="round")
    panels[0, 0].set_ylabel("KL(equilibrium || policy)")
    panels[0, -1].legend()
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def _number(distance: float) -> str:
    return f"{distance:.2e}" if distance >= FLOOR else "0"


def _policy(policy: Tensor) -> str:
    return "(" + ", ".join(f"{p:.6f}" for p in policy.exp().tolist()) + ")"


if __name__ == "__main__":
    main()
