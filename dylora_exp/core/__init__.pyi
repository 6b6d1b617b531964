from . import export_folder as export_folder
from . import locks as locks
from .caching import cache_folder as cache_folder
from .config_folders import check_config_folder as check_config_folder
from .config_folders import config_folders as config_folders
from .config_folders import use_config_folders as use_config_folders
from .console import aligned_lines as aligned_lines
from .console import counted as counted
from .console import make_console as make_console
from .console import make_grid as make_grid
from .drawing import draw_permutation as draw_permutation
from .drawing import draw_uniform as draw_uniform
from .errors import RequestError as RequestError
from .errors import TrainingDiverged as TrainingDiverged
from .errors import did_you_mean as did_you_mean
from .errors import first_line as first_line
from .errors import name_first as name_first
from .errors import unknown_name as unknown_name
from .escaping import csv_cell as csv_cell
from .escaping import markdown_cell as markdown_cell
from .escaping import markdown_text as markdown_text
from .escaping import one_line as one_line
from .escaping import printable as printable
from .file_names import expand_user as expand_user
from .file_names import file_stems as file_stems
from .file_names import path_problem as path_problem
from .files import UNFINISHED as UNFINISHED
from .files import apply_umask as apply_umask
from .files import check_writable as check_writable
from .files import file_sha256 as file_sha256
from .files import reading as reading
from .files import unfinished as unfinished
from .files import write_atomically as write_atomically
from .garbage import without_garbage_collection as without_garbage_collection
from .hub import FetchFailed as FetchFailed
from .hub import Repository as Repository
from .hub import commit_of as commit_of
from .hub import describe_unfetched as describe_unfetched
from .hub import download as download
from .hub import find_fetched as find_fetched
from .hub import hub_name as hub_name
from .hub import is_unreachable as is_unreachable
from .hub import locate as locate
from .hub import repository_of as repository_of
from .json_files import parse_json as parse_json
from .json_files import unique_keys as unique_keys
from .logs import LOG as LOG
from .logs import RunLog as RunLog
from .logs import echo as echo
from .logs import echo_in_terminal as echo_in_terminal
from .logs import is_quiet as is_quiet
from .logs import quietly as quietly
from .logs import run_log as run_log
from .logs import set_verbosity as set_verbosity
from .output import print_error as print_error
from .output import print_warning as print_warning
from .output import tolerant_output as tolerant_output
from .packages import NotInstalled as NotInstalled
from .packages import in_package as in_package
from .packages import install_command as install_command
from .packages import is_installed as is_installed
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
from .templating import TemplateFlaw as TemplateFlaw
from .templating import evaluate_expression as evaluate_expression
from .templating import expression_problem as expression_problem
from .templating import missing_column as missing_column
from .templating import render_template as render_template
from .templating import template_problem as template_problem
from .validation import StrictModel as StrictModel
from .validation import dotted as dotted
from .validation import field_types as field_types
from .validation import is_model as is_model
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
    "TemplateFlaw",
    "TerminationRequested",
    "TrainingDiverged",
    "aligned_lines",
    "apply_umask",
    "batch_size_problems",
    "broadcast_from_main",
    "cache_folder",
    "check_config_folder",
    "check_writable",
    "commit_of",
    "config_folders",
    "counted",
    "csv_cell",
    "describe_unfetched",
    "did_you_mean",
    "dotted",
    "download",
    "draw_permutation",
    "draw_uniform",
    "echo",
    "echo_in_terminal",
    "evaluate_expression",
    "expand_user",
    "export_folder",
    "expression_problem",
    "failure_reported",
    "field_types",
    "file_sha256",
    "file_stems",
    "find_fetched",
    "first_line",
    "gather",
    "hub_name",
    "in_package",
    "install_command",
    "is_installed",
    "is_main_process",
    "is_model",
    "is_quiet",
    "is_unreachable",
    "keys",
    "locate",
    "locks",
    "make_console",
    "make_grid",
    "markdown_cell",
    "markdown_text",
    "missing_column",
    "name_first",
    "one_line",
    "package_folder",
    "parse",
    "parse_json",
    "path_problem",
    "print_error",
    "print_warning",
    "printable",
    "process_count",
    "process_index",
    "progress_bar",
    "quietly",
    "raise_on_sigterm",
    "reading",
    "render_template",
    "repository_of",
    "run_distributed",
    "run_log",
    "set_verbosity",
    "silence_workers",
    "start_workers",
    "template_problem",
    "tolerant_output",
    "unfinished",
    "unique_keys",
    "unknown_name",
    "use_config_folders",
    "wait_for_all",
    "without_garbage_collection",
    "write_atomically",
]
