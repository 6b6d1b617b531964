"""The open parts of a record: what tables and reports take from them has a type, where it is there.

Parts such as ``timing`` or ``environment`` may hold more than is known here; a record that somebody
edited, or another program wrote, must not stop a table of thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_single(value: Any) -> bool:
    return isinstance(value, str | bool) or _is_number(value)


def _counts_ranks(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        rank.isdecimal() and len(rank) < 10 and _is_count(count) for rank, count in value.items()
    )


# The test of each, and what it is called where it fails. A star stands for every key.
_LEAVES: dict[str, tuple[Test, str]] = {
    "config.ranks.r_max": (_is_count, "a whole number"),
    "config.task.headline": (_is_text, "a text"),
    "config.trainer.score_every": (_is_text, "a text"),
    "parameters.*": (_is_count, "a whole number"),
    "timing.*": (_is_number, "a number"),
    "training.remaining_parameters": (_is_count, "a whole number"),
    "training.drawn_ranks": (_counts_ranks, "a number of draws for each rank"),
    "scoring.signature": (_is_text, "a text"),
    "environment.*": (_is_single, "a text, a number, true or false"),
}


def check_parts(tree: Mapping[str, Any]) -> None:
    """Check the types of what is read from a record's open parts; null stands for nothing.

    Raises:
        ValueError: With the first that is wrong.
    """
    for path, (test, expected) in _LEAVES.items():
        *groups, leaf = path.split(".")
        part: Any = tree
        for group in groups:
            part = part.get(group, {})
            if not isinstance(part, Mapping):
                name = ".".join(groups)
                raise ValueError(f"'{name}' is {part!r}, expected an object")
        for key in part if leaf == "*" else [leaf]:
            value = part.get(key)
            if value is not None and not test(value):
                name = ".".join([*groups, key])
                raise ValueError(f"'{name}' is {value!r}, expected {expected}")
