"""The exceptions for a wrong request and a training that diverged, and sentences about names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_NAME = 200


class RequestError(Exception):
    """The request cannot be carried out as written: bad config, data, record or command.

    The command line prints each problem on a line of its own and exits with status 2.

    Attributes:
        problems: One complete sentence for each problem.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[RequestError], tuple[list[str]]]:
        # Exceptions cross process borders under parallel launchers.
        return (type(self), (self.problems,))


class TrainingDiverged(ArithmeticError):
    """The loss, a trained weight or an output is NaN or infinite; the message names a remedy.

    Args:
        what: The beginning of the sentence: what is not a finite number.
    """

    def __str__(self) -> str:
        return f"{self.args[0]}; was training stable? Try a lower trainer.learning_rate."


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the rest is context for developers."""
    return (str(error).strip().splitlines() or ["no message"])[0]


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the most similar allowed name, or ``""`` for none.

    The initials of an allowed name (``lr`` for ``learning_rate``) mean that one.
    """
    names = list(allowed)
    matches = [known for known in names if "_" in known and _initials(known) == name]
    matches = matches or difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))


def unknown_name(field: str, name: str, allowed: Iterable[str]) -> str:
    """Return the sentence for a name that is not among the allowed ones."""
    names = sorted(allowed)
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    hint = did_you_mean(name, names)
    return f"{field}: '{name}' is not one of {', '.join(names)}{hint or '.'}"


def name_first(names: Iterable[str]) -> str:
    """Return the first of some names, and how many there are besides: ``'a' (and 2 more)``."""
    first, *others = sorted(names)
    return f"'{first}' (and {len(others)} more)" if others else f"'{first}'"
