"""Which runs cost the same for each step, so that one of them stands for all."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dylora_exp.config import Config, Ranks, has_ranks

# Ranks up to this part of the model's width are measured as one, at the largest of them: what LoRA
# of two layers computes at it is about a fiftieth of what a transformer's layer does.
_WIDTH_PER_RANK = 8
# What of a model's settings is no part of what it computes.
_NAMES = ("name", "revision", "pretrained", "extra", "guessed", "tokenizer", "drop_head")


@dataclass(frozen=True)
class Shape:
    """Runs that cost the same for each token of a step.

    Attributes:
        name: What a reader calls it.
        config: That of a run of the largest rank.
        runs: The ids of the runs.
    """

    name: str
    config: Config
    runs: tuple[str, ...]


def shapes_of(configs: dict[str, Config]) -> list[Shape]:
    """Return the distinct shapes of some runs.

    Args:
        configs: The config of each run by its id.
    """
    groups: dict[str, list[str]] = {}
    for name, config in configs.items():
        groups.setdefault(_key(config), []).append(name)
    found = []
    for names in groups.values():
        largest = max(names, key=lambda name: configs[name].ranks.r_max)
        found.append(Shape(_name(configs[largest]), configs[largest], tuple(names)))
    return found


def _key(config: Config) -> str:
    """Return all on which the cost of a token depends, as a text."""
    method, trainer, task = config.method, config.trainer, config.task
    model = config.model.model_dump(exclude=set(_NAMES))
    if config.model.config is not None:
        del model["name_or_path"]
    cost: list[object] = [method.step_cost, method.trains]
    if method.step_cost == method.kind:  # a class of its own
        cost.append(method.model_dump(mode="json", exclude={"name", "score", "alpha"}))
    if method.step_cost == "all ranks":
        cost += [Ranks.from_config(config.ranks).values, getattr(method, "examples_per_pass", 0)]
    if has_ranks(method):
        cost += [_rank_class(config), config.ranks.sample_every == "example"]
    decode = getattr(task, "decode", None)
    of_task = [task.objective, decode and [decode.beams, decode.no_repeat_ngram > 0]]
    of_trainer = trainer.model_dump(
        include={
            *("batch_size", "eval_batch_size", "bf16", "compile"),
            *("gradient_checkpointing", "threads"),
        }
    )
    return json.dumps([model, cost, of_task, of_trainer], sort_keys=True, default=str)


def _rank_class(config: Config) -> int:
    """Return the class of ranks that are measured as one; each its own where widths are unknown."""
    named = config.model.config or {}
    width = named.get("hidden_size") or named.get("n_embd")
    rank = config.ranks.r_max
    return -(-rank * _WIDTH_PER_RANK // width) if isinstance(width, int) else -(-rank // 32)


def _name(config: Config) -> str:
    method, trainer = config.method, config.trainer
    parts = [config.model.name, method.step_cost]
    if has_ranks(method):
        parts[-1] += f" (r up to {config.ranks.r_max})"
    parts += ["a rank for each example"] * (config.ranks.sample_every == "example")
    parts += [f"batch {trainer.batch_size}", config.task.objective]
    return ", ".join(parts)
