from .launch import call_hydra as call_hydra
from .launch import launch as launch
from .reproduce import Request as Request
from .reproduce import exit_code as exit_code
from .reproduce import make_plan as make_plan
from .reproduce import plan_text as plan_text
from .reproduce import print_summary as print_summary
from .reproduce import run_missing as run_missing

__all__ = [
    "Request",
    "call_hydra",
    "exit_code",
    "launch",
    "make_plan",
    "plan_text",
    "print_summary",
    "run_missing",
]
