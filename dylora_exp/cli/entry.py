"""The ``dylora`` command: parse, dispatch, errors to exit codes.

Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 141 nobody reads the output,
143 stopped by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dylora_exp.cli.completion import as_run_arguments
from dylora_exp.cli.parser import parse
from dylora_exp.core import (
    FetchFailed,
    RequestError,
    TerminationRequested,
    first_line,
    print_error,
    raise_on_sigterm,
    set_verbosity,
    silence_workers,
    tolerant_output,
)

_RUNS = ("run", "reproduce")


@silence_workers
def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    set_verbosity("normal")
    with tolerant_output() as output:
        arguments = sys.argv[1:] if argv is None else argv
        # Options may stand before the command.
        command = next((each for each in arguments if not each.startswith("-")), "")
        code = _run(arguments)
        if output is not None:
            output.flush()
        failure = output.failure if output is not None else None
        if isinstance(failure, BrokenPipeError):  # nobody reads the rest, as with `| head`
            return 141
        if failure is not None:
            print_error(f"the output cannot be written ({failure.strerror}).")
            # A run is done all the same; of other commands the output is the work.
            return code if command in _RUNS else code or 1
        return code


def _run(argv: Sequence[str]) -> int:
    try:
        with raise_on_sigterm():
            arguments = parse(as_run_arguments(argv))
            code: int = arguments.run_command(arguments)
            return code
    except RequestError as error:
        for problem in error.problems:
            print_error(problem)
        return 2
    except OSError as error:  # a folder that may not be looked into, a name too long, ...
        if isinstance(error, BrokenPipeError):
            raise
        name = error.filename if isinstance(error.filename, str) else "the system"
        print_error(f"{name}: {error.strerror or first_line(error)}.")
        return 1
    except FetchFailed as error:
        print_error(str(error))
        return 1
    except KeyboardInterrupt as stop:
        stopped = isinstance(stop, TerminationRequested)
        print_error(
            f"{'stopped' if stopped else 'interrupted'}; the same command resumes from the last "
            "checkpoint."
        )
        return 143 if stopped else 1


if __name__ == "__main__":
    sys.exit(main())
