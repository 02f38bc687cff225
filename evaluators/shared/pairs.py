"""Judgments of pairs: the probability that the first sample wins, by judges and by a policy's implicit reward.

    P(chosen wins) = s(beta (r(chosen) - r(rejected))),     r(x) = log p(x | c) - log p_ref(x | c)

Policy and reference see both samples at the same noises; a denoiser's log-probabilities are means over several of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from diffalign.cli.key_value_settings import Model
from diffalign.data.records.pair import Pair
from diffalign.errors import UserError
from diffalign.policies.policy import Policy
from diffalign.randomness import Draw
from diffalign.scorers import compare
from diffalign.scorers.compare import ComparesByScore, probability_first_wins
from diffalign.scorers.scorer import SupportsNotes, state_hash
from evaluators.shared.answers import Item, answer_all
from evaluators.shared.options import Parser
from evaluators.shared.scores import open_judges, score_file

IMPLICIT = "implicit reward"


@dataclass(frozen=True)
class Judged:
    """What a judge says of pairs.

    Args:
        probabilities: For each pair the probability that its chosen sample wins; 1/2 is no opinion.
        weights: Hash of the judge's weights.
        compares: Whether it sees both samples at once, in both orders; False for a judge that scores each by itself.
    """

    probabilities: list[float]
    weights: str
    compares: bool = False

    def credits(self) -> list[float]:
        """Returns how far each pair is right, in both orders on average; a score decides fully, equal ones by half."""
        if self.compares:
            return list(self.probabilities)
        return [1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0 for p in self.probabilities]


def add_pair_options(parser: Parser, scorer: Sequence[str], draws: int = 1) -> None:
    """Adds the options of programs that judge given pairs."""
    parser.add_scorers(*scorer)
    parser.add_model("its implicit reward, that of --adapter against it, judges too")
    parser.set_defaults(judges_pairs=True)
    parser.add_argument("--beta", type=float, default=1.0, help="factor on implicit rewards; it changes no order")
    parser.add_argument("--draws", type=int, default=draws, help="noises per pair of a denoiser's implicit reward")


def judge_pairs(args: argparse.Namespace, pairs: Sequence[Pair], medium: str) -> dict[str, Judged]:
    """Judges pairs by every scorer, and by the policy where there is a model with an adapter.

    Returns:
        What each judge says, by its display name.

    Raises:
        UserError: No judge at all, or a model without an adapter, whose implicit reward is 0.
    """
    if bool(args.model) != bool(args.adapter):
        raise UserError("an implicit reward needs both: --model, the reference, and --adapter, the aligned model.")
    found: dict[str, Judged] = {}
    if args.scorer or not args.model:
        prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
        for name, scorer in open_judges(args, prompts, medium).items():
            own = getattr(type(scorer), "compare", ComparesByScore.compare) is not ComparesByScore.compare
            found[name] = Judged(_by_scorer(args, pairs, scorer), scorer.weights, own)
            for line in scorer.notes() if isinstance(scorer, SupportsNotes) else ():
                print(line)
    if args.model:
        model = Model.from_options(args.model, args.kind, args.model_setting, args.adapter)
        if model.kind.medium != medium:
            raise UserError(f"the pairs are of {medium}s, and '{args.model}' makes {model.kind.medium}s.")
        policy = model.open()
        found[IMPLICIT] = Judged(_by_policy(args, pairs, policy), state_hash(policy.state()))
    return found


def weights_of(found: Mapping[str, Judged]) -> dict[str, str]:
    """Returns the rows of a report's settings with the hash of each judge's weights."""
    return {f"weights of {name}": judged.weights for name, judged in found.items() if judged.weights}


def _items(pairs: Sequence[Pair]) -> list[Item]:
    return [Item(pair.id, str(pair.prompt), pair) for pair in pairs]


def _by_scorer(args: argparse.Namespace, pairs: Sequence[Pair], scorer: object) -> list[float]:
    def judge(part: list[Item]) -> list[dict[str, float]]:
        batch = [item.content for item in part]
        sides = [[pair.chosen for pair in batch], [pair.rejected for pair in batch]]
        return [{"p": p} for p in compare(scorer, [pair.prompt for pair in batch], *sides).tolist()]  # type: ignore[arg-type]

    name, made_by = scorer.name, {"scorer": scorer.name, "weights": scorer.weights}  # type: ignore[attr-defined]
    target = score_file(args.output, "pairs", name)
    rows = answer_all(_items(pairs), judge, target, made_by, what=f"pairs judged by {name}", batch=args.batch)
    return [float(row["p"]) for row in rows]


@torch.no_grad()
def _by_policy(args: argparse.Namespace, pairs: Sequence[Pair], policy: Policy) -> list[float]:
    policy.module.eval()
    draws = 1 if policy.medium == "text" else args.draws

    def margins(part: list[Item]) -> list[dict[str, float]]:
        batch = [replace(item.content, prompt=policy.format_prompt(item.content.prompt)) for item in part]
        encoded, sums = policy.encode(batch), torch.zeros(len(batch), dtype=torch.float64)
        for number in range(draws):
            draw = Draw(0, tuple(pair.id for pair in batch), (-1 - number,) * len(batch))
            sides = [logps(encoded, draw).candidates for logps in (policy.logps, policy.reference_logps)]
            (chosen, rejected), (ref_chosen, ref_rejected) = ([c.logps.double().cpu() for c in s[:2]] for s in sides)
            sums += (chosen - ref_chosen) - (rejected - ref_rejected)
        return [{"margin": margin} for margin in (sums / draws).tolist()]

    made_by = {"model": policy.fingerprint(), "weights": state_hash(policy.state()), "draws": draws}
    target = score_file(args.output, "pairs", IMPLICIT)
    rows = answer_all(_items(pairs), margins, target, made_by, what="pairs judged by the policy", batch=args.batch)
    margin = torch.tensor([row["margin"] for row in rows], dtype=torch.float64)
    return probability_first_wins(margin, torch.zeros_like(margin), args.beta).tolist()
