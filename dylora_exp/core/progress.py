"""The progress bar: a moving one in a terminal, a whole line now and then in a log."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

from tqdm import tqdm

from dylora_exp.core.logs import is_quiet

_SECONDS = 10
# What is cut where a terminal is narrow comes last.
_IN_TERMINAL = (
    "{percentage:3.0f}%|{bar:8}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}] {desc}"
)


def progress_bar(*arguments: Any, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr; arguments are tqdm's."""
    # Bars of several processes would write over each other.
    if sys.stderr.isatty() and multiprocessing.current_process().name == "MainProcess":
        look: dict[str, Any] = {"leave": False, "mininterval": 0.2, "dynamic_ncols": True}
        # Of a download whose size is not known, tqdm's own form.
        if arguments or options.get("total") is not None:
            look["bar_format"] = _IN_TERMINAL
        return tqdm(*arguments, disable=is_quiet(), **look, **options)
    return _Lines(*arguments, disable=is_quiet(), **options)


class _Lines(tqdm):
    """Writes whole lines, one every few seconds and one at the end."""

    disable: bool

    def __init__(self, *arguments: Any, **options: Any) -> None:
        plural = "" if options.get("total") == 1 or "unit_scale" in options else "s"
        form = f"{{desc}}: {{n_fmt}}/{{total_fmt}} {{unit}}{plural}, {{elapsed}}<{{remaining}}"
        form += "{postfix}"
        every = {"mininterval": _SECONDS, "delay": _SECONDS, "miniters": 1}
        super().__init__(*arguments, bar_format=form, **every, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write the state, or the message given, as a line of its own."""
        if text := str(self) if msg is None else msg:
            self.fp.write(f"{text}\n")
            self.fp.flush()
        return True

    def close(self) -> None:
        """Write the last line, where anything was done."""
        if not self.disable:
            if self.n > self.initial:
                self.display()
            self.disable = True
            self._decr_instances(self)
