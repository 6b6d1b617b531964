"""The bounds that numbers of the schema have, and what is special about a setting."""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
# A share of a whole, without both ends, without the upper end, and with both.
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
ClosedShare = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def required_by(whose: str) -> BeforeValidator:
    """Return the mark of a setting without a default that some tasks need, of whose type it is not.

    It stands in the ``Annotated`` of a field whose default is None and is validated.

    Args:
        whose: What needs it, for the sentence that refuses nothing.
    """

    def check(value: Any) -> Any:
        if value is None:
            raise ValueError(f"found nothing, {whose} needs it")
        return value

    return BeforeValidator(check)


def _check_language(name: str) -> str:
    """Return a language as the hub takes it: a code of ISO 639, or one of two words."""
    if re.fullmatch(r"[a-z]{2,3}|code|multilingual", name) is None:
        raise ValueError(f"found '{name}', expected a code such as en, or multilingual.")
    return name


Language = Annotated[str, AfterValidator(_check_language)]


class Mark(enum.Enum):
    """What is special about a setting, in the ``Annotated`` of its field."""

    # Paths, logging and hardware choices: where and how fast a run is, not what comes out.
    NOT_IDENTITY = enum.auto()
    # A folder or a file on this machine, which a run's identity names by its contents.
    FOLDER = enum.auto()
    FILE = enum.auto()
    # Of no effect; taken from files, since profiles set it for all methods, but not as an override.
    FROM_PROFILES = enum.auto()
    # Of no effect; refused unless it has its default.
    UNUSED = enum.auto()
