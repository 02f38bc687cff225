"""Rows of pairs and of ranked lists, of samples that a model made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.seeds import SEED
from diffalign.evaluation.samples.medium import MEDIA


@dataclass(frozen=True)
class OwnSample:
    """A sample of the model with what was judged of it.

    Args:
        seed: The seed that it was sampled with.
        content: A text, or the file of an image or clip.
        value: What ranks it: its score, or its win rate without one.
        win: Its win rate.
        advantage: Its centred score in logits.
        scores: Its scores by name; empty where a judge only compared.
    """

    seed: int
    content: Any
    value: float
    win: float
    advantage: float
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_score(self) -> bool:
        """Whether its value is a score."""
        return bool(self.scores)


def pair_row(prompt: Text, chosen: OwnSample, rejected: OwnSample, medium: str) -> dict[str, Any]:
    """Returns the row of a pair: its candidates, what their files state alike, and their numbers."""
    sides = {"chosen": chosen, "rejected": rejected}
    row: dict[str, Any] = {
        **_prompt_columns(prompt),
        **{role: _candidate(prompt, side) for role, side in sides.items()},
    }
    if chosen.has_score:
        row |= {f"{role}_score": side.value for role, side in sides.items()}
    row |= {f"{SEED}_{role}": side.seed for role, side in sides.items()}
    row |= _shared_columns(medium, chosen.content, rejected.content)
    for name in ("win", "advantage"):
        row |= {f"{role}_{name}": getattr(side, name) for role, side in sides.items()}
    if len(chosen.scores) > 1:
        for scorer in chosen.scores:
            row |= {f"{role}_{scorer}": side.scores[scorer] for role, side in sides.items()}
        row["agreement"] = agreement(chosen, rejected)
    return row


def agreement(chosen: OwnSample, rejected: OwnSample) -> float:
    """Returns the share of the scorers whose own scores favour the chosen sample; equal scores count half."""
    gaps = [score - rejected.scores[name] for name, score in chosen.scores.items()]
    return sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)


def list_row(prompt: Text, samples: Sequence[OwnSample]) -> dict[str, Any]:
    """Returns a row with all samples of a prompt, the best first."""
    ranked = sorted(samples, key=lambda sample: -sample.value)
    candidates = [_candidate(prompt, sample) for sample in ranked]
    return {**_prompt_columns(prompt), "completions": candidates, "scores": [sample.value for sample in ranked]}


def _candidate(prompt: Text, sample: OwnSample) -> Any:
    content = sample.content.name if isinstance(sample.content, Path) else sample.content
    return [{"role": "assistant", "content": content}] if isinstance(prompt, Conversation) else content


def _prompt_columns(prompt: Text) -> dict[str, Any]:
    if not isinstance(prompt, Conversation):
        return {"prompt": prompt}
    return {"prompt": prompt.rows(), **({"tools": prompt.tools} if prompt.tools_json else {})}


def _shared_columns(medium: str, chosen: Any, rejected: Any) -> dict[str, Any]:
    """Returns what the metadata states of two files alike: of clips their frames and rate."""
    if not isinstance(chosen, Path):
        return {}
    columns, others = (MEDIA[medium].columns(content) for content in (chosen, rejected))
    return {name: value for name, value in columns.items() if others[name] == value}
