"""Makes pairs of prompts: one answer with a prompt whose instructions it follows and with one whose instructions it
does not; and pairs with a second prompt that has more instructions which the chosen answer follows.

No judge is needed: instructions are made from the answers and checked on them. The instructions of a prompt never
contradict each other, because one known answer follows all of them: the row's own answer, and for the other prompt the
pair's other answer (for images also one of another row).

Source: Sun et al. 2025, multi-level aware preference learning (arXiv 2505.12845). The rows within a sample follow a
description of the paper; those between samples are rebuilt from its abstract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import get_args

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow, list_to_pair
from diffalign.data.records.conversation import ASSISTANT, Conversation, Text
from diffalign.data.records.pair import Answer, Dropped, Media, Pair
from diffalign.data.transforms.draw_instructions import Fits, Instructions, draw_contrast, draw_distinguishing
from diffalign.data.transforms.result import TransformResult
from diffalign.data.transforms.verifiable_instructions import RULES, Facts, Rule, attribute
from diffalign.errors import UserError, near_miss

ALIKE = "the rules do not distinguish the answers"


def within(
    rows: Sequence[PairRow],
    *,
    rules: Sequence[Rule] = RULES,
    least: int = 2,
    most: int = 5,
    fits: Fits = "some",
    template: str = "",
    seed: int = 0,
) -> TransformResult:
    """Makes two rows per pair, one for each of its answers: the answer with two prompts.

    A row is a pair with ``chosen`` and ``rejected`` equal and a ``rejected_prompt``; any loss on pairs trains with it.
    The column ``rules`` records the instructions.

    Args:
        rows: The pairs.
        rules: The rules to draw from; for images, those of `verifiable_instructions.attribute`.
        least, most: Bounds of the number of instructions; both prompts have the same rules.
        fits: How many instructions of the rejected prompt the answer may follow: ``"some"`` but not all, or ``"none"``.
        template: For images: the whole prompt, with ``{name}`` for each attribute's phrase; a row then needs all of
            them. With "" the phrases follow the prompt.
        seed: Seed of the draws.
    """
    _check_settings(least, most, fits, rules)
    least, most = (len(rules), len(rules)) if template else (least, most)
    result = TransformResult([])

    def make_rows() -> Iterator[PairRow]:
        for row, role, own_facts, other_facts in _sides(rows, rules, seed):
            random = Random(f"{seed}/{row.pair.id}/{role}")
            contrast = draw_contrast(own_facts, other_facts, rules, random, least, most, fits)
            if contrast is None:
                result.dropped.append(Dropped(row.pair.source, ALIKE, role))
                continue
            fulfilled, violated = contrast
            pair, answer = row.pair, row.pair.answers[role].candidate
            rule_records = [
                {"rule": rule.name, "prompt": a, "rejected_prompt": b}
                for (rule, a), (_, b) in zip(fulfilled, violated, strict=True)
            ]
            prompt_pair = Pair(
                f"{pair.id}/{role}",
                add_instructions(pair.prompt, fulfilled, template),
                answer,
                answer,
                source=pair.source,
                rejected_prompt=add_instructions(pair.prompt, violated, template),
                group=pair.group,
            )
            yield PairRow(prompt_pair, {**row.columns, "rules": rule_records})

    result.rows = make_rows()
    return result


def between(
    rows: Sequence[PairRow],
    *,
    rules: Sequence[Rule] = RULES,
    least: int = 2,
    most: int = 5,
    conflicting: float = 0.0,
    template: str = "",
    seed: int = 0,
) -> TransformResult:
    """Makes one row per pair: the pair, and the same two answers with a prompt of which the chosen one follows more, as
    the further answers ``augmented_chosen`` and ``augmented_rejected``.

    The loss ``margin_contrast`` increases the second margin above the first. The scores ``n_sat`` count the
    instructions that each answer follows.

    Args:
        rows, rules, least, most, template, seed: See :func:`within`.
        conflicting: Share of rows where the rejected answer follows more, so that the margin should be smaller: such a
            row has the longer prompt first, and the original one for the augmented answers.
    """
    _check_settings(least, most, "some", rules)
    if not 0.0 <= conflicting <= 1.0:
        raise UserError(f"conflicting is a share of the rows, in [0, 1]; got {conflicting}.")
    least, most = (len(rules), len(rules)) if template else (least, most)
    result = TransformResult([])

    def make_rows() -> Iterator[PairRow]:
        for row, role, own_facts, other_facts in _sides(rows, rules, seed, other_rows=False):
            random = Random(f"{seed}/{row.pair.id}/between")
            is_conflicting = random.random() < conflicting
            if role != ("rejected" if is_conflicting else "chosen"):
                continue
            instructions = draw_distinguishing(own_facts, other_facts, rules, random, least, most)
            if instructions is None:
                result.dropped.append(Dropped(row.pair.source, ALIKE, role))
                continue
            pair, prompt = list_to_pair(row.pair), add_instructions(row.pair.prompt, instructions, template)
            counts = len(instructions), sum(rule.holds(other_facts, a) for rule, a in instructions)
            n_sat = dict(zip((role, "rejected" if role == "chosen" else "chosen"), counts, strict=True))
            scores = {r: {**pair.scores.get(r, {}), "n_sat": float(n_sat[r])} for r in ("chosen", "rejected")}
            first, second = (prompt, pair.prompt) if is_conflicting else (pair.prompt, prompt)
            answers = {f"augmented_{r}": Answer(pair.answers[r].candidate, second) for r in ("chosen", "rejected")}
            pair = replace(pair, prompt=first, further={**pair.further, **answers}, scores={**pair.scores, **scores})
            rule_records = [{"rule": rule.name, "augmented_prompt": a} for rule, a in instructions]
            yield PairRow(pair, {**row.columns, "rules": rule_records})

    result.rows = make_rows()
    return result


def add_instructions(prompt: Text, instructions: Instructions, template: str = "") -> Text:
    """Adds instructions to a prompt.

    In a conversation they follow the user's last turn. They precede a plain text, whose end joins the answers. For an
    image they are further phrases, or fill the template.
    """
    if template:
        return template.format(**{rule.name: rule.format(argument) for rule, argument in instructions})
    phrases = [rule.format(argument) for rule, argument in instructions]
    if isinstance(prompt, Conversation):
        turns = list(prompt.messages)
        index = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
        turns[index] = replace(turns[index], content=f"{turns[index].content}\n\n{' '.join(phrases)}")
        return replace(prompt, messages=tuple(turns))
    for_image = instructions[0][0] not in RULES
    return ", ".join([prompt, *phrases]) if for_image else f"{' '.join(phrases)}\n\n{prompt}"


def checkable_facts(row: PairRow, role: str, rules: Sequence[Rule]) -> Facts | None:
    """Returns the input of the checkers for a candidate: a text's last turn, or an image's attributes from the columns
    ``chosen_NAME`` and ``rejected_NAME``, or ``NAME`` for both; None where there is none.
    """
    candidate = row.pair.answers[role].candidate
    if (text := _answer_text(candidate)) is not None:
        return text
    attributes = {rule.name: _attribute(row, role, rule.name) for rule in rules}
    return {name: value for name, value in attributes.items() if value} or None


def _answer_text(candidate: Media) -> str | None:
    if isinstance(candidate, Conversation):
        return next((turn.content for turn in reversed(candidate.messages) if turn.role == ASSISTANT), "")
    return candidate if isinstance(candidate, str) else None


def _attribute(row: PairRow, role: str, name: str) -> str:
    scores = row.pair.scores
    sources = (
        row.columns.get(f"{role}_{name}"),
        scores.get(role, {}).get(name),
        row.columns.get(name),
        scores.get("pair", {}).get(name),
    )
    value = next((value for value in sources if value is not None), "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sides(
    rows: Sequence[PairRow], rules: Sequence[Rule], seed: int, other_rows: bool = True
) -> Iterator[tuple[PairRow, str, Facts, Facts]]:
    """Yields every candidate's facts and those of another one: the pair's other candidate or, for images with equal
    facts and ``other_rows``, an image of another row.
    """
    image_facts: list[Facts | None] = []
    if other_rows and rules and rules[0] not in RULES:
        image_facts = [checkable_facts(row, "chosen", rules) for row in rows]
    for row in rows:
        if row.pair.rejected is None or row.pair.rejected_prompt is not None:
            continue
        facts_of = {role: checkable_facts(row, role, rules) for role in ("chosen", "rejected")}
        for role, other_role in (("chosen", "rejected"), ("rejected", "chosen")):
            own, other = facts_of[role], facts_of[other_role]
            if image_facts and own is not None and own == other:
                random = Random(f"{seed}/{row.pair.id}/{role}/stranger")
                draws = (random.choice(image_facts) for _ in range(32))
                other = next((facts for facts in draws if facts not in (None, own)), None)
            empty: Facts = "" if isinstance(own, str) else {}
            yield row, role, empty if own is None else own, empty if other is None else other


def _check_settings(least: int, most: int, fits: str, rules: Sequence[Rule]) -> None:
    if not 1 <= least <= most:
        raise UserError(f"a prompt gets from least to most instructions, 1 <= least <= most; got {least} and {most}.")
    if fits not in get_args(Fits):
        raise UserError(f"fits is one of {', '.join(get_args(Fits))}; got '{fits}'.{near_miss(fits, get_args(Fits))}")
    if not rules:
        raise UserError(
            "instructions need at least one rule; got none. Name some with --rule, or leave it out for all."
        )


def select_rules(names: Sequence[str], attributes: Mapping[str, str]) -> tuple[Rule, ...]:
    """Returns the rules with these names, or all without names; for images those of ``{attribute: phrase}``.

    Raises:
        UserError: There is no rule with this name.
    """
    if attributes:
        return tuple(attribute(name, phrase) for name, phrase in attributes.items())
    by_name = {rule.name: rule for rule in RULES}
    for name in names:
        if name not in by_name:
            raise UserError(f"there is no rule '{name}'.{near_miss(name, by_name)} Rules: {', '.join(by_name)}.")
    return tuple(by_name[name] for name in names) or RULES
