"""JSON of files that others wrote: no key twice, no half characters."""

from __future__ import annotations

import json
from typing import Any

import pydantic_core


def parse_json(content: bytes) -> Any:
    """Return the JSON of a file.

    Args:
        content: The file's bytes, UTF-8.

    Raises:
        ValueError: When it is none, has a key twice, or half a character; with a phrase.
    """
    try:
        tree = pydantic_core.from_json(content)
        # Each key has its colon, one that comes twice has two.
        if content.count(b":") == pydantic_core.to_json(tree).count(b":"):
            return tree
    except ValueError:
        pass
    return _parse_slowly(content)


def _parse_slowly(content: bytes) -> Any:
    """Return the JSON of a file as ``parse_json``, with the reason where it is refused."""
    try:
        tree = json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("half a character (a lone surrogate) in it") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON at line {error.lineno}") from None
    return tree


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of some pairs, for the ``object_pairs_hook`` of ``json``.

    Raises:
        ValueError: When a key is there twice.
    """
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' is there twice")
    return tree
