"""Ranks methods by pooled win rates, and writes rates, hits, grain and costs as ``table.md`` and ``table.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from diffalign.evaluation.compare.result import Role, plain_json
from diffalign.evaluation.stats.rates.share import Share, share
from diffalign.evaluation.stats.rates.win_rate import WinRate, win_rate
from diffalign.files.atomic import write_atomically
from pipelines.image_grain import mean_grain
from pipelines.paper import ExperimentResult, markdown
from pipelines.training_cost import COUNT_NAMES


@dataclass(frozen=True)
class MethodResult:
    """The result of one method, pooled over its seeds.

    Args:
        method: Name of the method.
        wins: Judge to win rate against the base, over the comparisons of all seeds.
        roles: Judge to its role.
        by_seed: Judge to the win rates of the single seeds.
        hits: Judge that decides what is right to the shares of right images of base and aligned model.
        grain: Mean grain of the base's and of the aligned images.
        steps: Optimizer steps of one training.
        pairs: Pairs seen in one training.
        seconds: Duration of one training, the mean over seeds.
        per_pair: Forward passes by kind, and in F as ``forwards``; the mean over seeds.
    """

    method: str
    wins: Mapping[str, WinRate]
    roles: Mapping[str, Role]
    by_seed: Mapping[str, Sequence[float]]
    hits: Mapping[str, tuple[Share, Share]]
    grain: tuple[float, float]
    steps: int
    pairs: int
    seconds: float
    per_pair: Mapping[str, float]


def rank_methods(
    results: Mapping[str, Sequence[ExperimentResult]], steps: Mapping[str, int], held_out: Sequence[str]
) -> list[MethodResult]:
    """Pools the seeds of each method, and sorts the methods by the win rate of the first judge in ``held_out``."""
    pooled = [_pool_seeds(method, seeds, steps[method]) for method, seeds in results.items()]
    judge = held_out[0] if held_out else next(iter(pooled[0].wins))
    return sorted(pooled, key=lambda result: -result.wins[judge].rate)


def write_tables(ranked: Sequence[MethodResult], folder: Path, *, budget: str, seeds: Sequence[int]) -> None:
    """Writes ``table.md`` and ``table.json``."""
    tables = [win_rate_table(ranked), image_table(ranked), cost_table(ranked)]
    text = "\n\n".join([*tables, _footer(ranked, budget, seeds)]) + "\n"
    write_atomically(folder / "table.md", lambda temporary: temporary.write_text(text, encoding="utf-8"))
    content = {"budget": budget, "seeds": list(seeds), "methods": [plain_json(asdict(result)) for result in ranked]}
    lines = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "table.json", lambda temporary: temporary.write_text(lines, encoding="utf-8"))


def win_rate_table(ranked: Sequence[MethodResult]) -> str:
    """Returns win rates against the base with 95 % intervals, in percent; held-out judges come first."""
    judges = list(ranked[0].wins)
    has_seeds = len(next(iter(ranked[0].by_seed.values()))) > 1
    head = ["method"]
    for name in judges:
        head.append(name if ranked[0].roles[name] == "held-out" else f"{name} (trained on)")
        head += ["by seed"] if has_seeds else []
    rows = [head]
    for result in ranked:
        row = [result.method]
        for name in judges:
            win = result.wins[name]
            row.append(f"{100 * win.rate:.1f} ({100 * win.low:.1f}-{100 * win.high:.1f})")
            row += [" ".join(f"{100 * rate:.0f}" for rate in result.by_seed[name])] if has_seeds else []
        rows.append(row)
    return markdown(rows)


def image_table(ranked: Sequence[MethodResult]) -> str:
    """Returns shares of right images and grain: the base's, then each method's, in the same order."""
    rows = [["images", *ranked[0].hits, "grain"], ["base", *_image_cells(ranked[0], 0)]]
    rows += [[result.method, *_image_cells(result, 1)] for result in ranked]
    return markdown(rows)


def _image_cells(result: MethodResult, side: int) -> list[str]:
    shares = [sides[side] for sides in result.hits.values()]
    return [
        *(f"{100 * hit.rate:.1f} ({100 * hit.low:.1f}-{100 * hit.high:.1f})" for hit in shares),
        f"{result.grain[side]:.2f}",
    ]


def cost_table(ranked: Sequence[MethodResult]) -> str:
    """Returns the cost of each training, in the same order."""
    rows = [["method", "steps", "pairs", "seconds", *COUNT_NAMES, "F per pair", "F in total"]]
    for result in ranked:
        counts = [f"{result.per_pair[name]:.2f}" for name in COUNT_NAMES]
        forwards = result.per_pair["forwards"]
        totals = [f"{result.steps}", f"{result.pairs:,}", f"{result.seconds:,.0f}"]
        rows.append([result.method, *totals, *counts, f"{forwards:.2f}", f"{forwards * result.pairs:,.0f}"])
    return markdown(rows)


def _pool_seeds(method: str, seeds: Sequence[ExperimentResult], steps: int) -> MethodResult:
    names = [judgement.name for judgement in seeds[0].comparison.judgements]
    rows = [row for result in seeds for row in result.comparison.rows]
    prompts = [row["prompt"] for row in rows]
    wins = {
        name: win_rate([row["scores"][name][1] for row in rows], [row["scores"][name][0] for row in rows], prompts)
        for name in names
    }
    rates = [{j.name: j.win.rate for j in result.comparison.judgements} for result in seeds]
    return MethodResult(
        method=method,
        wins=wins,
        roles={j.name: j.role for j in seeds[0].comparison.judgements},
        by_seed={name: [rate[name] for rate in rates] for name in names},
        hits={j.name: _pool_hits(j.name, seeds) for j in seeds[0].comparison.judgements if j.base_hits is not None},
        grain=(mean_grain(row["base"] for row in rows), mean_grain(row["aligned"] for row in rows)),
        steps=steps,
        pairs=seeds[0].cost.pairs,
        seconds=_mean([result.cost.seconds for result in seeds]),
        per_pair={name: _mean([r.cost.per_pair[name] for r in seeds]) for name in (*COUNT_NAMES, "forwards")},
    )


def _pool_hits(name: str, seeds: Sequence[ExperimentResult]) -> tuple[Share, Share]:
    judgements = [j for result in seeds for j in result.comparison.judgements if j.name == name]
    base, aligned = (j.base_hits for j in judgements), (j.aligned_hits for j in judgements)
    return _pool(base), _pool(aligned)


def _pool(shares: Iterable[Share | None]) -> Share:
    known = [hit for hit in shares if hit is not None]
    return share(sum(int(hit.hits) for hit in known), sum(hit.n for hit in known))


def _footer(ranked: Sequence[MethodResult], budget: str, seeds: Sequence[int]) -> str:
    win = next(iter(ranked[0].wins.values()))
    equal = "pairs seen" if budget == "pairs" else "denoiser evaluations"
    return (
        f"Win rates against the base in %, with 95 % intervals ({win.interval}); {win.prompts} fresh prompts, seeds "
        f"{', '.join(map(str, seeds))}. Equal for all methods: {equal}.\n"
        "Images: shares in % that a judge finds right, with 95 % intervals; grain is the median absolute Laplacian of "
        "the luma, 0 to 255.\n"
        "Evaluations are per pair, in latents; F is a forward pass on one latent, and an evaluation with a gradient "
        "(policy) counts three. Seconds are those of this machine."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
