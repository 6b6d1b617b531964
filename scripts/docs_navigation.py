"""Hooks of MkDocs: the site's navigation names all pages that there are, and links stay within it.

``mkdocs.yml`` gives the order. A page that it names and that is not there is left out; one that is
there and that it does not name comes at the end. A link to a file of the repository outside docs,
such as the README, becomes plain text, since the site does not have that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Return the configuration with the navigation of the pages that there are."""
    config["nav"] = navigation(config["nav"], Path(config["docs_dir"]))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the text of a page without links to files outside docs."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", markdown)


def navigation(named: list[Any], folder: Path) -> list[Any]:
    """Return the entries of a navigation whose pages are in a folder, then the other pages.

    Args:
        named: As in ``mkdocs.yml``: titles with a page, or with a list of such entries.
        folder: That of the pages.
    """
    there = sorted(path.name for path in folder.glob("*.md"))
    listed = set(_pages(named))
    return [*_kept(named, set(there)), *(page for page in there if page not in listed)]


def _kept(entries: list[Any], there: set[str]) -> list[Any]:
    kept = []
    for entry in entries:
        ((title, content),) = entry.items()
        if isinstance(content, list):
            content = _kept(content, there)
        elif content not in there:
            continue
        if content:
            kept.append({title: content})
    return kept


def _pages(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for content in entry.values():
            yield from _pages(content) if isinstance(content, list) else [content]
