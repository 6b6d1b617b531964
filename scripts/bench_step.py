"""Times a training step of each method against PEFT's LoRA and against the floor.

The floor is the same frozen backbone with a backward pass through all of its layers and nothing
else to train than the head: no method can take less. All take their steps in turn, on the same
batch of random tokens, over random weights of the model's shape. One rank is drawn for each step as
in training.

    python scripts/bench_step.py --shapes minilm roberta-base gpt2-medium --rounds 10
    python scripts/bench_step.py --shapes gpt2-medium --device cuda --dtype bfloat16 --compile
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import benchmarking
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from dylora_exp.config import Config, compose
from dylora_exp.methods import Batch, make_method
from dylora_exp.models import load
from dylora_exp.runner import quiet_libraries

# Examples, tokens, and the number of labels; None where the model generates texts.
SHAPES: dict[str, tuple[int, int, int | None]] = {
    "tiny-roberta": (32, 32, 2),
    "minilm": (32, 50, 2),
    "roberta-base": (32, 50, 2),
    "tiny-gpt2": (8, 60, None),
    "gpt2-medium": (8, 60, None),
    "smollm2-135m": (8, 60, None),
}
ONE_RANK = {
    "LoRA": ["method=lora"],
    "DyLoRA": ["method=dylora"],
    "DyLoRA (frozen)": ["method=dylora-frozen"],
    "DyLoRA (frozen, strict)": ["method=dylora-frozen", "method.freeze=strict"],
    "DyLoRA (a rank an example)": ["method=dylora", "ranks=per-example"],
    "DyLoRA (sandwich)": ["method=dylora", "ranks=sandwich"],
    "Matryoshka": ["method=matryoshka", "ranks=powers"],
    "Sorted LoRA": ["method=sorted-lora"],
}
OTHERS = {"all 8 ranks summed": ["method=nested-dropout"]}
FLOOR, PEFT, RELEASED = "floor", "PEFT LoRA", "as the released layer"
QUANTISED = {"nf4 LoRA": ["method=lora"], "nf4 DyLoRA": ["method=dylora"]}


class ReleasedLayer(nn.Module):
    """The adapted layer as the paper's authors compute it, written from its description.

    The factors are cut and scaled by sqrt(alpha/b) each, those of lower ranks detached and joined
    to the one of rank b again, and the input is multiplied by their transposes.
    """

    def __init__(self, base: nn.Linear, r: int, alpha: float, rank: Callable[[], int]) -> None:
        super().__init__()
        self.base, self.alpha, self.rank = base, alpha, rank
        self.a = nn.Parameter(torch.randn(r, base.in_features) / math.sqrt(base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., d_in) to (..., d_out)."""
        rank = self.rank()
        root = math.sqrt(self.alpha / rank)
        a = torch.cat([self.a[: rank - 1].detach(), self.a[rank - 1 : rank]]) * root
        b = torch.cat([self.b[:, : rank - 1].detach(), self.b[:, rank - 1 : rank]], dim=1) * root
        return self.base(x) + x @ a.transpose(0, 1) @ b.transpose(0, 1)


class Contestant:
    """A model with an optimizer, ready to take steps on one batch.

    Args:
        name: One of those above.
        words: The overrides of its method; empty where it is none of the project's.
        shape: The name of the model.
        options: The parsed command line.
    """

    def __init__(self, name: str, words: list[str], shape: str, options: Any) -> None:
        examples, tokens, labels = SHAPES[shape]
        self.device, self.size, self.labels = options.device, examples, labels
        self.config = _config(shape, words, labels, options)
        torch.manual_seed(0)
        backbone, _ = load(self.config.model, labels)
        self.method = make_method(self.config)
        self.model = self._attach(name, backbone).to(self.device).train()
        self.step_of_model = torch.compile(self.model) if options.compile else self.model
        self.autocast = torch.autocast(
            self.device, torch.bfloat16, enabled=options.dtype == "bfloat16"
        )
        self.callbacks = self.method.callbacks(self.model) if words else []
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": self.trained}]
        groups = self.method.optimizer_groups(groups) if words else groups
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3)
        ids = torch.randint(5, 250, (examples, tokens), device=self.device)
        targets = ids if labels is None else torch.arange(examples, device=self.device) % labels
        self.inputs = {"input_ids": ids, "labels": targets}
        self.index = 0

    def _attach(self, name: str, backbone: PreTrainedModel) -> nn.Module:
        ranks, alpha = self.method.ranks, self.config.method.alpha
        if name == FLOOR:
            backbone.requires_grad_(False)
            # The embeddings' output counts as trained, so that gradients go through all layers.
            backbone.get_input_embeddings().register_forward_hook(
                lambda _module, _inputs, output: output.requires_grad_()
            )
            return _with_trained_head(backbone, self.config, self.labels)
        if name == PEFT:
            return get_peft_model(
                backbone,
                LoraConfig(
                    r=ranks.r_max,
                    lora_alpha=int(alpha),
                    target_modules=_plain_targets(self.config),
                    modules_to_save=self.config.model.head if self.labels else None,
                ),
            )
        if name == RELEASED:
            backbone.requires_grad_(False)
            targets = tuple(f".{target}" for target in _plain_targets(self.config))
            for path, layer in list(backbone.named_modules()):
                if path.endswith(targets) and isinstance(layer, nn.Linear):
                    new = ReleasedLayer(layer, ranks.r_max, alpha, lambda: self.rank)
                    backbone.set_submodule(path, new)
            return _with_trained_head(backbone, self.config, self.labels)
        return self.method.attach(backbone)

    def step(self, _round: int) -> float:
        """Take one optimizer step and return its seconds."""
        self.rank = self.method.ranks.rank_of_step(0, self.index)
        batch = Batch(self.index, 0, 0, self.size)
        self.index += 1
        benchmarking.synchronise(self.device)
        start = time.perf_counter()
        for _ in self.method.forward_passes(batch):
            with self.autocast:
                loss = self.method.loss(self.step_of_model, self.inputs, _mean_loss)
            loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        for callback in self.callbacks:
            callback.on_pre_optimizer_step(None, None, None)  # type: ignore[arg-type]
        self.optimizer.step()
        for callback in self.callbacks:
            callback.on_optimizer_step(None, None, None)  # type: ignore[arg-type]
        self.model.zero_grad()
        benchmarking.synchronise(self.device)
        return time.perf_counter() - start


def _config(shape: str, words: list[str], labels: int | None, options: Any) -> Config:
    """Return the run's config: weights at random, in the model's own shape."""
    task = "task=demo-e2e" if labels is None else "task=demo"
    overrides = [f"model={shape}", task, "ranks.r_max=8", *(words or ["method=lora"])]
    if options.random:
        overrides += ["model.pretrained=false"]
    if options.quantised:
        overrides += ["model.quantization=nf4"]
    return compose(overrides)


def _plain_targets(config: Config) -> list[str]:
    """Return targets of the stock model: the whole layer instead of its parts."""
    fused = config.model.fused or {}
    return sorted(
        {target.partition(".")[0] if fused else target for target in config.model.targets}
    )


def _with_trained_head(backbone: PreTrainedModel, config: Config, labels: int | None) -> nn.Module:
    for path, parameter in backbone.named_parameters():
        if labels is not None and any(head in path.split(".") for head in config.model.head):
            parameter.requires_grad_(True)
    return backbone


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy of labels, or of each next token."""
    if logits.dim() == 3:
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return functional.cross_entropy(logits.float(), labels)


def contestants(shape: str, options: Any) -> dict[str, list[str]]:
    """Return the names and overrides of those that can run over a model."""
    if options.quantised:
        found = dict(QUANTISED)
    else:
        found = {FLOOR: [], PEFT: [], **ONE_RANK, **OTHERS, RELEASED: []}
        if SHAPES[shape][2] is None and compose([f"model={shape}"]).model.fused:
            del found[RELEASED]  # it adapts linear layers, which a fused one is not
    if options.only:
        found = {name: words for name, words in found.items() if name in options.only}
    return found


def measure(shape: str, options: Any) -> dict[str, Any]:
    """Return the times and the peak memory of all contestants over one model."""
    chosen = contestants(shape, options)
    made = {name: Contestant(name, words, shape, options) for name, words in chosen.items()}
    seconds = benchmarking.measure_in_turn(
        {name: each.step for name, each in made.items()}, options.rounds, options.warm_up
    )
    first = next(iter(QUANTISED)) if options.quantised else PEFT
    rows = benchmarking.summarised(seconds, [FLOOR, first])
    del made
    for row in rows if options.memory else []:
        words = [__file__, "--child", shape, row["name"], *_child_options(options)]
        row["peak_bytes"] = benchmarking.in_fresh_process(*words)["bytes"]
    examples, tokens, labels = SHAPES[shape]
    return {"model": shape, "examples": examples, "tokens": tokens, "labels": labels, "rows": rows}


def _child_options(options: Any) -> list[str]:
    flags = [f"--{name}" for name in ("random", "quantised", "compile") if getattr(options, name)]
    return [*flags, "--device", options.device, "--dtype", options.dtype]


def child(shape: str, name: str, options: Any) -> None:
    """Take a few steps alone and print the largest memory."""
    contestant = Contestant(name, contestants(shape, options)[name], shape, options)
    for index in range(3):
        contestant.step(index)
    print(json.dumps({"bytes": benchmarking.peak_bytes(options.device)}))


def as_markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result."""
    over = [FLOOR, next(iter(QUANTISED)) if result["quantised"] else PEFT]
    parts = [
        "# A training step, by method\n",
        f"r_max 8, {result['dtype']}, {'compiled' if result['compiled'] else 'eager'}, medians of "
        f"{result['rounds']} rounds in which all take a step in turn; ratios are medians within "
        f"rounds, with the least and the largest. {benchmarking.facts_text(result)}\n",
    ]
    for shape in result["shapes"]:
        kind = f"{shape['labels']} labels" if shape["labels"] else "texts"
        size = f"{shape['examples']} x {shape['tokens']} tokens, {kind}"
        parts.append(f"\n## {shape['model']} ({size})\n")
        parts.append(
            benchmarking.markdown_table(
                ["method", "step", *[f"/ {name}" for name in over], "peak memory"],
                [
                    [
                        row["name"],
                        f"{1000 * row['seconds']:.1f} ms",
                        *[benchmarking.ratio_text(row.get(f"over {name}")) for name in over],
                        f"{row['peak_bytes'] / 1e6:.0f} MB" if "peak_bytes" in row else "",
                    ]
                    for row in shape["rows"]
                ],
            )
        )
    return "\n".join(parts)


def main() -> None:
    """Measure, print the tables, and write them with all numbers."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--shapes", nargs="+", default=["tiny-roberta"], choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--quantised", action="store_true", help="nf4 bases alone")
    parser.add_argument("--random", action="store_true", help="random weights: no download")
    parser.add_argument("--memory", action="store_true", help="peak memory, each in a process")
    parser.add_argument("--only", nargs="+", metavar="METHOD")
    parser.add_argument("--name", default="step", help="of the files that are written")
    parser.add_argument("--child", nargs=2, help="for the measurement of memory")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet_libraries()
    if options.child:
        child(*options.child, options)
        return
    result = benchmarking.facts(
        options.device,
        rounds=options.rounds,
        dtype=options.dtype,
        compiled=options.compile,
        quantised=options.quantised,
        shapes=[measure(shape, options) for shape in options.shapes],
    )
    benchmarking.save(options.to, options.name, result, as_markdown(result))


if __name__ == "__main__":
    main()
