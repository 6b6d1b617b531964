from . import export_folder as export_folder
from . import locks as locks
from .drawing import draw_permutation as draw_permutation
from .drawing import draw_uniform as draw_uniform
from .errors import RequestError as RequestError
from .errors import did_you_mean as did_you_mean
from .errors import first_line as first_line
from .errors import name_first as name_first
from .errors import unknown_name as unknown_name
from .files import UNFINISHED as UNFINISHED
from .files import apply_umask as apply_umask
from .files import check_writable as check_writable
from .files import file_sha256 as file_sha256
from .files import reading as reading
from .files import unfinished as unfinished
from .files import write_atomically as write_atomically
from .hub import FetchFailed as FetchFailed
from .hub import Repository as Repository
from .hub import commit_of as commit_of
from .hub import describe_unfetched as describe_unfetched
from .hub import download as download
from .hub import find_fetched as find_fetched
from .hub import is_unreachable as is_unreachable
from .logs import LOG as LOG
from .logs import RunLog as RunLog
from .logs import echo as echo
from .logs import is_quiet as is_quiet
from .logs import run_log as run_log
from .logs import set_verbosity as set_verbosity
from .output import tolerant_output as tolerant_output
from .packages import NotInstalled as NotInstalled
from .packages import in_package as in_package
from .packages import package_folder as package_folder
from .processes import batch_size_problems as batch_size_problems
from .processes import broadcast_from_main as broadcast_from_main
from .processes import failure_reported as failure_reported
from .processes import gather as gather
from .processes import is_main_process as is_main_process
from .processes import process_count as process_count
from .processes import process_index as process_index
from .processes import run_distributed as run_distributed
from .processes import silence_workers as silence_workers
from .processes import start_workers as start_workers
from .processes import wait_for_all as wait_for_all
from .progress import progress_bar as progress_bar
from .signals import TerminationRequested as TerminationRequested
from .signals import raise_on_sigterm as raise_on_sigterm
from .validation import StrictModel as StrictModel
from .validation import dotted as dotted
from .validation import keys as keys
from .validation import parse as parse

__all__ = [
    "LOG",
    "UNFINISHED",
    "FetchFailed",
    "NotInstalled",
    "Repository",
    "RequestError",
    "RunLog",
    "StrictModel",
    "TerminationRequested",
    "apply_umask",
    "batch_size_problems",
    "broadcast_from_main",
    "check_writable",
    "commit_of",
    "describe_unfetched",
    "did_you_mean",
    "dotted",
    "download",
    "draw_permutation",
    "draw_uniform",
    "echo",
    "export_folder",
    "failure_reported",
    "file_sha256",
    "find_fetched",
    "first_line",
    "gather",
    "in_package",
    "is_main_process",
    "is_quiet",
    "is_unreachable",
    "keys",
    "locks",
    "name_first",
    "package_folder",
    "parse",
    "process_count",
    "process_index",
    "progress_bar",
    "raise_on_sigterm",
    "reading",
    "run_distributed",
    "run_log",
    "set_verbosity",
    "silence_workers",
    "start_workers",
    "tolerant_output",
    "unfinished",
    "unknown_name",
    "wait_for_all",
    "write_atomically",
]
