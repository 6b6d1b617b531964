"""Random numbers that are pure functions of what they are drawn for: no state, no library's stream.

The same in every process and after a resume, on every machine and in every version.
"""

from __future__ import annotations

import hashlib


def draw_uniform(*parts: int | str) -> float:
    """Return a number in [0, 1) that these parts alone decide.

    Args:
        parts: What the number is for, such as a seed, a step and a word that tells its use from
            other uses.
    """
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def draw_permutation(count: int, *parts: int | str) -> list[int]:
    """Return the numbers 0 to ``count`` - 1 in an order that these parts and ``count`` decide.

    Every order is equally likely, up to 64-bit ties.

    Args:
        count: How many numbers.
        parts: As for ``draw_uniform``.
    """
    return sorted(range(count), key=lambda number: draw_uniform(*parts, number))
