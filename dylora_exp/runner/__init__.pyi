from .environment import quiet_libraries as quiet_libraries
from .exporting import export as export
from .folder import run_locks as run_locks
from .from_python import run_overrides as run_overrides
from .measuring import Sample as Sample
from .measuring import device_name as device_name
from .measuring import matmul_speed as matmul_speed
from .measuring import measure as measure
from .preflight import check as check
from .run import Outcome as Outcome
from .run import RunBusy as RunBusy
from .run import RunFailed as RunFailed
from .run import run_if_needed as run_if_needed
from .time_fits import Measurement as Measurement

__all__ = [
    "Measurement",
    "Outcome",
    "RunBusy",
    "RunFailed",
    "Sample",
    "check",
    "device_name",
    "export",
    "matmul_speed",
    "measure",
    "quiet_libraries",
    "run_if_needed",
    "run_locks",
    "run_overrides",
]
