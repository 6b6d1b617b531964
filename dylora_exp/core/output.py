"""Output that changes nothing: a run is done, whether or not it can say so.

A terminal may lack a character, a disk under a redirected output may be full, nobody may read a
pipe any more. None of this may fail a run whose record is complete. Nor does anything that is
printed steer the terminal, but for the styles of tables and the moves of progress bars.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from dylora_exp.core.escaping import one_line, printable, shortened

# What is printed where a terminal lacks a character.
_OTHER_WORDS = {"α": "alpha", "√": "sqrt ", "±": "+-", "–": "-", "·": "-"}
# What a progress bar moves the cursor with; each is a write of its own, or begins one.
_MOVE = re.compile(r"\r|(?:\x1b\[A|\n)+$")


class TolerantStream:
    """A stream whose writes do not fail; what else is asked of it, the stream inside answers.

    Args:
        stream: Where to write; characters that it cannot encode are replaced.

    Attributes:
        failure: Why something could not be written, if so.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write as much of a text as can be written, control characters escaped."""
        move = _MOVE.match(text)
        end = move.end() if move else 0
        self.write_styled(text[:end] + printable(text[end:]))
        return len(text)

    def write_styled(self, text: str) -> int:
        """Write as much of a text as can be written, with the styles in it."""
        try:
            return self._try(lambda: self.stream.write(text), len(text))
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            spelt = "".join(_spelt(each, encoding) for each in text)
            known = spelt.encode(encoding, "replace").decode(encoding)
            return self._try(lambda: self.stream.write(known), len(text))

    def writelines(self, lines: list[str]) -> None:
        """Write some texts one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        self._try(self.stream.flush, None)

    def close_after_failure(self) -> None:
        """Let what could not be written go nowhere, so that Python's end does not try again."""
        if self.failure is not None:
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, call: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return call()
        except OSError as error:
            self.failure = error
            return otherwise


class StyledStream:
    """A stream whose texts may have styles: what ``rich`` writes to."""

    def __init__(self, stream: TolerantStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text with the styles in it."""
        return self._stream.write_styled(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _spelt(character: str, encoding: str) -> str:
    """Return a character, or in other words where the encoding lacks it and there are such."""
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return _OTHER_WORDS.get(character, character)
    return character


def print_error(sentence: str) -> None:
    """Print a sentence to standard error, on one line whatever the names in it."""
    print(f"dylora: {shortened(one_line(sentence))}", file=sys.stderr, flush=True)


def print_warning(sentence: str) -> None:
    """Print a sentence to standard error as a warning."""
    print_error(f"warning: {sentence}")


@contextlib.contextmanager
def tolerant_output() -> Iterator[TolerantStream | None]:
    """Let nothing that is printed fail as long as the context lasts; yield standard output.

    Yields:
        Standard output, whose ``failure`` is known at the end of the context; None without one.
    """
    kept = sys.stdout, sys.stderr
    wrapped = [_tolerant(stream) for stream in kept]
    sys.stdout, sys.stderr = (cast("TextIO", each) for each in wrapped)
    try:
        yield wrapped[0]
        for stream in wrapped:
            if stream is not None:
                stream.flush()
    finally:
        sys.stdout, sys.stderr = kept
        for before, stream in zip(kept, wrapped, strict=True):
            if stream is not None and stream is not before:
                stream.flush()
                stream.close_after_failure()


def _tolerant(stream: TextIO | None) -> TolerantStream | None:
    """Return a stream that does not fail; the same where it is one already, or none."""
    if stream is None or isinstance(stream, TolerantStream):
        return stream
    return TolerantStream(stream)
