"""The end that a cluster asks for: SIGTERM is taken as Ctrl-C is."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class TerminationRequested(KeyboardInterrupt):
    """SIGTERM came: what is held is let go of, and nothing has failed."""


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread when SIGTERM comes, as long as the context lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise TerminationRequested
