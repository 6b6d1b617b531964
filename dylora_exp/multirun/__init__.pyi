from .executors.settings import launcher_names as launcher_names
from .gpus import GPU as GPU
from .gpus import find_gpu as find_gpu
from .launching import call_hydra as call_hydra
from .launching import launch as launch
from .measured_plan import MeasuredPlan as MeasuredPlan
from .measured_plan import measure_plan as measure_plan
from .measured_text import measured_plan_text as measured_plan_text
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
    "GPU",
    "MeasuredPlan",
    "ReproduceRequest",
    "SearchRequest",
    "SearchResult",
    "call_hydra",
    "exit_code",
    "find_gpu",
    "launch",
    "launcher_names",
    "make_plan",
    "measure_plan",
    "measured_plan_text",
    "plan_text",
    "print_summary",
    "run_missing",
    "run_search",
    "write_choices",
]
