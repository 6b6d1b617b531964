"""The progress bar: lively in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*arguments: Any, **options: Any) -> tqdm:
    """Return a tqdm bar on stderr; arguments are tqdm's."""
    lively = sys.stderr.isatty()
    return tqdm(
        *arguments,
        leave=not lively,
        mininterval=0.2 if lively else 10,
        dynamic_ncols=True,
        **options,
    )
