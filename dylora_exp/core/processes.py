"""One run by several processes: how many there are, what they tell each other, how they end.

A launcher such as ``torchrun`` starts the processes, on one machine or on several with a common
file system. The main one leads: it checks the request, holds the run's folder and is the only one
to write and to print. The others join in where training and scoring begin.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from dylora_exp.core.errors import RequestError, first_line

if TYPE_CHECKING:
    from torch.distributed import Store

_T = TypeVar("_T")
_P = ParamSpec("_P")

_NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# One process may score for hours while the others wait for it; a launcher ends them if it dies.
_LONGEST_WAIT = datetime.timedelta(days=7)
_POLL_SECONDS = 0.05
# How long a process that failed waits for the others to fail too, in seconds.
_PATIENCE = 5.0


def count() -> int:
    """Return how many processes do this run together.

    Raises:
        RequestError: When a launcher's variables do not say it.
    """
    return _number("WORLD_SIZE", 1) if _launched() else 1


def index() -> int:
    """Return the place of this process among them, from 0; ``count`` says what it raises."""
    return _number("RANK", 0, count()) if count() > 1 else 0


def _launched() -> bool:
    return all(os.environ.get(name) for name in _NEEDED)


def _number(name: str, at_least: int, below: int = 1 << 20) -> int:
    found = os.environ[name]
    if not found.isdecimal() or not at_least <= int(found) < below:
        raise RequestError(
            f"{name}: found '{found}' in the environment, expected a number from {at_least} to "
            f"{below - 1}, as torchrun sets it."
        )
    return int(found)


def is_main() -> bool:
    """Return whether this process is the one that writes and prints."""
    return index() == 0


def problems(batch_size: int) -> list[str]:
    """Return what stands in the way of sharing a batch among the processes."""
    if batch_size % count() == 0:
        return []
    return [
        f"trainer.batch_size: found {batch_size} with {count()} processes, expected a multiple of "
        f"{count()}: a batch is shared among the processes."
    ]


def silence_other_processes(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Let only the main process print while a command runs; leave the others when it is done."""

    @functools.wraps(command)
    def quiet(*arguments: _P.args, **options: _P.kwargs) -> _T:
        try:
            main = is_main()
            if count() > 1:
                _number("LOCAL_RANK", 0)
        except RequestError as error:
            print(f"dylora: {error.problems[0]}", file=sys.stderr)
            raise SystemExit(2) from None
        with contextlib.nullcontext() if main else _silence():
            result = command(*arguments, **options)
        if _run is not None:
            import torch.distributed

            torch.distributed.destroy_process_group()
        return result

    return quiet


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def gather(value: _T) -> list[_T]:
    """Return the value of every process, in their order."""
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def broadcast_from_main(make: Callable[[], _T]) -> _T:
    """Return in every process what the main one makes."""
    if count() == 1:
        return make()
    import torch.distributed

    values: list[Any] = [make() if is_main() else None]
    torch.distributed.broadcast_object_list(values, src=0)
    made: _T = values[0]
    return made


def wait_for_all() -> None:
    """Return when every process is here."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier()


class _Run:
    """The run that is being done: notes that the processes leave for each other in a store."""

    number = -1

    def __init__(self) -> None:
        _Run.number += 1
        self.store = _join()

    def note(self, name: str, value: bytes = b"") -> None:
        self.store.set(f"{self.number}/{name}", value)  # type: ignore[arg-type]

    def noted(self, *names: str) -> bool:
        return self.store.check([f"{self.number}/{name}" for name in names])

    def wait(self, *names: str, seconds: float = float("inf")) -> bool:
        """Return whether all notes are there, in time."""
        end = time.monotonic() + seconds
        while not self.noted(*names):
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def ending(self) -> Any:
        return pickle.loads(self.store.get(f"{self.number}/end"))


_run: _Run | None = None


def run_distributed(
    main: Callable[[], _T],
    worker: Callable[[], None],
    record_failure: Callable[[Exception], Exception],
) -> _T:
    """Do a run: the main process the whole, the others their part, and all end alike.

    A process that fails while the others wait for it can be neither waited for nor replaced: it
    tells why and ends, and the launcher ends the others.

    Args:
        work: The whole. It calls ``begin`` where the others are to join in.
        along: What the others do from there on.
        tell: Leaves a record of the failure of one of the others; returns what to print.

    Returns:
        What ``work`` returns, in every process.

    Raises:
        Exception: What ``work`` raises, in every process.
    """
    if count() == 1:
        return main()
    global _run
    _run = _Run()
    others = [f"ended {place}" for place in range(1, count())]
    if is_main():
        try:
            result = main()
        except (Exception, KeyboardInterrupt) as error:
            if failure_reported():
                raise SystemExit(1) from error
            _run.note("end", _pickled(error))
            if isinstance(error, KeyboardInterrupt):  # the others are told to stop as well
                raise
            if _run.noted("begin") and not _run.wait(*others, seconds=_PATIENCE):
                _leave(error)
            raise
        _run.note("end", pickle.dumps(result))
        return result
    while not _run.noted("begin") and not _run.noted("end"):
        time.sleep(_POLL_SECONDS)
    if _run.noted("begin"):
        try:
            worker()
        except BaseException as error:
            _run.note(f"ended {index()}")
            if not isinstance(error, Exception):
                raise
            if not _run.wait("end", seconds=_PATIENCE) and _first_to_tell():
                _leave(record_failure(error))
            if not _run.wait("end", seconds=_PATIENCE):
                raise SystemExit(1) from error
        _run.note(f"ended {index()}")
    _run.wait("end")
    ending = _run.ending()
    if isinstance(ending, BaseException):
        raise ending
    return ending


def begin() -> None:
    """Let the others join in; called by the main process."""
    if _run is not None and is_main():
        _run.note("begin")


def failure_reported() -> bool:
    """Return whether one of the others has told why the run fails."""
    return _run is not None and _run.noted("told")


def _first_to_tell() -> bool:
    assert _run is not None
    return _run.store.add(f"{_run.number}/tellers", 1) == 1


def _leave(error: BaseException) -> NoReturn:
    """Tell why and end this process; the launcher ends the others, which wait for it in vain."""
    assert _run is not None
    _run.note("told")
    print(f"dylora: run failed: {error}", file=sys.__stderr__, flush=True)
    raise SystemExit(1) from error


def _pickled(error: BaseException) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
        return pickled
    except Exception:  # whatever a library's exception holds
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {first_line(error)}"))


def _join() -> Store:
    import torch
    from torch import distributed

    if not distributed.is_initialized():
        gpus = torch.cuda.is_available()
        if gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    return distributed.distributed_c10d._get_default_store()
