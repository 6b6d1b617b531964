"""Times ``resize`` against PEFT's ``convert_to_lora`` on random adapters of Llama-3.2-1B's shapes.

Both lower the same adapter of rank 64 to rank 8, ``resize`` from files to files on all layers, PEFT
in memory. PEFT decomposes the whole product of each layer, which takes minutes: one layer of each
shape is timed and its time multiplied by the number of such layers. Run it on one core:
``OMP_NUM_THREADS=1 python scripts/bench_resize.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import benchmarking
import torch
from peft import LoraConfig, convert_to_lora, get_peft_model
from safetensors.torch import save_file
from torch import nn

from dylora_exp.adapters import resize

LAYERS, R, ALPHA = 16, 64, 64
ATTENTION = {"q_proj": (2048, 2048), "v_proj": (2048, 512)}
OTHERS = {
    **{"k_proj": (2048, 512), "o_proj": (2048, 2048)},
    **{"gate_proj": (2048, 8192), "up_proj": (2048, 8192), "down_proj": (8192, 2048)},
}
ADAPTERS = {"q/v": ATTENTION, "all-linear": ATTENTION | OTHERS}


def write_adapter(folder: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """Write a random adapter on all layers as PEFT would."""
    torch.manual_seed(0)
    tensors = {}
    for index in range(LAYERS):
        for name, (d_in, d_out) in shapes.items():
            key = f"base_model.model.model.layers.{index}.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(R, d_in) / d_in**0.5
            tensors[f"{key}.lora_B.weight"] = torch.randn(d_out, R) / R**0.5
    settings = {"peft_type": "LORA", "r": R, "lora_alpha": ALPHA, "target_modules": list(shapes)}
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


def resize_apart(source: Path, to: Path, rank: int) -> dict[str, float]:
    """Resize in a fresh process and return its seconds, and the growth of its peak memory."""
    words = ["--child", str(source), str(to), "--rank", str(rank)]
    return benchmarking.in_fresh_process(__file__, *words)


def child(source: str, to: str, rank: int) -> None:
    """Resize here, and print seconds and bytes; a small resize before has loaded all libraries."""
    with tempfile.TemporaryDirectory() as name:
        small = Path(name, "small")
        small.mkdir()
        write_adapter(small, {"q_proj": (8, 8)})
        resize(small, rank=1, to=Path(name, "lower"))
        # The peak starts anew from what the libraries take up (Linux).
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        before = _peak()
        start, processor = time.perf_counter(), time.process_time()
        resize(source, rank=rank, to=to, force=True)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(json.dumps({"seconds": seconds, "processor": processor, "bytes": _peak() - before}))


def _peak() -> int:
    """Return the largest resident memory of this process in bytes, mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def time_peft(shape: tuple[int, int], rank: int) -> tuple[float, float]:
    """Return PEFT's seconds for one layer, by the clock and on the core."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(*shape, bias=False))
    config = LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["0"], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    start, processor = time.perf_counter(), time.process_time()
    convert_to_lora(adapted, rank=rank)
    return time.perf_counter() - start, time.process_time() - processor


def measure(name: str, rank: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Return the times of both on one adapter, taken in turn, and their ratios."""
    shapes = ADAPTERS[name]
    source = folder / name.replace("/", "")
    source.mkdir()
    write_adapter(source, shapes)
    size = (source / "adapter_model.safetensors").stat().st_size
    pairs = []
    for _ in range(repeats):
        once = {shape: time_peft(shape, rank) for shape in sorted(set(shapes.values()))}
        peft, processor = (LAYERS * sum(once[s][i] for s in shapes.values()) for i in (0, 1))
        ours = resize_apart(source, folder / "to", rank)
        pairs.append({"peft": peft, "peft_processor": processor, **ours})
        print(f"{name}: PEFT {peft:.1f} s, resize {ours['seconds']:.2f} s", flush=True)
    return {
        "adapter": name,
        "layers": LAYERS * len(shapes),
        "file_bytes": size,
        "pairs": pairs,
        "peft_seconds": statistics.median(pair["peft"] for pair in pairs),
        "resize_seconds": statistics.median(pair["seconds"] for pair in pairs),
        "resize_processor": statistics.median(pair["processor"] for pair in pairs),
        "ratio": statistics.median(pair["peft"] / pair["seconds"] for pair in pairs),
        "processor_ratio": statistics.median(
            pair["peft_processor"] / pair["processor"] for pair in pairs
        ),
        "peak_over_file": max(pair["bytes"] for pair in pairs) / size,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """Return the table of a result."""
    lines = [
        "# Lowering the rank of an adapter: resize against PEFT's convert_to_lora",
        "",
        f"Random adapters of Llama-3.2-1B's shapes, rank {R} to {result['rank']}, float32, "
        f"{result['threads']} thread(s) on {result['machine']}; torch {result['torch']}, PEFT "
        f"{result['peft']}; medians of {result['repeats']} pairs taken in turn. `resize` reads and "
        "writes files and works on all layers. PEFT's time is that of one layer of each shape, "
        "multiplied by the number of such layers. Seconds on the core leave out the waits for one "
        "that others use. Memory is the growth of the process's peak, the mapped file included, "
        "over the size of the adapter's file.",
        "",
        "| adapter | layers | file | PEFT | resize | on the core | times faster | on the core | "
        "peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["adapters"]:
        lines.append(
            f"| {row['adapter']} | {row['layers']} | {row['file_bytes'] / 1e6:.1f} MB | "
            f"{row['peft_seconds']:.1f} s | {row['resize_seconds']:.2f} s | "
            f"{row['resize_processor']:.2f} s | {row['ratio']:.0f} | "
            f"{row['processor_ratio']:.0f} | {row['peak_over_file']:.2f} × file |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table, and write it with all numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--adapters", nargs="*", default=list(ADAPTERS), choices=list(ADAPTERS))
    parser.add_argument("--to", default="results/benchmarks", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if arguments.child:
        child(*arguments.child, arguments.rank)
        return
    with tempfile.TemporaryDirectory() as name:
        rows = [
            measure(adapter, arguments.rank, arguments.repeats, Path(name))
            for adapter in arguments.adapters
        ]
    result = {
        "rank": arguments.rank,
        "r": R,
        "repeats": arguments.repeats,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "torch": metadata.version("torch"),
        "peft": metadata.version("peft"),
        "adapters": rows,
    }
    benchmarking.save(arguments.to, "resize", result, as_markdown(result))


if __name__ == "__main__":
    main()
