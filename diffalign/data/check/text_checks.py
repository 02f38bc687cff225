"""What a check finds in texts, and what it counts of them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from diffalign.data.check.checks import WORD, Tally, plain
from diffalign.data.check.report import CheckFinding
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import Media, Pair

TOKENS = 1024
"""What a language model is trained on of a pair, by default (``model.max_length``): tokens of prompt and answer."""

ROLES = ("system", "user", "assistant")


def texts(pairs: Sequence[Pair]) -> Iterator[CheckFinding]:
    """Texts that will be cut, that run into each other, that hardly differ, or come in forms that do not fit."""
    plain_rows, turned, long, glued, alike, strange = (Tally() for _ in range(6))
    for pair in pairs:
        answers = [text for text in (pair.chosen, pair.rejected) if isinstance(text, (str, Conversation))]
        if not answers:
            continue
        source = pair.source or pair.id
        (turned if isinstance(pair.prompt, Conversation) else plain_rows).add(source)
        if _tokens(pair.prompt) + max(map(_tokens, answers)) > TOKENS:
            long.add(source)
        if any(_glued(pair.prompt, answer) for answer in answers):
            glued.add(source)
        if len(answers) == 2 and answers[0] != answers[1] and plain(answers[0]) == plain(answers[1]):
            alike.add(source)
        if _roles(pair.prompt, *answers) - set(ROLES):
            strange.add(source)
    if plain_rows.count and turned.count:
        fix = "Bring all rows into one form: a model's template is laid around turns only."
        few, many = ("plain", "in turns") if plain_rows.count < turned.count else ("in turns", "plain")
        rows = min(plain_rows, turned, key=lambda rows: rows.count)
        yield CheckFinding("warning", f"rows that are {few} where others are {many}", rows.count, rows.examples, fix)
    for severity, what, rows, fix in (
        ("warning", "pairs whose answers differ in case and spacing alone", alike,
         "Remove these rows, unless that is what is to be learnt."),
        ("note", f"texts of more than {TOKENS:,} tokens with their prompt", long,
         "What exceeds model.max_length is cut off; raise it where memory allows."),
        ("note", "plain answers that follow their prompt without a space or a line break", glued,
         "They are joined as they stand; put what belongs between them at the answer's beginning."),
        ("note", f"turns of other roles than {', '.join(ROLES)}", strange,
         "See that the model's chat template knows them."),
    ):  # fmt: skip
        if rows.count:
            yield CheckFinding(severity, what, rows.count, rows.examples, fix)  # type: ignore[arg-type]


def text_lines(pairs: Sequence[Pair]) -> dict[str, str]:
    """What is to be told of a set's texts: how long they are, and in which form; nothing where there are none."""
    words = {name: array("I") for name in ("prompt", "chosen", "rejected")}
    forms, asked, good = Counter[str](), array("I"), Counter[bool]()
    for pair in pairs:
        if not isinstance(pair.chosen, (str, Conversation)):
            continue
        sides: dict[str, Media | None] = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for name, text in sides.items():
            if isinstance(text, (str, Conversation)):
                words[name].append(sum(len(part.split()) for part in _parts(text)))
        good[pair.desirable] += pair.rejected is None
        if isinstance(pair.prompt, Conversation):
            asked.append(len(pair.prompt))
            forms["with a system turn"] += any(turn.role == "system" for turn in pair.prompt.messages)
            forms["answered in several turns"] += isinstance(pair.chosen, Conversation) and len(pair.chosen) > 1
        else:
            forms["plain"] += 1
    if not words["chosen"]:
        return {}
    lines = {f"{name} words": _span(counts) for name, counts in words.items() if counts}
    parts = [f"{forms['plain']:,} plain"] if forms["plain"] else []
    if asked:
        parts.append(f"{len(asked):,} in turns (prompts of {_span(asked)} turns)")
    parts += [f"{forms[name]:,} {name}" for name in ("with a system turn", "answered in several turns") if forms[name]]
    lines["form"] = ", ".join(parts)
    if good[False]:
        lines["labels"] = f"{good[True]:,} good, {good[False]:,} to be avoided"
    return lines


def _span(counts: array[int]) -> str:
    return f"min {min(counts):,}, median {median(counts):,g}, max {max(counts):,}"


def _parts(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [turn.content for turn in text.messages]


def _tokens(text: Text) -> int:
    """At least so many: every word and every mark is one."""
    return sum(len(WORD.findall(part)) for part in _parts(text))


def _glued(prompt: Text, answer: Text) -> bool:
    whole = isinstance(prompt, str) and isinstance(answer, str) and bool(prompt) and bool(answer)
    return whole and not prompt[-1:].isspace() and not answer[:1].isspace()  # type: ignore[index, union-attr]


def _roles(*texts: Text) -> set[str]:
    return {turn.role for text in texts if isinstance(text, Conversation) for turn in text.messages}
