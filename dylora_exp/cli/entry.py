"""The ``dylora`` command: parse, dispatch, errors to exit codes.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 141 nobody reads the output,
143 stopped by SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dylora_exp.cli.completion import as_run_arguments
from dylora_exp.cli.parser import parse
from dylora_exp.core import (
    FetchFailed,
    RequestError,
    TerminationRequested,
    raise_on_sigterm,
    set_verbosity,
    silence_workers,
)


@silence_workers
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    set_verbosity("normal")
    try:
        with raise_on_sigterm():
            arguments = parse(as_run_arguments(sys.argv[1:] if argv is None else argv))
            code: int = arguments.run_command(arguments)
            return code
    except RequestError as error:
        for problem in error.problems:
            print(f"dylora: {problem}", file=sys.stderr)
        return 2
    except FetchFailed as error:
        print(f"dylora: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # nobody reads the rest, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        stopped = isinstance(stop, TerminationRequested)
        print(
            f"dylora: {'stopped' if stopped else 'interrupted'}; the same command resumes from the "
            "last checkpoint.",
            file=sys.stderr,
        )
        return 143 if stopped else 1


if __name__ == "__main__":
    sys.exit(main())
