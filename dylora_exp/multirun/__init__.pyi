from .executors.settings import launcher_names as launcher_names
from .launching import call_hydra as call_hydra
from .launching import launch as launch
from .reproduction import exit_code as exit_code
from .reproduction import print_summary as print_summary
from .reproduction import run_missing as run_missing
from .reproduction_plan import ReproduceRequest as ReproduceRequest
from .reproduction_plan import make_plan as make_plan
from .reproduction_plan import plan_text as plan_text
from .search import SearchRequest as SearchRequest
from .search import SearchResult as SearchResult
from .search import run_search as run_search
from .tuning import write_choices as write_choices

__all__ = [
    "ReproduceRequest",
    "SearchRequest",
    "SearchResult",
    "call_hydra",
    "exit_code",
    "launch",
    "launcher_names",
    "make_plan",
    "plan_text",
    "print_summary",
    "run_missing",
    "run_search",
    "write_choices",
]
