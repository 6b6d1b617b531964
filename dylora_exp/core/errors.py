"""The one exception for a wrong request, and the words its sentences are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """The request cannot be carried out as written: bad config, data, record or command.

    The command line prints each problem on a line of its own and exits with status 2.

    Attributes:
        problems: One complete sentence for each thing that is wrong.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[RequestError], tuple[list[str]]]:
        # Exceptions cross process borders under parallel launchers.
        return (type(self), (self.problems,))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the rest is context for developers."""
    return (str(error).strip().splitlines() or ["no message"])[0]


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar allowed word, or ``""`` for none.

    A word made of an allowed word's initials (``lr`` for ``learning_rate``) means that one.
    """
    names = list(allowed)
    matches = [name for name in names if "_" in name and _initials(name) == word]
    matches = matches or difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))


def unknown_name(field: str, word: str, allowed: Iterable[str]) -> str:
    """Return the sentence for a name that is not among the allowed ones."""
    names = sorted(allowed)
    hint = did_you_mean(word, names)
    return f"{field}: '{word}' is not one of {', '.join(names)}{hint or '.'}"
