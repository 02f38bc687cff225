"""Implicit rewards of the tokens of answers under an aligned model, as a table or as a page of coloured tokens.

The numbers are defined in `losses.diagnostics.credit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from diffalign.data.records.pair import Pair
from diffalign.data.records.progress_file import Progress
from diffalign.errors import DataError, UserError
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import json_lines
from diffalign.losses.diagnostics.token_credit import token_rewards
from diffalign.policies.language.policy import LanguagePolicy
from diffalign.randomness import Draw

STYLE = (
    "body{font:16px/1.7 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;"
    "background:#fff}h2{font-size:1rem;margin:2rem 0 .2rem}pre{white-space:pre-wrap;font:inherit;margin:.3rem 0}"
    ".prompt{color:#666}.total{color:#666;font-size:.85rem}"
)


@dataclass(frozen=True)
class AnswerRewards:
    """The tokens of one answer with their rewards.

    Args:
        id: Id of the pair.
        role: Role of the answer in the pair.
        prompt: Prompt of the answer.
        tokens: The scored tokens, decoded one by one.
        rewards: Reward of each token, in the unit of beta.
        values: Sums of the rewards before each token, and of all.
    """

    id: str
    role: str
    prompt: str
    tokens: list[str]
    rewards: list[float]
    values: list[float]


def answer_rewards(
    policy: Any, pairs: Sequence[Pair], *, beta: float = 0.1, batch: int = 8, progress: Progress | None = None
) -> Iterator[AnswerRewards]:
    """Yields the rewards of the tokens of every answer, pair by pair.

    Args:
        policy: An aligned language model with its base as the reference.
        pairs: Pairs, or single examples.
        beta: The beta that it was trained with.
        batch: Pairs per forward pass.
        progress: Called as ``progress(what, done, total)``.

    Raises:
        UserError: The model generates images, whose log-probability is not a sum over tokens.
        DataError: Candidates that are not texts.
    """
    if not isinstance(policy, LanguagePolicy):
        raise UserError(
            f"Rewards of tokens need a language model, and this model generates {policy.medium}s. "
            "Give a language model with --model."
        )
    for start in range(0, len(pairs), batch):
        answers = [
            (pair.id, role, Pair(f"{pair.id}/{role}", pair.prompt_of(role), answer.candidate, None, source=pair.source))
            for pair in pairs[start : start + batch]
            for role, answer in pair.answers.items()
        ]
        yield from _rewards_of_batch(policy, answers, beta)
        if progress is not None:
            progress("pairs read", min(start + batch, len(pairs)), len(pairs))


@torch.no_grad()
def _rewards_of_batch(
    policy: LanguagePolicy, answers: Sequence[tuple[str, str, Pair]], beta: float
) -> list[AnswerRewards]:
    singles = [single for _, _, single in answers]
    encoded, draw = policy.encode(singles), Draw(0, tuple(s.id for s in singles), (0,) * len(singles))
    (aligned,), (base,) = policy.logps(encoded, draw).candidates, policy.reference_logps(encoded, draw).candidates
    if aligned.parts is None or base.parts is None or aligned.lengths is None:
        raise DataError("this model returns no log-probabilities of tokens.")
    mask = torch.arange(aligned.parts.shape[1], device=aligned.parts.device) < aligned.lengths[:, None]
    credit = token_rewards(aligned.parts, base.parts, mask, beta=beta)
    rows = []
    for index, ((pair_id, role, single), token_pair) in enumerate(zip(answers, encoded.token_pairs, strict=True)):
        (response,) = token_pair.responses
        ids = [token for token, scored in zip(response.ids, response.scored, strict=True) if scored]
        tokens = [policy.pair_tokenizer.decode([token]) for token in ids]
        rewards, values = credit.rewards[index, : len(ids)].tolist(), credit.values[index, : len(ids) + 1].tolist()
        rows.append(AnswerRewards(pair_id, role, str(single.prompt), tokens, rewards, values))
    return rows


def write_token_rewards(path: Path, rows: Sequence[AnswerRewards], *, beta: float) -> Path:
    """Writes a page (``.html``) or a table (``.jsonl``), depending on the file name's ending.

    Raises:
        UserError: Another ending.
    """
    if path.suffix == ".jsonl":
        text = json_lines(map(asdict, rows))
    elif path.suffix == ".html":
        text = token_rewards_page(rows, beta=beta)
    else:
        raise UserError(f"Rewards of tokens are written as .html or .jsonl; got the name '{path.name}'.")
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="replace"))


def token_rewards_page(rows: Sequence[AnswerRewards], *, beta: float) -> str:
    """Returns one page without scripts: tokens with positive rewards are green, with negative ones red, and the largest
    reward on the page has the strongest colour. Text from outside is escaped.
    """
    from markupsafe import Markup

    largest = max((abs(reward) for row in rows for reward in row.rewards), default=0.0) or 1.0
    parts = []
    for row in rows:
        spans = Markup("").join(
            Markup('<span style="background:{}" title="reward {:+.4f}, value before it {:+.4f}">{}</span>').format(
                _colour(reward / largest), reward, value, token
            )
            for token, reward, value in zip(row.tokens, row.rewards, row.values, strict=False)
        )
        parts.append(
            Markup(
                '<h2>{}, {}</h2><pre class="prompt">{}</pre><pre>{}</pre><div class="total">total {:+.4f}</div>'
            ).format(row.id, row.role, row.prompt, spans, row.values[-1])
        )
    head = Markup('<!doctype html><html lang="en"><meta charset="utf-8"><title>Rewards of tokens</title>')
    intro = Markup(
        "<style>{}</style><h1>Rewards of tokens</h1><p>{} (log-probability of the model minus that of its base), "
        "token by token. Green tokens became more likely, red tokens less likely.</p>"
    ).format(Markup(STYLE), f"{beta:g} x")
    return str(head + intro + Markup("").join(parts) + Markup("</html>\n"))


def _colour(strength: float) -> str:
    red, green, blue = (34, 139, 34) if strength > 0 else (200, 40, 40)
    return f"rgba({red},{green},{blue},{min(1.0, abs(strength)) * 0.75:.3f})"
