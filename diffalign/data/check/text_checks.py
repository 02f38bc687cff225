"""Checks of texts: their findings, and the counts that a report shows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from diffalign.data.check.checks import WORD, Tally, normalise
from diffalign.data.check.report import CheckFinding, Severity
from diffalign.data.readers.file_names import is_media_name
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import Media, Pair

TOKENS = 1024
"""Tokens of prompt and answer that a language model is trained on by default (``model.max_length``)."""

ROLES = ("system", "user", "assistant")


def check_texts(pairs: Sequence[Pair]) -> Iterator[CheckFinding]:
    """Finds texts that will be truncated, that lack a separator, that hardly differ, or that mix forms or roles."""
    plain_rows, turn_rows, long, unseparated, alike, other_roles, files = (Tally() for _ in range(7))
    for pair in pairs:
        answers = [text for text in (pair.chosen, pair.rejected) if isinstance(text, (str, Conversation))]
        if not answers:
            continue
        source = pair.source or pair.id
        (turn_rows if isinstance(pair.prompt, Conversation) else plain_rows).add(source)
        if _count_tokens(pair.prompt) + max(map(_count_tokens, answers)) > TOKENS:
            long.add(source)
        if any(_lacks_separator(pair.prompt, answer) for answer in answers):
            unseparated.add(source)
        if len(answers) == 2 and answers[0] != answers[1] and normalise(answers[0]) == normalise(answers[1]):
            alike.add(source)
        if any(isinstance(answer, str) and is_media_name(answer) for answer in answers):
            files.add(source)
        if _roles(pair.prompt, *answers) - set(ROLES):
            other_roles.add(source)
    if plain_rows.count and turn_rows.count:
        fix = "Bring all rows into one form: a model's chat template applies to turns only."
        few, many = ("plain", "in turns") if plain_rows.count < turn_rows.count else ("in turns", "plain")
        rows = min(plain_rows, turn_rows, key=lambda rows: rows.count)
        yield CheckFinding("warning", f"rows that are {few} where others are {many}", rows.count, rows.examples, fix)
    findings: list[tuple[Severity, str, Tally, str]] = [
        ("warning", "pairs whose answers differ only in case and spacing", alike,
         "Remove these rows, unless the model should learn that difference."),
        ("warning", "answers that are names of images or videos, read as texts beside other texts", files,
         "Give each row the name of a file, or remove the rows with texts: then all are read as files."),
        ("note", f"texts of more than {TOKENS:,} tokens with their prompt", long,
         "Tokens beyond model.max_length are cut off; raise it where memory allows."),
        ("note", "plain answers that follow their prompt without a space or a line break", unseparated,
         "Prompt and answer are joined unchanged. Put the separator at the beginning of the answer."),
        ("note", f"turns of other roles than {', '.join(ROLES)}", other_roles,
         "Check that the model's chat template accepts them."),
    ]  # fmt: skip
    for severity, what, rows, fix in findings:
        if rows.count:
            yield CheckFinding(severity, what, rows.count, rows.examples, fix)


def text_facts(pairs: Sequence[Pair]) -> dict[str, str]:
    """Returns the lengths and forms of a set's texts as lines of a report; empty where there are no texts."""
    words = {name: array("I") for name in ("prompt", "chosen", "rejected")}
    forms, prompt_turns, labels = Counter[str](), array("I"), Counter[bool]()
    for pair in pairs:
        if not isinstance(pair.chosen, (str, Conversation)):
            continue
        sides: dict[str, Media | None] = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for name, text in sides.items():
            if isinstance(text, (str, Conversation)):
                words[name].append(sum(len(part.split()) for part in _parts(text)))
        labels[pair.desirable] += pair.rejected is None
        if isinstance(pair.prompt, Conversation):
            prompt_turns.append(len(pair.prompt))
            forms["with a system turn"] += any(turn.role == "system" for turn in pair.prompt.messages)
            forms["answered in several turns"] += isinstance(pair.chosen, Conversation) and len(pair.chosen) > 1
        else:
            forms["plain"] += 1
    if not words["chosen"]:
        return {}
    lines = {f"{name} words": _span(counts) for name, counts in words.items() if counts}
    parts = [f"{forms['plain']:,} plain"] if forms["plain"] else []
    if prompt_turns:
        parts.append(f"{len(prompt_turns):,} in turns (prompts of {_span(prompt_turns)} turns)")
    parts += [f"{forms[name]:,} {name}" for name in ("with a system turn", "answered in several turns") if forms[name]]
    lines["form"] = ", ".join(parts)
    if labels[False]:
        lines["labels"] = f"{labels[True]:,} desirable, {labels[False]:,} undesirable"
    return lines


def _span(counts: array[int]) -> str:
    return f"min {min(counts):,}, median {median(counts):,g}, max {max(counts):,}"


def _parts(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [turn.content for turn in text.messages]


def _count_tokens(text: Text) -> int:
    """Returns a lower bound of the tokens: every word and every mark is at least one."""
    return sum(len(WORD.findall(part)) for part in _parts(text))


def _lacks_separator(prompt: Text, answer: Text) -> bool:
    if not isinstance(prompt, str) or not isinstance(answer, str):
        return False
    return bool(prompt) and bool(answer) and not prompt[-1].isspace() and not answer[0].isspace()


def _roles(*texts: Text) -> set[str]:
    return {turn.role for text in texts if isinstance(text, Conversation) for turn in text.messages}
