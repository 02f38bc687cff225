"""How methods stand beside each other: pooled win rates and costs, as a table for people and one for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from diffalign.evaluation.compare.result import Role, plain_json
from diffalign.evaluation.stats.statistics import WinRate, win_rate
from diffalign.sharing.atomic import write_atomically
from pipelines.cost import KINDS
from pipelines.paper import Measured, markdown


@dataclass(frozen=True)
class Standing:
    """One method, all its seeds.

    Args:
        method: Its name.
        wins: Judge to win rate against the base, over the seeds' comparisons together.
        roles: Judge to its part.
        by_seed: Judge to the rates seed by seed.
        steps: Optimizer steps of one training.
        pairs: Pairs that one training saw.
        seconds: Of one training, the mean over seeds.
        per_pair: Evaluations by kind, and in F as ``forwards``; the mean over seeds.
    """

    method: str
    wins: Mapping[str, WinRate]
    roles: Mapping[str, Role]
    by_seed: Mapping[str, Sequence[float]]
    steps: int
    pairs: int
    seconds: float
    per_pair: Mapping[str, float]


def pooled(
    found: Mapping[str, Sequence[Measured]], steps: Mapping[str, int], held_out: Sequence[str]
) -> list[Standing]:
    """Pools the seeds of each method, and sorts by the win rate that the first of ``held_out`` gives."""
    entries = [_pooled(method, seeds, steps[method]) for method, seeds in found.items()]
    by = held_out[0] if held_out else next(iter(entries[0].wins))
    return sorted(entries, key=lambda entry: -entry.wins[by].rate)


def report(ranked: Sequence[Standing], folder: Path, *, budget: str, seeds: Sequence[int]) -> None:
    """Writes ``table.md`` and ``table.json``."""
    text = f"{ranking(ranked)}\n\n{costs(ranked)}\n\n{_footing(ranked, budget, seeds)}\n"
    write_atomically(folder / "table.md", lambda beside: beside.write_text(text, encoding="utf-8"))
    content = {"budget": budget, "seeds": list(seeds), "methods": [plain_json(asdict(entry)) for entry in ranked]}
    lines = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "table.json", lambda beside: beside.write_text(lines, encoding="utf-8"))


def ranking(ranked: Sequence[Standing]) -> str:
    """Win rates against the base with 95 % intervals, in percent; held-out judges first."""
    judges = list(ranked[0].wins)
    several = len(next(iter(ranked[0].by_seed.values()))) > 1
    head = ["method"]
    for name in judges:
        head.append(name if ranked[0].roles[name] == "held-out" else f"{name} (trained on)")
        head += ["by seed"] if several else []
    rows = [head]
    for entry in ranked:
        row = [entry.method]
        for name in judges:
            win = entry.wins[name]
            row.append(f"{100 * win.rate:.1f} ({100 * win.low:.1f}-{100 * win.high:.1f})")
            row += [" ".join(f"{100 * rate:.0f}" for rate in entry.by_seed[name])] if several else []
        rows.append(row)
    return markdown(rows)


def costs(ranked: Sequence[Standing]) -> str:
    """What each training took, in the same order."""
    rows = [["method", "steps", "pairs", "seconds", *KINDS, "F per pair", "F in all"]]
    for entry in ranked:
        kinds = [f"{entry.per_pair[kind]:.2f}" for kind in KINDS]
        forwards = entry.per_pair["forwards"]
        whole = [f"{entry.steps}", f"{entry.pairs:,}", f"{entry.seconds:,.0f}"]
        rows.append([entry.method, *whole, *kinds, f"{forwards:.2f}", f"{forwards * entry.pairs:,.0f}"])
    return markdown(rows)


def _pooled(method: str, seeds: Sequence[Measured], steps: int) -> Standing:
    names = [judgement.name for judgement in seeds[0].comparison.judgements]
    rows = [row for measured in seeds for row in measured.comparison.rows]
    prompts = [row["prompt"] for row in rows]
    wins = {
        name: win_rate([row["scores"][name][1] for row in rows], [row["scores"][name][0] for row in rows], prompts)
        for name in names
    }
    rates = [{j.name: j.win.rate for j in measured.comparison.judgements} for measured in seeds]
    return Standing(
        method=method,
        wins=wins,
        roles={j.name: j.role for j in seeds[0].comparison.judgements},
        by_seed={name: [rate[name] for rate in rates] for name in names},
        steps=steps,
        pairs=seeds[0].cost.pairs,
        seconds=_mean([measured.cost.seconds for measured in seeds]),
        per_pair={kind: _mean([m.cost.per_pair[kind] for m in seeds]) for kind in (*KINDS, "forwards")},
    )


def _footing(ranked: Sequence[Standing], budget: str, seeds: Sequence[int]) -> str:
    win = next(iter(ranked[0].wins.values()))
    equal = "pairs seen" if budget == "pairs" else "denoiser evaluations"
    return (
        f"Win rates against the base in %, with 95 % intervals ({win.interval}); {win.prompts} fresh prompts, seeds "
        f"{', '.join(map(str, seeds))}. Equal for all: {equal}.\nEvaluations are per pair, in latents; F is a forward "
        "pass on one latent, and an evaluation with a gradient (policy) counts three. Seconds: this machine's."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
