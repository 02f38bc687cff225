"""Prompt pairs: an answer under a prompt whose instructions it follows, against the same answer under one that it does
not; and pairs whose prompt asks for more of what the chosen answer does.

No judge is asked: instructions are made from the answers and checked on them. Nothing that a prompt asks contradicts
itself, because some answer is known that follows all of it: the one whose prompt it is, and for the other prompt the
pair's other answer (of images also one of another row).

Source: Sun et al. 2025, multi-level aware preference learning (arXiv 2505.12845). The rows within a sample follow a
description of the paper; those between samples are rebuilt from its abstract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal, get_args

from diffalign.data.readers.rows_with_columns import PairRow, list_to_pair
from diffalign.data.records.conversation import ASSISTANT, Conversation, Message, Text
from diffalign.data.records.pair import Answer, Dropped, Media, Pair
from diffalign.data.transforms.result import TransformResult
from diffalign.data.transforms.verifiable_instructions import RULES, Facts, Rule, attribute
from diffalign.errors import UserError, near_miss

Fits = Literal["some", "none"]
Asked = list[tuple[Rule, Any]]
ALIKE = "the rules do not tell the answers apart"


def within(
    lines: Sequence[PairRow],
    *,
    rules: Sequence[Rule] = RULES,
    least: int = 2,
    most: int = 5,
    fits: Fits = "some",
    template: str = "",
    seed: int = 0,
) -> TransformResult:
    """Two rows per pair, one for each of its answers: the answer under two prompts.

    A row is a pair with ``chosen`` and ``rejected`` equal and a ``rejected_prompt``: any loss on pairs trains with it.
    The column ``rules`` says what was asked.

    Args:
        lines: The pairs.
        rules: What may be asked; for images, the rules of `verifiable_instructions.attribute`.
        least, most: How many instructions a prompt gets; the same rules in both prompts.
        fits: Of the rejected prompt the answer follows ``"some"`` instructions at most, not all, or ``"none"``.
        template: Of images: the whole prompt, ``{name}`` for each attribute's phrase, all of which a row then needs;
            "": the phrases follow the prompt.
        seed: Of the choice.
    """
    _check(least, most, fits, rules)
    least, most = (len(rules), len(rules)) if template else (least, most)
    outcome = TransformResult([])

    def made() -> Iterator[PairRow]:
        for line, role, own, other in _sides(lines, rules, seed):
            random = Random(f"{seed}/{line.pair.id}/{role}")
            found = _contrast(own, other, rules, random, least, most, fits)
            if found is None:
                outcome.dropped.append(Dropped(line.pair.source, ALIKE, role))
                continue
            right, wrong = found
            pair, answer = line.pair, line.pair.answers[role].candidate
            rows = [
                {"rule": rule.name, "prompt": a, "rejected_prompt": b}
                for (rule, a), (_, b) in zip(right, wrong, strict=True)
            ]
            prompts = [add_instructions(pair.prompt, asked, template) for asked in (right, wrong)]
            changed = Pair(
                f"{pair.id}/{role}",
                prompts[0],
                answer,
                answer,
                source=pair.source,
                rejected_prompt=prompts[1],
                group=pair.group,
            )
            yield PairRow(changed, {**line.columns, "rules": rows})

    outcome.lines = made()
    return outcome


def between(
    lines: Sequence[PairRow],
    *,
    rules: Sequence[Rule] = RULES,
    least: int = 2,
    most: int = 5,
    conflicting: float = 0.0,
    template: str = "",
    seed: int = 0,
) -> TransformResult:
    """One row per pair: the pair, and the same two answers under a prompt of which the chosen one follows more, as the
    further answers ``augmented_chosen`` and ``augmented_rejected``.

    The loss ``margin_contrast`` wants the second margin above the first. Scores ``n_sat`` count what each follows.

    Args:
        lines, rules, least, most, template, seed: As of :func:`within`.
        conflicting: Share of rows where the rejected answer follows more, so that the margin should be smaller there:
            such a row has the longer prompt first and the plain one as the augmented one.
    """
    _check(least, most, "some", rules)
    if not 0.0 <= conflicting <= 1.0:
        raise UserError(f"conflicting is a share of the rows, in [0, 1]; got {conflicting}.")
    least, most = (len(rules), len(rules)) if template else (least, most)
    outcome = TransformResult([])

    def made() -> Iterator[PairRow]:
        for line, role, own, other in _sides(lines, rules, seed, strangers=False):
            random = Random(f"{seed}/{line.pair.id}/between")
            turned = random.random() < conflicting
            if role != ("rejected" if turned else "chosen"):
                continue
            asked = _telling(own, other, rules, random, least, most)
            if asked is None:
                outcome.dropped.append(Dropped(line.pair.source, ALIKE, role))
                continue
            pair, prompt = list_to_pair(line.pair), add_instructions(line.pair.prompt, asked, template)
            counts = len(asked), sum(rule.holds(other, a) for rule, a in asked)
            follows = dict(zip((role, "rejected" if role == "chosen" else "chosen"), counts, strict=True))
            scores = {r: {**pair.scores.get(r, {}), "n_sat": float(follows[r])} for r in ("chosen", "rejected")}
            first, second = (prompt, pair.prompt) if turned else (pair.prompt, prompt)
            answers = {f"augmented_{r}": Answer(pair.answers[r].candidate, second) for r in ("chosen", "rejected")}
            changed = replace(pair, prompt=first, further={**pair.further, **answers}, scores={**pair.scores, **scores})
            rows = [{"rule": rule.name, "augmented_prompt": a} for rule, a in asked]
            yield PairRow(changed, {**line.columns, "rules": rows})

    outcome.lines = made()
    return outcome


def add_instructions(prompt: Text, asked: Asked, template: str = "") -> Text:
    """The prompt with instructions: in turns after what the user says last, of a plain text before it (so that answers
    join it as they did), of an image as further phrases, or in the template's places."""
    if template:
        return template.format(**{rule.name: rule.say(argument) for rule, argument in asked})
    said = [rule.say(argument) for rule, argument in asked]
    if isinstance(prompt, Conversation):
        turns = list(prompt.messages)
        place = max((i for i, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)
        turns[place] = Message(turns[place].role, f"{turns[place].content}\n\n{' '.join(said)}")
        return Conversation(tuple(turns))
    imaged = asked[0][0] not in RULES
    return ", ".join([prompt, *said]) if imaged else f"{' '.join(said)}\n\n{prompt}"


def checkable_facts(line: PairRow, role: str, rules: Sequence[Rule]) -> Facts | None:
    """What checkers see of a candidate: of a text its last turn, of an image the attributes in the row's columns, as
    ``chosen_NAME`` and ``rejected_NAME`` or ``NAME`` for both; None where there is nothing to see."""
    candidate = line.pair.answers[role].candidate
    if (text := _answer(candidate)) is not None:
        return text
    found = {rule.name: _attribute(line, role, rule.name) for rule in rules}
    return {name: value for name, value in found.items() if value} or None


def _answer(candidate: Media) -> str | None:
    if isinstance(candidate, Conversation):
        return next((turn.content for turn in reversed(candidate.messages) if turn.role == ASSISTANT), "")
    return candidate if isinstance(candidate, str) else None


def _attribute(line: PairRow, role: str, name: str) -> str:
    scores = line.pair.scores
    places = (
        line.columns.get(f"{role}_{name}"),
        scores.get(role, {}).get(name),
        line.columns.get(name),
        scores.get("pair", {}).get(name),
    )
    value = next((value for value in places if value is not None), "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sides(
    lines: Sequence[PairRow], rules: Sequence[Rule], seed: int, strangers: bool = True
) -> Iterator[tuple[PairRow, str, Facts, Facts]]:
    """Every candidate with what is seen of it and of another one, which is the pair's other or, where that looks alike
    and images have ``strangers``, an image of another row."""
    known: list[Facts | None] = []
    if strangers and rules and rules[0] not in RULES:
        known = [checkable_facts(line, "chosen", rules) for line in lines]
    for line in lines:
        if line.pair.rejected is None or line.pair.rejected_prompt is not None:
            continue
        seen = {role: checkable_facts(line, role, rules) for role in ("chosen", "rejected")}
        for role, other in (("chosen", "rejected"), ("rejected", "chosen")):
            own, second = seen[role], seen[other]
            if known and own is not None and own == second:
                random = Random(f"{seed}/{line.pair.id}/{role}/stranger")
                drawn = (random.choice(known) for _ in range(32))
                second = next((facts for facts in drawn if facts not in (None, own)), None)
            empty: Facts = "" if isinstance(own, str) else {}
            yield line, role, empty if own is None else own, empty if second is None else second


def _contrast(
    own: Facts, other: Facts, rules: Sequence[Rule], random: Random, least: int, most: int, fits: Fits
) -> tuple[Asked, Asked] | None:
    """Instructions that ``own`` follows, and the same rules as ``other`` follows them and ``own`` does not."""

    def proposed(rule: Rule) -> tuple[Any, Any] | None:
        pair = rule.propose(own, other, random), rule.propose(other, own, random)
        return None if None in pair or not (rule.holds(own, pair[0]) and rule.holds(other, pair[1])) else pair

    chosen = _drawn(
        rules, proposed, lambda rule, pair: not rule.holds(own, pair[1]), random, least, most, fits == "none"
    )
    if chosen is None:
        return None
    return [(rule, pair[0]) for rule, pair in chosen], [(rule, pair[1]) for rule, pair in chosen]


def _telling(own: Facts, other: Facts, rules: Sequence[Rule], random: Random, least: int, most: int) -> Asked | None:
    """Instructions that ``own`` follows and ``other`` does not all follow."""

    def proposed(rule: Rule) -> Any:
        argument = rule.propose(own, other, random)
        return argument if argument is not None and rule.holds(own, argument) else None

    return _drawn(rules, proposed, lambda rule, a: not rule.holds(other, a), random, least, most, False)


def _drawn(
    rules: Sequence[Rule],
    proposed: Callable[[Rule], Any],
    tells: Callable[[Rule, Any], bool],
    random: Random,
    least: int,
    most: int,
    only_telling: bool,
) -> Asked | None:
    """A few rules with their arguments, at least one of which tells the answers apart; None where there are too few."""
    order = list(rules)
    random.shuffle(order)
    telling: dict[str, tuple[Rule, Any]] = {}
    others: dict[str, tuple[Rule, Any]] = {}
    for rule in order:
        if rule.about in telling or (argument := proposed(rule)) is None:
            continue
        (telling if tells(rule, argument) else others).setdefault(rule.about, (rule, argument))
    spare = [] if only_telling else [found for about, found in others.items() if about not in telling]
    if not telling or len(telling) + len(spare) < least:
        return None
    first, *rest = telling.values()
    pool = [*rest, *spare]
    random.shuffle(pool)
    found = [first, *pool[: random.randint(least, max(least, min(most, 1 + len(pool)))) - 1]]
    random.shuffle(found)
    return found


def _check(least: int, most: int, fits: str, rules: Sequence[Rule]) -> None:
    if not 1 <= least <= most:
        raise UserError(f"a prompt gets from least to most instructions, 1 <= least <= most; got {least} and {most}.")
    if fits not in get_args(Fits):
        raise UserError(f"fits is one of {', '.join(get_args(Fits))}; got '{fits}'.{near_miss(fits, get_args(Fits))}")
    if not rules:
        raise UserError("no rule is left to make instructions of.")


def select_rules(names: Sequence[str], attributes: Mapping[str, str]) -> tuple[Rule, ...]:
    """The rules of these names, all where none is named; of images those of ``{attribute: phrase}``.

    Raises:
        UserError: No such rule.
    """
    if attributes:
        return tuple(attribute(name, phrase) for name, phrase in attributes.items())
    known = {rule.name: rule for rule in RULES}
    for name in names:
        if name not in known:
            raise UserError(f"there is no rule '{name}'.{near_miss(name, known)} Rules: {', '.join(known)}.")
    return tuple(known[name] for name in names) or RULES
