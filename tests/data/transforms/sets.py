"""Rows that the tests of transforms share."""

from __future__ import annotations

import random

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.conversation import Conversation, Message
from diffalign.data.records.pair import Answer, Pair

WORDS = ["river", "stone", "Apple", "green", "quickly", "under", "seven", "houses", "because", "perhaps", "walking"]
WORDS += ["Paris", "thunder", "42", "it's", "cold"]


def answer(rng: random.Random) -> str:
    """A random answer of sentences, paragraphs and lists."""
    blocks = []
    for _ in range(rng.randint(1, 3)):
        lines = []
        for _ in range(rng.randint(1, 3)):
            text = " ".join(rng.choices(WORDS, k=rng.randint(1, 12))) + rng.choice([".", "!", "?", "", ";", ","])
            lines.append(rng.choice(["", "", "- ", "1. "]) + text)
        blocks.append("\n".join(lines))
    text = "\n\n".join(blocks)
    return rng.choice([text, text, text.lower(), text.upper(), '{"a": [1, 2]}'])


def texts(count: int = 20, seed: int = 0, users: int = 4, chat: bool = False) -> list[PairRow]:
    """Pairs of random answers with users, personas, and scores by three judges."""
    rng, lines = random.Random(seed), []
    for n in range(count):
        good, bad = answer(rng), answer(rng)
        while bad == good:
            bad = answer(rng)
        prompt = f"question {n // 2}?"
        if chat:
            prompt = Conversation((Message("system", "be kind"), Message("user", prompt)))
            good, bad = (Conversation((Message("assistant", text),)) for text in (good, bad))
        scores = {role: {f"judge{j}": rng.gauss(0, 1) for j in range(3)} for role in ("chosen", "rejected")}
        user = f"user{n % users}"
        pair = Pair(f"id{n}", prompt, good, bad, scores=scores, source=f"t.jsonl:{n}", group=user)
        lines.append(PairRow(pair, {"language": "en", "persona": f"likes {user}"}))
    return lines


def ranked(*ratings: float, name: str = "list") -> PairRow:
    """A list of answers with these ratings, in the order of their roles: chosen, 2, 3, ..., rejected."""
    roles = ["chosen", *(str(n) for n in range(2, len(ratings))), "rejected"]
    answers = {role: f"answer {rating:g} of {role}" for role, rating in zip(roles, ratings, strict=True)}
    further = {role: Answer(answers[role]) for role in roles[1:-1]}
    scores = {role: {"rating": rating} for role, rating in zip(roles, ratings, strict=True)}
    return PairRow(
        Pair(name, f"prompt of {name}", answers["chosen"], answers["rejected"], scores=scores, further=further)
    )
