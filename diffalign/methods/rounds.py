"""Loops on the policy's own answers as presets: who answers, how pairs are formed, what they are compared with.

    online_dpo      pairs of two fresh answers, against the first model     iterative_dpo   against the last policy
    sppo, gpo_rounds, spo_self_play, dno    win rates or scores among a prompt's answers, against the last policy
    inpo_nash, nash_mp, egpo                Nash policies of a preference, regularised by the first model
    rso             answers of the first model, by rejection sampling       apo_momentum    iterative_dpo with momentum
    vpo_online      away from the first model's answers, to explore         hypo            offline pairs, online KL
    on_policy_mix   online_dpo with half of the pairs from the data

A recipe adds a model, data and `pairs.judge`. The published rates are for all weights of language models; an adapter
needs about ten times as much. What says "ours" was not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.methods.method import Method

_TRAIN: Mapping[str, Any] = {"batch_size": 64, "learning_rate": 5e-7, "schedule": "constant"}
_ANSWERS: Mapping[str, Any] = {
    "answers": 5,
    "temperature": 0.7,
    "top_p": 0.9,
    "max_new_tokens": 512,
}  # SPPO's; 2048 there


def _rounds(
    name: str,
    summary: str,
    source: str,
    *,
    pairs: Mapping[str, Any],
    loss: Mapping[str, Any],
    train: Mapping[str, Any] | None = None,
    claims: tuple[str, ...] = (),
) -> Method:
    guard = {"guard": {"action": "skip"}} if pairs.get("border", "plain") != "plain" else {}
    return Method(
        name=name,
        summary=summary,
        source=source,
        parts={"pairs": "rounds", "labels": "hard", "loss": loss["name"]},
        defaults={
            "model": {"kind": "text"},
            "pairs": {"name": "rounds", **pairs},
            "labels": "hard",
            "loss": loss,
            "train": {**_TRAIN, **(train or {})},
            **guard,
        },
        claims=claims,
        text=__doc__ or "",
    )


ONLINE_DPO = _rounds(
    "online_dpo",
    "DPO on two fresh answers of the policy, ranked by a judge, against the first model",
    "Guo et al. 2024, arXiv 2402.04792; values as studied by Tajwar et al. 2024, arXiv 2404.14367",
    pairs={"answers": 2, "every": 2, "temperature": 1.0, "max_new_tokens": 128},  # two inner steps; lengths are ours
    loss={"name": "logistic", "beta": 0.1},
    train={"learning_rate": 1e-5},
)
ITERATIVE_DPO = _rounds(
    "iterative_dpo",
    "DPO round by round on the policy's best and worst answer, against the policy that gave them",
    "Xu et al. 2023, arXiv 2312.16682; the loop that He et al. 2024, arXiv 2410.06293, accelerate; values are ours",
    pairs={**_ANSWERS, "every": 300, "reference": "previous"},
    loss={"name": "logistic", "beta": 0.1},
)
APO_MOMENTUM = _rounds(
    "apo_momentum",
    "iterative DPO whose policy is moved on in the direction of each round, by 0.3",
    "He et al. 2024, arXiv 2410.06293; momentum 0.3 from memory of it, other values as iterative_dpo",
    pairs={**_ANSWERS, "every": 300, "reference": "previous", "border": "momentum", "momentum": 0.3},
    loss={"name": "logistic", "beta": 0.1},
    claims=("Mistral-7B: 31.73 % on AlpacaEval 2 (length-controlled) after three rounds, 1.78 above iterative DPO",),
)
SPPO = _rounds(
    "sppo",
    "regression of each answer's logratio to its win rate among the policy's answers; best and worst of five",
    "Wu et al. 2024, arXiv 2405.00675; its released scripts, with AdamW in place of RMSprop",
    pairs={**_ANSWERS, "every": 300, "reference": "previous"},  # three rounds of one epoch on 20,000 prompts each
    loss={"name": "sppo", "beta": 0.001, "rewards": "win"},
    claims=("Llama-3-8B-Instruct: 22.92 to 38.77 % on AlpacaEval 2 (length-controlled) in three rounds",),
)
GPO_ROUNDS = _rounds(
    "gpo_rounds",
    "regression of each answer's logratio to its mean preference over the policy's answers, for a pairwise judge",
    "Zhang et al. 2024, arXiv 2410.02197; the released drivers",
    pairs={**_ANSWERS, "every": 300, "reference": "previous", "by": "comparisons"},
    loss={"name": "gpo", "beta": 0.001, "rewards": "advantage", "centred": False},
)
DNO = _rounds(
    "dno",
    "DPO on answers that a 6-point judge gives 5 or more against worse ones, with the data's answer as a teacher's",
    "Rosset et al. 2024, arXiv 2404.03715, DNO-Prct",
    pairs={
        "answers": 5,
        "from_data": "chosen",
        "temperature": 0.7,
        "top_p": 0.95,
        "max_new_tokens": 512,  # ours
        "every": 300,  # ours: an epoch on a third of the prompts
        "reference": "previous",
        "pairing": "threshold",
        "threshold": 5.0,
        "gap": 1.0,  # 2 points or more on a scale of whole numbers; 1 is enough there for the student's own answers
        "replay": 0.3,
    },
    loss={"name": "logistic", "beta": 0.1},
    train={"learning_rate": 5e-5},
    claims=("7B: 10.76 to 22.59 % on AlpacaEval 2 (length-controlled) in three rounds",),
)
SPO_SELF_PLAY = _rounds(
    "spo_self_play",
    "each answer's reward is its win rate against the policy's others; every two answers, soft labels",
    "Swamy et al. 2024, arXiv 2401.04056, with DNO's soft labels as the update, whose optimum is its soft step",
    pairs={**_ANSWERS, "every": 300, "reference": "previous", "pairing": "all", "by": "comparisons"},
    loss={"name": "dno", "beta": 0.1, "rewards": "win"},
)
INPO_NASH = _rounds(
    "inpo_nash",
    "the IPO loss against a mixture of the first model and the last policy, on the best and the worst of eight",
    "Zhang et al. 2024, arXiv 2407.00617",
    pairs={**_ANSWERS, "answers": 8, "every": 150, "reference": "initial"},
    loss={"name": "inpo", "beta": 0.0075, "tau_over_eta": 1 / 3},
    train={"batch_size": 128, "schedule": "cosine"},
    claims=("Llama-3-8B: 42.6 % on AlpacaEval 2 (length-controlled), 37.8 % on Arena-Hard",),
)
NASH_MP = _rounds(
    "nash_mp",
    "Nash mirror prox: each policy is found in two steps from the same centre, the second against the first's result",
    "Tiapkin et al. 2025, arXiv 2505.19731; the pair form and its values are ours: beta 0.1, eta 0.2",
    # The closed form has weights eta / (1 + eta) and 1 / (1 + eta), and the preference over beta (1 + eta) / eta.
    pairs={**_ANSWERS, "answers": 2, "every": 8, "temperature": 0.9, "max_new_tokens": 64, "border": "extragradient"},
    loss={"name": "inpo", "beta": 0.6, "tau_over_eta": 1 / 6},
    train={"previous_every": 16},
)
EGPO = _rounds(
    "egpo",
    "online IPO on win rates with a half step: each update is taken from where the step before it began",
    "Zhou et al. 2025, arXiv 2503.08942; the released code",
    pairs={
        "answers": 4,
        "every": 1,
        "pairing": "all",
        "by": "comparisons",
        "border": "extragradient",
        "temperature": 2.0,
        "top_k": 10,
        "top_p": 1.0,
        "max_new_tokens": 64,  # four answers and lengths are ours
    },
    loss={"name": "rebel", "beta": 0.1, "rewards": "win", "per_token": True},
)
RSO = _rounds(
    "rso",
    "pairs of answers that rejection sampling keeps of the first model's, as if the best policy had given them",
    "Liu et al. 2023, arXiv 2309.06657",
    pairs={
        "answers": 64,
        "answers_by": "initial",
        "pairing": "rejection",
        "beta": 0.5,
        "keep": 8,
        "every": 1000,
        "temperature": 0.7,
        "top_k": 40,
        "max_new_tokens": 128,
    },
    loss={"name": "logistic", "beta": 0.05},
    train={"batch_size": 32, "learning_rate": 1e-5, "optimizer": "adafactor"},
    claims=("T5-large on TL;DR: 92.37 % against the target by the proxy reward, DPO 84.35 %",),
)
VPO_ONLINE = _rounds(
    "vpo_online",
    "online DPO that also moves away from answers of the first model, to explore",
    "Cen et al. 2024, arXiv 2405.19320; alpha is ours",
    pairs={"answers": 2, "every": 2, "further": {"calibration": "initial"}, "max_new_tokens": 128},
    loss={"name": "vpo", "beta": 0.1, "alpha": 0.01, "sign": "online"},
)
HYPO = _rounds(
    "hypo",
    "DPO on the data's pairs and the KL of the policy from the first model on two samples of its own",
    "Song et al. 2024, arXiv 2406.01462; values are ours",
    pairs={
        "answers": 0,
        "from_data": "both",
        "judge": "label",
        "every": 1,
        "further": {"own_1": "policy", "own_2": "policy"},
        "max_new_tokens": 64,
    },
    loss={"name": "logistic", "beta": 0.05, "plus": [{"name": "online_kl", "times": 1e-4}]},
)
ON_POLICY_MIX = _rounds(
    "on_policy_mix",
    "online DPO with half of its pairs from the data",
    "Tajwar et al. 2024, arXiv 2404.14367",
    pairs={"answers": 2, "every": 2, "offline": 0.5, "temperature": 1.0, "max_new_tokens": 128},
    loss={"name": "logistic", "beta": 0.1},
    train={"learning_rate": 1e-5},
)

ROUNDS = (
    ONLINE_DPO,
    ITERATIVE_DPO,
    APO_MOMENTUM,
    SPPO,
    GPO_ROUNDS,
    DNO,
    SPO_SELF_PLAY,
    INPO_NASH,
    NASH_MP,
    EGPO,
    RSO,
    VPO_ONLINE,
    HYPO,
    ON_POLICY_MIX,
)
