"""The environment of a run: versions, code, hardware, threads, peak memory."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import resource
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from dylora_exp.core import process_count

_DEFAULT_THREADS = torch.get_num_threads()
_NULL_HANDLER = logging.NullHandler()


def environment(*packages: str) -> dict[str, Any]:
    """Return the versions, the project's commit, the hardware and the number of processes.

    Args:
        packages: Further packages that a run depends on.
    """
    names = ("torch", "transformers", "peft", *packages)
    versions = {name: metadata.version(name) for name in names}
    commit, dirty = _git_state()
    return {
        "python": platform.python_version(),
        **versions,
        "project": metadata.version("dylora-exp"),
        "git_commit": commit,
        "dirty": dirty,
        "hardware": _hardware(),
        "processes": process_count(),
    }


def use_threads(count: int | None) -> None:
    """Set how many threads PyTorch uses from now on; None for its own choice."""
    torch.set_num_threads(count or _DEFAULT_THREADS)


def reset_peak_memory() -> None:
    """Start a new measurement of the peak memory: one process may do many runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux; elsewhere it is that of the whole process
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> dict[str, Any]:
    """Return the peak memory of this process in bytes, on the GPU if there is one."""
    if torch.cuda.is_available():
        return {"peak_bytes": torch.cuda.max_memory_allocated(), "device": "cuda"}
    return {"peak_bytes": _peak_resident_bytes(), "device": "cpu"}


def _peak_resident_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return 1024 * int(lines["VmHWM"].removesuffix("kB"))


def quiet_libraries() -> None:
    """Turn off the libraries' progress bars, and leave their warnings to a run's log."""
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_warning()
    transformers.logging.disable_default_handler()
    transformers.logging.add_handler(_NULL_HANDLER)
    # PEFT reads an attribute that transformers has renamed.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)


def _hardware() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    return f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the package's checkout, and whether files outside ``results/`` differ.

    Both are None where the package is in no checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(changes)


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
