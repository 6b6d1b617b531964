"""One file from a publisher's server, within limits of size and time.

A server may stall before or within its answer, send a byte now and then, or never come to an end;
timeouts of a socket do not notice the last two. The answer is therefore read in a thread, and what
has come of it is looked at here.
"""

from __future__ import annotations

import queue
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from dylora_exp.core import FetchFailed, first_line, progress_bar

_CHUNK = 1 << 16
# A server that sends less in this time has stalled; a modem sends ten times as much.
_SECONDS, _LEAST_BYTES = 60.0, 1 << 14
# Ten times the largest file that is published.
_MOST_BYTES = 1 << 28


def download_file(url: str, target: Path) -> None:
    """Write what a server answers into a new file.

    Args:
        url: The address.
        target: The file, which is not whole when this fails.

    Raises:
        FetchFailed: When there is no answer, it is cut short, or exceeds the limits.
    """
    answer = _Answer(url)
    answer.start()
    try:
        with target.open("wb") as stream:
            written = 0
            bar = None
            for chunk in _within_limits(answer):
                if bar is None:
                    bar = progress_bar(
                        total=answer.size,
                        desc=target.name,
                        unit="B",
                        unit_scale=True,
                        unit_divisor=1024,
                    )
                stream.write(chunk)
                written += len(chunk)
                bar.update(len(chunk))
            if bar is not None:
                bar.close()
        if answer.size is not None and written < answer.size:
            raise OSError(f"cut short at {written:,} of {answer.size:,} bytes")
    except Exception as error:  # a server may answer anything
        reason = getattr(error, "reason", None) or error
        words = first_line(reason) if isinstance(reason, Exception) else str(reason).split("\n")[0]
        raise FetchFailed(f"{url}: could not be fetched ({words.rstrip('.')}).") from error
    finally:
        answer.stopped.set()


class _Answer(threading.Thread):
    """Reads an answer into ``parts``: chunks, empty bytes at its end, or what went wrong.

    Attributes:
        size: How many bytes the server announced, None where it did not.
        stopped: Set when nobody reads on.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)  # it may wait for a server when the program ends
        self.url = url
        self.size: int | None = None
        self.stopped = threading.Event()
        self.parts: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def run(self) -> None:
        """Read until the end, the limit of size, or until nobody reads on."""
        try:
            with urllib.request.urlopen(self.url, timeout=_SECONDS) as source:
                announced = str(source.headers.get("Content-Length") or "").strip()
                self.size = int(announced) if announced.isascii() and announced.isdigit() else None
                # Unlike ``read``, it returns what is there instead of waiting for a whole chunk.
                read = getattr(source, "read1", source.read)
                total = 0
                while not self.stopped.is_set() and total <= _MOST_BYTES:
                    chunk = read(_CHUNK)
                    total += len(chunk)
                    self.parts.put(chunk)
                    if not chunk:
                        return
        except Exception as error:  # raised where the parts are read
            self.parts.put(error)


def _within_limits(answer: _Answer) -> Iterator[bytes]:
    """Yield the chunks of an answer as long as they come fast enough and are not too many."""
    total = 0
    while True:
        end, of_window = time.monotonic() + _SECONDS, 0
        while (left := end - time.monotonic()) > 0:
            try:
                part = answer.parts.get(timeout=left)
            except queue.Empty:
                break
            if isinstance(part, Exception):
                raise part
            if not part:
                return
            total, of_window = total + len(part), of_window + len(part)
            if max(total, answer.size or 0) > _MOST_BYTES:
                raise OSError(f"it is larger than {_MOST_BYTES:,} bytes")
            yield part
        if of_window < _LEAST_BYTES:
            raise OSError(f"{of_window:,} bytes came within {_SECONDS:g} seconds")
