"""Methods for language models: one loss each, with the values of one published run as a whole.

    dpo     the logistic loss (Rafailov et al. 2023)            cdpo    the same with label noise (Mitchell 2023)
    ipo     a target for the margin (Azar et al. 2023)          rpo     dpo and a likelihood (Liu et al. 2024)
    simpo   means over tokens, no reference (Meng et al. 2024)  orpo    fine-tuning and odds (Hong et al. 2024)
    kto     single answers, desirable or not (Ethayarajh et al. 2024)
    step_dpo    dpo on single steps of a solution (Xie et al. 2024)

The published rates are for full fine-tuning; an adapter needs about ten times as much. Settings that depend on a run's
length are left to the recipe: `train.steps`, and a warm-up where it was published as a share of the steps. Optimizers
here are AdamW; the DPO paper's was RMSprop.

Log-probabilities are sums over the tokens of the answer, its end included, for `dpo`, `cdpo`, `rpo` and `kto`, and
means over them for `ipo`, `simpo` and `orpo`; `loss.per_token` reverses this where the loss has that setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.methods.method import Method


def _text(
    name: str,
    summary: str,
    source: str,
    *,
    loss: Mapping[str, Any],
    train: Mapping[str, Any],
    max_length: int | None = None,
    pairs: str = "dataset",
    labels: str = "hard",
    steps: bool = False,
    needs_reference: bool = True,
    claims: tuple[str, ...] = (),
) -> Method:
    model: dict[str, Any] = {"kind": "text"} if max_length is None else {"kind": "text", "max_length": max_length}
    if steps:
        model |= {"shared_start": "prompt", "add_end": False}
    return Method(
        name=name,
        summary=summary,
        source=source,
        parts={"pairs": pairs, "labels": labels, "loss": loss["name"]},
        defaults={"model": model, "pairs": pairs, "labels": labels, "loss": dict(loss), "train": dict(train)},
        claims=claims,
        needs_reference=needs_reference,
        text=__doc__ or "",
    )


_DPO_TRAIN = {
    "batch_size": 64,  # the paper
    "learning_rate": 5e-7,  # released code; 1e-6 in the paper
    "schedule": "constant_with_warmup",  # both
    "warmup_steps": 150,  # both
    "max_grad_norm": 10.0,  # released code
}

DPO = _text(
    "dpo",
    "direct preference optimisation: the logistic loss on log-ratios, as its released code runs it",
    "Rafailov et al. 2023, arXiv 2305.18290, eq. 7",
    loss={"name": "logistic", "beta": 0.1},  # the paper and the released code; 0.5 for summaries
    train=_DPO_TRAIN,
    max_length=512,  # released code, which also cuts prompts to 256 tokens; one epoch
)

CDPO = _text(
    "cdpo",
    "DPO that assumes a tenth of the labels to be wrong, so that margins stay finite",
    "Mitchell 2023, ericmitchell.ai/cdpo.pdf, eq. 3, on Rafailov et al. 2023, arXiv 2305.18290",
    loss={"name": "logistic", "beta": 0.1, "flip": 0.1},  # the flip is ours: it is a fact about the data
    train=_DPO_TRAIN,  # ours: DPO's
    max_length=512,  # ours: DPO's
)

IPO = _text(
    "ipo",
    "a target for the margin per token",
    "Azar et al. 2023, arXiv 2310.12036, eq. 17; means over tokens as confirmed by its authors",
    loss={"name": "ipo", "beta": 0.1},  # ours: DPO's beta
    train=_DPO_TRAIN,  # ours: DPO's
    max_length=512,  # ours: DPO's
)

SIMPO = _text(
    "simpo",
    "the gap of log-probabilities per token with a margin to win by, no reference; values for Llama-3-Base",
    "Meng et al. 2024, arXiv 2405.14734, eq. 6; the released runs of Llama-3-Base-8B",
    # Others: Mistral-Base 2.0, 0.8, rate 3e-7; Mistral-Instruct 2.5, 0.1, 5e-7; Llama-3-Instruct 2.5, 0.55, 1e-6;
    # its v0.2 10, 0.3, 1e-6; Gemma-2-9b-it 10, 0.5, 8e-7.
    loss={"name": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.5},
    train={
        "batch_size": 128,
        "learning_rate": 6e-7,  # 1e-5 broke the model
        "schedule": "cosine",  # one epoch, a tenth of it warm-up
    },
    max_length=2048,
    needs_reference=False,
    claims=("Llama-3-Base-8B: 22.0 % on AlpacaEval 2 (length-controlled), 23.4 on Arena-Hard; DPO 18.2 and 15.9",),
)

ORPO = _text(
    "orpo",
    "fine-tuning and preference in one stage, from a base model, no reference",
    "Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7; values of PRefLexOR's first phase, whose code trains with it",
    loss={"name": "orpo", "weight": 0.1},
    train={"learning_rate": 5e-6, "schedule": "constant"},  # all weights; 5e-5 with a LoRA of rank and alpha 64
    needs_reference=False,
)

KTO = _text(
    "kto",
    "single answers, desirable or not; pairs are split",
    "Ethayarajh et al. 2024, arXiv 2402.01306, section 4",
    pairs="singles",
    loss={"name": "kto", "beta": 0.1},  # the authors' code
    train=_DPO_TRAIN,  # ours: DPO's; a batch is what the reference point is estimated from, so not a small one
    max_length=512,  # ours: DPO's
)

RPO = _text(
    "rpo",
    "DPO plus the chosen answer's likelihood, so that it does not fall; values for Gemma-7B",
    "Liu et al. 2024, arXiv 2405.16436; the released recipe of Gemma-7B, cumulative form",
    # The average form: {beta: 0.5, eta: 0, average: 0.2}.
    loss={"name": "rpo", "beta": 0.05, "eta": 0.005},
    train={
        "batch_size": 128,
        "learning_rate": 5e-7,
        "schedule": "cosine",  # two epochs, a tenth of them warm-up
    },
    max_length=1024,
)

STEP_DPO = _text(
    "step_dpo",
    "DPO on single steps of a solution, from their first difference on, with label probabilities from search visits",
    "Xie et al. 2024, arXiv 2405.00451, the released code; step pairs also Lai et al. 2024, arXiv 2406.18629",
    loss={"name": "logistic", "beta": 0.1},
    labels="column",  # 1 - min(n_l / (n_w + n_l), 1/2), which the format 'steps' reads
    steps=True,  # a step is no end of an answer: no end token is added
    train={
        "batch_size": 64,  # prompts of a round; ours: pairs
        "learning_rate": 1e-6,
        "weight_decay": 0.05,
        "schedule": "cosine",  # 3 % of the steps warm-up
    },
    max_length=512,
)

LANGUAGE = (DPO, CDPO, IPO, SIMPO, ORPO, KTO, RPO, STEP_DPO)
