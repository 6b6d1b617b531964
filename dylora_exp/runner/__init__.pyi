from .environment import quiet_libraries as quiet_libraries
from .exporting import export as export
from .folder import run_locks as run_locks
from .from_python import run_overrides as run_overrides
from .preflight import check as check
from .run import Outcome as Outcome
from .run import RunBusy as RunBusy
from .run import RunFailed as RunFailed
from .run import run_if_needed as run_if_needed

__all__ = [
    "Outcome",
    "RunBusy",
    "RunFailed",
    "check",
    "export",
    "quiet_libraries",
    "run_if_needed",
    "run_locks",
    "run_overrides",
]
