"""One run by several processes: how many there are, what they exchange, and how they end together.

A launcher such as ``torchrun`` starts the processes, on one machine or on several with a common
file system. The main process (index 0) checks the request, holds the run's locks, and alone writes
and prints. The others, the workers, take part in training and scoring.

``run_distributed`` keeps them together by a few keys in PyTorch's key-value store:

==================  ===============================================================================
``begun``           set by the main process where the workers' part starts (``start_workers``)
``left/INDEX``      set by a worker when its part is over, whether it succeeded or failed
``outcome``         set by the main process: the pickled result, or the exception, of the whole run
``reporters``       counts the workers that want to report a failure; the first one does
``failure``         set by the process that has reported a failure and ends the run
==================  ===============================================================================
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from dylora_exp.core.errors import RequestError, first_line
from dylora_exp.core.escaping import one_line
from dylora_exp.core.output import print_error

if TYPE_CHECKING:
    from torch.distributed import Store

_T = TypeVar("_T")
_P = ParamSpec("_P")

_LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# One process may score for hours while the others wait for it; a launcher ends them if it dies.
_COLLECTIVE_TIMEOUT = datetime.timedelta(days=7)
_POLL_SECONDS = 0.05
# How long a process that failed waits for the others to end too.
_GRACE_SECONDS = 5.0


def process_count() -> int:
    """Return how many processes do this run together.

    Raises:
        RequestError: When the launcher's variables do not hold numbers.
    """
    launched = all(os.environ.get(name) for name in _LAUNCHER_VARIABLES)
    return _launcher_number("WORLD_SIZE", 1) if launched else 1


def process_index() -> int:
    """Return the 0-based index of this process.

    Raises:
        RequestError: As ``process_count``.
    """
    return _launcher_number("RANK", 0, process_count()) if process_count() > 1 else 0


def _launcher_number(variable: str, at_least: int, below: int = 1 << 20) -> int:
    found = os.environ[variable]
    if not found.isdecimal() or not at_least <= int(found) < below:
        raise RequestError(
            f"{variable}: found '{found}' in the environment, expected a number from {at_least} "
            f"to {below - 1}, as torchrun sets it."
        )
    return int(found)


def is_main_process() -> bool:
    """Return whether this process is the one that writes and prints."""
    return process_index() == 0


def batch_size_problems(batch_size: int) -> list[str]:
    """Return a sentence if a batch cannot be shared evenly among the processes."""
    if batch_size % process_count() == 0:
        return []
    return [
        f"trainer.batch_size: found {batch_size} with {process_count()} processes, expected a "
        f"multiple of {process_count()}: a batch is shared among the processes."
    ]


def silence_workers(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a command that prints in the main process only, and leaves the process group."""

    @functools.wraps(command)
    def silenced(*arguments: _P.args, **options: _P.kwargs) -> _T:
        try:
            main = is_main_process()
            if process_count() > 1:
                _launcher_number("LOCAL_RANK", 0)
        except RequestError as error:
            print_error(error.problems[0])
            raise SystemExit(2) from None
        with contextlib.nullcontext() if main else _no_output():
            result = command(*arguments, **options)
        if _run is not None:
            import torch.distributed

            torch.distributed.destroy_process_group()
        return result

    return silenced


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def gather(value: _T) -> list[_T]:
    """Return the values of all processes, in the order of their indices."""
    if process_count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * process_count()
    torch.distributed.all_gather_object(values, value)
    return values


def broadcast_from_main(compute: Callable[[], _T]) -> _T:
    """Return in every process what the main process, and it alone, computes."""
    if process_count() == 1:
        return compute()
    import torch.distributed

    values: list[Any] = [compute() if is_main_process() else None]
    torch.distributed.broadcast_object_list(values, src=0)
    computed: _T = values[0]
    return computed


def wait_for_all() -> None:
    """Return when every process has called this function."""
    if process_count() > 1:
        import torch.distributed

        torch.distributed.barrier()


class _SharedRun:
    """The keys of one run in the store that its processes share."""

    def __init__(self, previous: _SharedRun | None) -> None:
        from torch.distributed import PrefixStore

        self.number: int = previous.number + 1 if previous else 0
        self.group_store: Store = previous.group_store if previous else _join_group()
        self.store = PrefixStore(f"run-{self.number}", self.group_store)

    def set(self, key: str, value: bytes = b"") -> None:
        self.store.set(key, value)  # type: ignore[arg-type]

    def is_set(self, *keys: str) -> bool:
        return self.store.check(list(keys))

    def wait_for(self, *keys: str, seconds: float = _GRACE_SECONDS) -> bool:
        """Return whether all keys are set before the time is over."""
        end = time.monotonic() + seconds
        while not self.is_set(*keys):
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True


_run: _SharedRun | None = None


def run_distributed(
    main: Callable[[], _T],
    worker: Callable[[], None],
    record_failure: Callable[[Exception], Exception],
) -> _T:
    """Do a run in all processes and end alike in all of them.

    A process that fails while the others wait for it in a collective operation cannot be replaced:
    it reports the failure and exits, and the launcher ends the others.

    Args:
        main: The whole run, for the main process; it calls ``start_workers``.
        worker: The part of the workers, from ``start_workers`` on.
        record_failure: Records the failure of a worker; returns the exception to report.

    Returns:
        What ``main`` returns, in every process.

    Raises:
        Exception: What ``main`` raises, in every process.
    """
    if process_count() == 1:
        return main()
    global _run
    _run = _SharedRun(_run)
    if is_main_process():
        return _run_main(_run, main)
    return _run_worker(_run, worker, record_failure)


def start_workers() -> None:
    """Let the workers join the run; called by the main process."""
    if _run is not None and is_main_process():
        _run.set("begun")


def failure_reported() -> bool:
    """Return whether a process has reported why the run fails."""
    return _run is not None and _run.is_set("failure")


def _run_main(run: _SharedRun, main: Callable[[], _T]) -> _T:
    try:
        result = main()
    except (Exception, KeyboardInterrupt) as error:
        if failure_reported():  # by a worker: this error is but its consequence
            raise SystemExit(1) from error
        run.set("outcome", _pickled(error))
        interrupted = isinstance(error, KeyboardInterrupt)  # and so are the workers
        workers = [f"left/{index}" for index in range(1, process_count())]
        if not interrupted and run.is_set("begun") and not run.wait_for(*workers):
            _report_and_exit(run, error)
        raise
    run.set("outcome", pickle.dumps(result))
    return result


def _run_worker(
    run: _SharedRun, worker: Callable[[], None], record_failure: Callable[[Exception], Exception]
) -> Any:
    while not run.is_set("begun") and not run.is_set("outcome"):
        time.sleep(_POLL_SECONDS)
    if run.is_set("begun"):
        try:
            worker()
        except Exception as error:
            run.set(f"left/{process_index()}")
            if not run.wait_for("outcome") and run.store.add("reporters", 1) == 1:
                _report_and_exit(run, record_failure(error))
            if not run.wait_for("outcome"):
                raise SystemExit(1) from error
        finally:
            run.set(f"left/{process_index()}")
    run.wait_for("outcome", seconds=math.inf)
    outcome = pickle.loads(run.store.get("outcome"))
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _report_and_exit(run: _SharedRun, error: BaseException) -> NoReturn:
    """Print why the run fails and exit, so that the launcher ends the processes that wait."""
    run.set("failure")
    with contextlib.suppress(OSError):
        print(f"dylora: run failed: {one_line(str(error))}", file=sys.__stderr__, flush=True)
    raise SystemExit(1) from error


def _pickled(error: BaseException) -> bytes:
    """Return the pickled error, or a plain one in its stead if it does not survive pickling."""
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
        return pickled
    except Exception:  # whatever a library's exception holds
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {first_line(error)}"))


def _join_group() -> Store:
    """Join the launcher's process group and return a store of the run's own."""
    import torch
    from torch.distributed import PrefixStore, init_process_group
    from torch.distributed.rendezvous import rendezvous

    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, index, count = next(rendezvous("env://", timeout=_COLLECTIVE_TIMEOUT))
    init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo",
        timeout=_COLLECTIVE_TIMEOUT,
        store=PrefixStore("group", store),
        rank=index,
        world_size=count,
    )
    return PrefixStore("dylora", store)
