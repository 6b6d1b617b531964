"""What the benchmarks share: measuring in turn, ratios of pairs, and results saved with all facts.

On a machine that others use too, only what is measured side by side can be compared. So contestants
take their turns round by round, and a ratio is the median of the ratios within the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tqdm import trange

PACKAGES = ("torch", "transformers", "peft", "dylora-exp")
Seconds = dict[str, list[float]]


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark: device, threads and the folder."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the CPU")
    parser.add_argument("--to", default="results/benchmarks", type=Path, metavar="DIR")
    return parser


def measure_in_turn(
    contestants: Mapping[str, Callable[[int], float]], rounds: int, warm_up: int = 1
) -> Seconds:
    """Return the seconds of each contestant in each round.

    Args:
        contestants: Each returns the seconds of one turn, given the number of the round.
        rounds: That count.
        warm_up: Rounds before them, which do not.
    """
    seconds: Seconds = {name: [] for name in contestants}
    names = list(contestants)
    for index in trange(-warm_up, rounds, desc="rounds"):
        # Another begins each round, so that none always follows the same.
        start = index % len(names)
        for name in names[start:] + names[:start]:
            spent = contestants[name](index + warm_up)
            if index >= 0:
                seconds[name].append(spent)
    return seconds


def summarised(seconds: Seconds, over: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each contestant: its median, and its ratios to some of the others.

    Args:
        seconds: As they were measured in turn.
        over: The contestants that the others are compared with.
    """
    rows = []
    for name, own in seconds.items():
        row: dict[str, Any] = {"name": name, "seconds": statistics.median(own), "rounds": len(own)}
        for other in over:
            if other in seconds:
                found = [a / b for a, b in zip(own, seconds[other], strict=True)]
                row[f"over {other}"] = {
                    "median": statistics.median(found),
                    "low": min(found),
                    "high": max(found),
                }
        rows.append(row)
    return rows


def facts(device: str, **more: Any) -> dict[str, Any]:
    """Return what a result depends on beside the code: machine, threads, versions, commit."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    return {
        "machine": f"{name}, {platform.machine()}, {platform.system()}",
        "device": device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "commit": _commit(),
        **more,
    }


def save(folder: Path, name: str, result: Mapping[str, Any], text: str) -> None:
    """Write a result as JSON and as Markdown, and print the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(tree, encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, its first column to the left and the others to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ratio_text(ratio: Mapping[str, float] | None) -> str:
    """Return a ratio with its spread, such as ``1.01 (0.99-1.04)``."""
    if ratio is None:
        return ""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def facts_text(result: Mapping[str, Any]) -> str:
    """Return a sentence on machine, versions and commit."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['machine']}, {result['threads']} thread(s) of {result['cores']} cores; "
        f"{versions}; commit {result['commit']}."
    )


def in_fresh_process(*arguments: str) -> dict[str, Any]:
    """Return what a script printed last, as JSON, when started anew with these arguments."""
    out = subprocess.check_output([sys.executable, *arguments], text=True)
    return dict(json.loads(out.splitlines()[-1]))


def peak_bytes(device: str) -> int:
    """Return the largest memory of this process so far: of the GPU, or resident on the CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def synchronise(device: str) -> None:
    """Wait for what the GPU was told to do, so that a clock sees the end of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
