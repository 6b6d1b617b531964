"""Times a training step of DyLoRA against LoRA over the same quantised base, and its memory.

Each contestant is a process of its own, so that its peak memory is that of nothing else. On a GPU
(``--device cuda``, the default where there is one) the times are those of finished kernels.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CONTESTANTS = {
    "LoRA": ["method=lora"],
    "DyLoRA": ["method=dylora"],
    "DyLoRA, a rank for each example": ["method=dylora", "ranks=per-example"],
}


def measure(words: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the median step in seconds, the peak memory and the model's size in bytes."""
    import torch

    from dylora_exp.config import Ranks, compose
    from dylora_exp.methods import make_method
    from dylora_exp.models import load
    from dylora_exp.runner import quiet_libraries
    from dylora_exp.runner.environment import peak_memory, reset_peak_memory

    quiet_libraries()
    reset_peak_memory()
    config = compose(
        [
            *("profile=demo-nlg", f"model.name_or_path={arguments.model}", "model.fused=null"),
            *(f"model.targets=[{arguments.targets}]", "model.overrides=null"),
            *(f"model.quantization={arguments.quantization}", f"model.dtype={arguments.dtype}"),
            *(f"ranks.r_max={arguments.r}", *words),
        ]
    )
    torch.manual_seed(0)
    backbone, _ = load(config.model, labels=None)
    known = len(backbone.get_input_embeddings().weight)
    method = make_method(config)
    model = method.attach(backbone).to(arguments.device).train()
    if arguments.checkpointing:
        backbone.activation_checkpointing_enable({"use_reentrant": False})
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(known, (arguments.batch, arguments.tokens), device=arguments.device)
    ranks, seconds = Ranks.from_config(config.ranks), []
    for step in range(arguments.steps + 2):
        start = time.perf_counter()
        if config.ranks.sample_every == "example" and method.mask is not None:
            method.mask.select_each(ranks.ranks_of_examples(0, step, 0, arguments.batch))
        elif method.mask is not None:
            method.mask.select(ranks.rank_of_step(0, step))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {
        # The first steps warm up.
        "seconds": statistics.median(seconds[2:]),
        "model_bytes": model.get_memory_footprint(),
        **peak_memory(),
        "hardware": torch.cuda.get_device_name() if arguments.device == "cuda" else _cpu(),
    }


def _cpu() -> str:
    import torch

    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def main() -> None:
    """Print a line for each contestant, and write all with their settings to a file of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder or a name on the hub")
    parser.add_argument("--targets", default="q_proj,v_proj")
    parser.add_argument("--quantization", default="nf4", choices=["none", "int8", "nf4"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--r", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--to", type=Path, metavar="FILE", help="where the JSON goes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device is None:
        import torch

        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    if arguments.one is not None:
        print(json.dumps(measure(CONTESTANTS[arguments.one], arguments)))
        return
    found = {}
    command = [sys.executable, *sys.argv, "--device", arguments.device]
    for name in CONTESTANTS:
        done = subprocess.run([*command, "--one", name], stdout=subprocess.PIPE, check=True)
        found[name] = each = json.loads(done.stdout.splitlines()[-1])
        ratio = each["seconds"] / found["LoRA"]["seconds"]
        print(
            f"{name:32} {each['seconds']:8.3f} s  {ratio:.2f} x LoRA  model "
            f"{each['model_bytes'] / 1e6:.0f} MB, peak {each['peak_bytes'] / 1e6:.0f} MB",
            flush=True,
        )
    if arguments.to is not None:
        settings = {name: value for name, value in vars(arguments).items() if name != "one"}
        settings["to"] = str(arguments.to)
        text = json.dumps({"settings": settings, "results": found}, indent=2, sort_keys=True)
        arguments.to.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
