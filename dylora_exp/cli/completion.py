"""Shell completion: Hydra's own, which completes overrides, where commands come first.

``eval "$(dylora run --shell-completion install=bash)"`` installs it for ``dylora``. The shell then
asks ``dylora -sc query=bash`` with the line so far in ``COMP_LINE``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from dylora_exp.cli.parser import command_names

FLAGS = ("--shell-completion", "-sc")
_LINE = "COMP_LINE"


def as_run_arguments(argv: Sequence[str]) -> list[str]:
    """Return a shell's question as arguments of ``run``; other arguments as they are."""
    return ["run", *argv] if argv[:1] and argv[0] in FLAGS else list(argv)


def complete_command() -> bool:
    """Print the commands if the shell asks for one; otherwise leave the rest of the line to Hydra.

    Returns:
        Whether the question is answered.
    """
    program, *arguments = os.environ.get(_LINE, "").split(" ")
    if len(arguments) == 1:
        print(" ".join(command_names()))
        return True
    os.environ[_LINE] = " ".join([program, *arguments[1:]])
    return False
