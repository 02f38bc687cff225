"""Mutations of the bytes of a file: cut off, flipped, with strays inside, repeated, in another encoding, empty."""

import random
from collections.abc import Callable, Iterator

STRAYS = (b"\0", b"\x1b[31m", b"\xff\xfe", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\r", b"\t", b"{", b"]", b'"', b"\xc3")
"""Nothing, a terminal's colour, half a UTF-16 mark, U+2028, a lone surrogate, brackets, half a letter of UTF-8."""


def mutated_bytes(content: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields ``count`` mutations of a file's content with their names; the same ones for the same seed."""
    draw = random.Random(seed)
    kinds = list(MUTATIONS.items())
    for number in range(count):
        name, mutate = kinds[number % len(kinds)]  # every kind, in turn
        yield f"{name} ({number})", mutate(content, draw)


def _truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _flip(content: bytes, draw: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(draw.choice((1, 1, 8, 64)) if result else 0):
        result[draw.randrange(len(result))] ^= 1 << draw.randrange(8)
    return bytes(result)


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    stray = draw.choice((*STRAYS, draw.randbytes(16)))
    return content[:place] + stray + content[place:]


def _leave_out(content: bytes, draw: random.Random) -> bytes:
    first = draw.randrange(len(content) + 1)
    return content[:first] + content[first + draw.randrange(1, 64) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    first, last = sorted((draw.randrange(len(content) + 1), draw.randrange(len(content) + 1)))
    return content[:last] + content[first:last] * draw.choice((1, 3)) + content[last:]


def _swap(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    draw.shuffle(lines)
    return b"".join(lines)


def _encode(encoding: str) -> Callable[[bytes, random.Random], bytes]:
    def encode(content: bytes, draw: random.Random) -> bytes:
        text = content.decode("utf-8", "replace").replace("a", "ä", draw.randrange(1, 4))
        return text.encode(encoding, "replace")

    return encode


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncate,
    "bits flipped": _flip,
    "a stray inside": _insert,
    "a part left out": _leave_out,
    "a part repeated": _repeat,
    "lines in another order": _swap,
    "as UTF-16": _encode("utf-16"),
    "as UTF-16 without a mark": _encode("utf-16-le"),
    "as UTF-32": _encode("utf-32"),
    "as Latin-1": _encode("latin-1"),
    "with a byte order mark": _encode("utf-8-sig"),
    "empty": lambda content, draw: b"",
    "only white space": lambda content, draw: b" \n" * draw.randrange(1, 9),
    "random bytes": lambda content, draw: draw.randbytes(draw.randrange(1, 512)),
}
"""Kinds by name: content and generator in, content out."""
