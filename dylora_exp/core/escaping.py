"""Names and texts of others on a screen and in files: nothing in them is obeyed.

A name in a record, a file or a message may hold control characters that move a terminal's cursor,
override the direction of writing, or begin a new line that looks like one of ours; or marks that
Markdown or a spreadsheet would obey. All of them are written as what they are.
"""

from __future__ import annotations

import re

# Control and format characters, separators of lines, halves of characters; not the joiners that
# scripts and emoji need. Newlines and tabs are left to ``one_line``.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff\ud800-\udfff]"
)
_BLANKS = re.compile("[\t\n]")
_NAMED = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
# A word of more characters is no word.
_LONGEST_WORD, _KEPT = 1000, 200
# What Markdown may take for emphasis, code, a link, HTML or a character's name. An underscore in a
# word is none of these, nor is a bracket that no address follows.
_MARKDOWN = re.compile(
    r"[\\`*~]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<=\])[(\[:]|(?<!\w)_|_(?!\w)|^(?:[#>+-](?=\s|$)|={3,})"
)
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def printable(text: str) -> str:
    """Return a text whose control characters, but newlines and tabs, are written as escapes."""
    return _UNPRINTABLE.sub(_escape, text)


def one_line(text: str) -> str:
    """Return a text on one line, each control character written as an escape."""
    return _BLANKS.sub(_escape, printable(text))


def shortened(text: str) -> str:
    """Return a text in which a word of more than a thousand characters is cut in its middle."""
    return re.sub(rf"\S{{{_LONGEST_WORD + 1},}}", _cut, text)


def markdown_text(text: str) -> str:
    """Return plain text as Markdown, on one line, that shows it."""
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", one_line(text))


def markdown_cell(text: str) -> str:
    """Return plain text as a cell of a table in Markdown."""
    return markdown_text(text).replace("|", r"\|")


def csv_cell(value: object) -> object:
    """Return a value for a CSV file; a text that a spreadsheet would compute begins with ``'``.

    Numbers stay numbers. A text is had back by removing a first apostrophe where a formula's sign
    follows the apostrophes; see OWASP, "CSV Injection".
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return ("'" if _FORMULA.match(value) else "") + one_line(value)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in _NAMED:
        return _NAMED[found[0]]
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _cut(found: re.Match[str]) -> str:
    return f"{found[0][:_KEPT]}...{found[0][-_KEPT:]}"
