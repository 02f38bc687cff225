"""One training step on one batch, on two sides: TRL's trainer as it is, and a run of ours. Each gives the loss and the
gradient of every weight that trains, by the weights' names in the bare model.

On both sides the reference is the model of a folder and the policy the same model moved a little, so that margins are
not zero.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Answer, Pair
from diffalign.losses import PairLogps, loss_named
from diffalign.policies.language.network.layout import lay_out
from diffalign.policies.language.scoring.batch import EncodedTexts
from diffalign.policies.language.tokens.token_pair import TokenPair
from diffalign.policies.policy import Policy
from diffalign.training.recipe.load import make_recipe
from diffalign.training.setup.assemble_run import open_run
from diffalign.training.state import Run

TRL = importlib.metadata.version("trl") if importlib.util.find_spec("trl") else "0.0"
NEEDS_TRL = pytest.mark.skipif(
    tuple(int(part) for part in TRL.split(".")[:2]) < (1, 16),
    reason=f"needs TRL 1.16 or later, which the extra `test` installs; here is {TRL.replace('0.0', 'none')}",
)

TRAINERS = {"DPO": "trl", "KTO": "trl"} | {name: f"trl.experimental.{name.lower()}" for name in ("CPO", "ORPO", "TPO")}
TARGETS = ("q_proj", "v_proj")


@dataclass(frozen=True)
class Step:
    """What a step gives before anything is stepped."""

    loss: float
    gradient: dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """A model and where both sides move it to.

    Args:
        folder: Model and tokenizer.
        rank: Of a LoRA; None trains every weight.
        move: Standard deviation of what is added to each weight that trains.
        shrink: Share of each such weight that is taken away before; a flatter model finds any text likelier.
        model: More of a recipe's ``model`` section.
    """

    folder: Path
    rank: int | None = None
    move: float = 0.01
    shrink: float = 0.0
    model: tuple[tuple[str, Any], ...] = ()

    @torch.no_grad()
    def shift(self, weights: dict[str, Tensor]) -> None:
        """Moves weights, the same way under the same name."""
        generator = torch.Generator().manual_seed(7)
        for name in sorted(weights):
            moved = self.move * torch.randn(weights[name].shape, generator=generator)
            if "lora_A" in name:
                weights[name].zero_()  # each side has drawn its own
            weights[name].mul_(1.0 - self.shrink).add_(10.0 * moved if "lora" in name else moved)


def opened(
    setting: Setting,
    output: Path,
    loss: dict[str, Any],
    pairs: Sequence[Pair],
    source: str = "dataset",
    *,
    labels: str = "hard",
    micro: int | None = None,
) -> Run:
    """A run of ours over all pairs in one batch, of small micro-batches where the loss allows it, its policy moved."""
    together = loss_named(loss["name"]).needs_whole_batch
    adapter = None if setting.rank is None else {"rank": setting.rank, "targets": list(TARGETS)}
    size = 2 * len(pairs) if source == "singles" else len(pairs)
    train = {
        "steps": 1,
        "batch_size": size,
        "micro_batch_size": micro or (size if together else 4),
        "learning_rate": 0.1,
        "max_grad_norm": None,
        "mixed_precision": "no",
    }
    recipe = make_recipe(
        {
            "model": {
                "kind": "text",
                "path": str(setting.folder),
                "adapter": adapter,
                "reference": "auto" if adapter else "copy",
                **dict(setting.model),
            },
            "data": {"train": "in memory"},
            "loss": loss,
            "pairs": source,
            "labels": labels,
            "train": train,
            "output": str(output),
        }
    )
    run = open_run(recipe, None, pairs, resume=False, check_only=False)
    setting.shift(_trained(run))
    return run


def batch_of(run: Run) -> list[Pair]:
    """The pairs of a run's first batch, in its order."""
    return [run.gradient_computer.pairs[index] for index, _ in run.order.batch(0)]


def ours(run: Run) -> Step:
    """The step of a run."""
    reading = run.gradient_computer.gradients(run.order.batch(0), 0)
    return Step(reading.loss, _gradient(run))


def recomputed(run: Run, loss: Callable[[Policy], Tensor]) -> Step:
    """A loss put together by hand from what our policy says."""
    value = loss(run.policy)
    value.backward()
    return Step(float(value.detach()), _gradient(run))


def scores_of(policy: Policy, token_pairs: Sequence[TokenPair]) -> PairLogps:
    """What policy and reference say of tokens, however they were cut into prompts and responses."""
    encoded = EncodedTexts(tuple(token_pairs), lay_out(token_pairs, policy.device))
    with torch.no_grad():
        reference = policy.reference_logps(encoded, None)
    (chosen, *more), (reference_chosen, *rest) = policy.logps(encoded, None).candidates, reference.candidates
    return PairLogps(chosen, *(more or [None]), reference_chosen, *(rest or [None]))


def trl(
    setting: Setting, trainer: str, rows: Sequence[dict[str, Any]], *, batch: int | None = None, **options: Any
) -> tuple[Step, list[dict[str, Any]]]:
    """The step of a trainer of TRL on the first ``batch`` rows, and all rows as it has tokenised them.

    Args:
        setting: Model, adapter and move.
        trainer: A key of ``TRAINERS``.
        rows: Texts by TRL's column names.
        batch: Rows that it takes at once; None: all.
        options: Of its configuration.
    """
    from accelerate import PartialState
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoModelForCausalLM, AutoTokenizer

    disable_progress_bars()
    room = importlib.import_module(TRAINERS[trainer])
    batch = batch or len(rows)

    def model() -> Any:
        return AutoModelForCausalLM.from_pretrained(setting.folder, dtype=torch.float32)

    made: dict[str, Any] = {"ref_model": model()} if trainer in ("DPO", "KTO") and setting.rank is None else {}
    if setting.rank is not None:
        from peft import LoraConfig

        made["peft_config"] = LoraConfig(r=setting.rank, lora_alpha=setting.rank, target_modules=list(TARGETS))
    config = getattr(room, f"{trainer}Config")(
        output_dir=str(setting.folder.parent / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=batch,
        report_to=[],
        disable_tqdm=True,
        **options,
    )
    try:
        with mock.patch("trl.trainer.base_trainer.send_telemetry"):
            stepper = getattr(room, f"{trainer}Trainer")(
                model=model(),
                args=config,
                train_dataset=Dataset.from_list(list(rows)),
                processing_class=AutoTokenizer.from_pretrained(setting.folder),
                **made,
            )
        named = stepper.model.named_parameters()
        weights = {name.removeprefix("base_model.model."): p for name, p in named if p.requires_grad}
        setting.shift(weights)
        stepper.current_gradient_accumulation_steps = 1  # what its own loop sets before the first step
        tokenised = [stepper.train_dataset[k] for k in range(len(rows))]
        loss = stepper.training_step(stepper.model, stepper.data_collator(tokenised[:batch]))
    finally:
        PartialState._reset_state()  # or whoever comes next in this process would stay on the CPU
    return Step(float(loss), {name: weight.grad for name, weight in weights.items()}), tokenised


def assert_same(one: Step, other: Step) -> None:
    """Within 1e-5, and the gradient within 2e-5: sums of some hundred nats in float32 leave half of it."""
    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert one.gradient.keys() == other.gradient.keys()
    for name, value in one.gradient.items():
        gap = float((value - other.gradient[name]).abs().max())
        assert gap <= 2e-5, f"{name}: {gap:.1e}"


def assert_apart(one: Step, other: Step) -> None:
    """Far enough to tell, the loss or a number of the gradient: a test of sameness would have failed by far."""
    gaps = [float((value - other.gradient[name]).abs().max()) for name, value in one.gradient.items()]
    assert max(abs(one.loss - other.loss), *gaps) > 1e-3


def columns(pair: Pair) -> dict[str, Any]:
    """A pair as a row of TRL's preference format. It calls the gold answer ``reference``."""
    gold = {"reference": cell(pair.further["gold"].candidate)} if "gold" in pair.further else {}
    return {"prompt": cell(pair.prompt), "chosen": cell(pair.chosen), "rejected": cell(pair.rejected), **gold}


def with_gold(pairs: Sequence[Pair], length: int | None = None) -> list[Pair]:
    """Pairs with a third answer, the best one known.

    Args:
        pairs: Two answers each.
        length: Characters of each gold answer, of texts; None: as it comes, each another.
    """

    answers = [other.chosen for other in (*pairs[1:], pairs[0])]
    if length is not None:
        answers = [f"{answer:x<{length}.{length}}" for answer in answers]
    return [replace(pair, further={"gold": Answer(answer)}) for pair, answer in zip(pairs, answers, strict=True)]


def thumb(example: Pair) -> dict[str, Any]:
    """A single example as a row of TRL's unpaired format."""
    return {"prompt": cell(example.prompt), "completion": cell(example.chosen), "label": example.desirable}


def cell(text: Text) -> Any:
    """A text, or its turns as TRL writes them."""
    return text if isinstance(text, str) else text.rows()


def _gradient(run: Run) -> dict[str, Tensor]:
    return {name: weight.grad.cpu() for name, weight in _trained(run).items()}


def _trained(run: Run) -> dict[str, Tensor]:
    return {name.removeprefix("model."): weight for name, weight in run.trainable.items()}
