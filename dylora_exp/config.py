"""The typed schema of a run and every check on it that needs neither a model nor data.

A config is a tree of dataclasses. Field types are enforced as written; bounds stand in the field's
metadata. ``load`` collects every problem of a tree at once.

A field's default must never change: a run's identity leaves out the values that equal their default
(see ``identity.run_id``), so that adding an option does not orphan the records made before it.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dylora_exp.errors import RequestError, nearest, unknown

Scale = Literal["alpha/b", "alpha/r"]
Truncation = Literal["leading", "svd"]
Metric = Literal["accuracy", "f1", "matthews_correlation", "pearson", "spearmanr"]

# These score a number; the others score a label.
_NUMBER_METRICS = {"pearson", "spearmanr"}
_WITHOUT_RANKS = {"finetune"}


def _bound(default: Any, **bounds: float) -> Any:
    """A field with numeric bounds: ``above`` and ``below`` exclude the value, the others do not."""
    return field(default=default, metadata=bounds)


@dataclass
class ModelConfig:
    """A backbone. ``name_or_path``: hub name, local folder, or ``package://module/folder``."""

    name: str = ""
    name_or_path: str = ""
    revision: str | None = None
    pretrained: bool = True
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    targets: list[str] = field(default_factory=lambda: ["query", "value"])
    head: list[str] = field(default_factory=lambda: ["classifier"])
    extra: str | None = None


@dataclass
class HubSource:
    """Where a task lies on the hub, and the columns that hold its texts."""

    path: str = ""
    name: str | None = None
    train: str = "train"
    eval: str = "validation"
    text: list[str] = field(default_factory=list)
    label: str = "label"


@dataclass
class TsvSource:
    """The official GLUE layout of a task: its folder, files and columns.

    ``columns`` names the columns of a file without a header.
    """

    folder: str = ""
    train: str = "train.tsv"
    eval: str = "dev.tsv"
    columns: list[str] | None = None
    text: list[str] = field(default_factory=list)
    label: str = "label"


@dataclass
class TaskConfig:
    """What is learned and how it is scored. ``labels`` in id order; empty means a number."""

    name: str = ""
    reader: Literal["glue", "demo"] = "glue"
    data_dir: str | None = None
    labels: list[str] = field(default_factory=list)
    label_range: list[float] | None = None
    metrics: list[Metric] = field(default_factory=list)
    headline: str = ""
    hub: HubSource | None = None
    tsv: TsvSource | None = None
    broken_lines: Literal["error", "skip"] = "error"
    max_length: int = _bound(512, at_least=2)
    max_train_samples: int | None = _bound(None, at_least=1)
    max_eval_samples: int | None = _bound(None, at_least=1)


@dataclass
class WayConfig:
    """One way to make a lower rank from trained factors."""

    truncation: Truncation = "leading"
    scale: Scale = "alpha/b"


@dataclass
class MethodConfig:
    """What is trained. ``kind`` names the module under ``dylora_exp/methods``."""

    name: str = ""
    kind: str = ""
    alpha: float = _bound(16.0, above=0)
    dropout: float = _bound(0.0, at_least=0, below=1)
    init: Literal["kaiming_uniform", "gaussian"] = "kaiming_uniform"
    update: Literal["prefix", "row"] = "prefix"
    freeze: Literal["released", "strict"] = "released"
    scale: Scale = "alpha/b"
    score: list[WayConfig] = field(default_factory=list)


@dataclass
class RanksConfig:
    """The training distribution over ranks and the ranks to score (default: all)."""

    distribution: Literal["uniform", "geometric", "custom"] = "uniform"
    r_max: int = _bound(8, at_least=1)
    p: float = _bound(0.15, above=0, below=1)
    tail: Literal["renormalise", "clip"] = "renormalise"
    weights: list[float] | None = None
    score: list[int] | None = None
    sample_every: Literal["step"] = "step"


@dataclass
class TrainerConfig:
    """Optimisation. ``max_steps`` replaces ``epochs``, ``warmup_steps`` the ratio, where given."""

    learning_rate: float = _bound(4e-4, above=0)
    batch_size: int = _bound(32, at_least=1)
    eval_batch_size: int = _bound(64, at_least=1)
    accumulation_steps: int = _bound(1, at_least=1)
    epochs: float = _bound(30.0, above=0)
    max_steps: int | None = _bound(None, at_least=1)
    weight_decay: float = _bound(0.1, at_least=0)
    adam_beta1: float = _bound(0.9, at_least=0, below=1)
    adam_beta2: float = _bound(0.999, at_least=0, below=1)
    adam_epsilon: float = _bound(1e-8, above=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = _bound(0.06, at_least=0, below=1)
    warmup_steps: int | None = _bound(None, at_least=0)
    max_grad_norm: float = _bound(1.0, at_least=0)
    bf16: bool = False
    save_steps: int = _bound(500, at_least=1)
    threads: int | None = _bound(None, at_least=1)


@dataclass
class TrackerConfig:
    """Where curves go besides the record."""

    name: Literal["none", "wandb"] = "none"
    project: str = "dylora-exp"
    mode: Literal["online", "offline"] = "online"


@dataclass
class Config:
    """A run: everything that decides its record, and where the record and its files go."""

    seed: int = _bound(10, at_least=0, below=2**32)
    profile: str = "demo"
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    ranks: RanksConfig = field(default_factory=RanksConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    results_dir: str = "results"
    outputs_dir: str = "outputs"


def load(tree: Mapping[str, Any]) -> Config:
    """Check a plain config tree against the schema and build the typed config.

    Raises:
        RequestError: With one sentence for each unknown key, wrong type, value out of bounds, or
            pair of values that do not go together.
    """
    problems: list[str] = []
    config = _build(Config, tree, "", problems)
    if not problems:
        problems = _cross_checks(config)
    if problems:
        raise RequestError(problems)
    return typing.cast(Config, config)


def has_ranks(method: MethodConfig) -> bool:
    """Return whether a method makes a model that can be shown at several ranks."""
    return method.kind not in _WITHOUT_RANKS


def known_keys() -> list[str]:
    """Return every dotted key of the schema, groups included."""
    return list(_keys(Config, ""))


def _keys(schema: type, prefix: str) -> typing.Iterator[str]:
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        yield prefix + item.name
        for option in typing.get_args(hints[item.name]) or (hints[item.name],):
            if dataclasses.is_dataclass(option):
                yield from _keys(typing.cast(type, option), f"{prefix}{item.name}.")


def _build(schema: type, tree: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(tree, Mapping):
        problems.append(f"{path}: found {tree!r}, expected a group of settings.")
        return None
    fields = {item.name: item for item in dataclasses.fields(schema)}
    dot = f"{path}." if path else ""
    for key in tree:
        if key not in fields:
            problems.append(
                f"{dot}{key}: there is no such setting{nearest(str(key), fields) or '.'}"
            )
    hints = typing.get_type_hints(schema)
    values = {}
    for name, item in fields.items():
        if name in tree:
            before = len(problems)
            values[name] = _value(hints[name], tree[name], dot + name, problems)
            if len(problems) == before:
                _check_bounds(item.metadata, values[name], dot + name, problems)
    return schema(**values)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Return ``value`` as the type ``hint`` says, or note the problem."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _value(options[0], value, path, problems)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path, problems)
    if origin is Literal:
        if value not in options:
            problems.append(unknown(path, str(value), [str(option) for option in options]))
        return value
    if origin is list:
        if not isinstance(value, list):
            problems.append(f"{path}: found {value!r}, expected a list such as [a, b].")
            return None
        return [_value(options[0], v, f"{path}[{i}]", problems) for i, v in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            problems.append(f"{path}: found {value!r}, expected a group of settings.")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        problems.append(f"{path}: found {value!r}, expected {_WORDS[hint]}.")
    elif hint is float and not math.isfinite(value):
        problems.append(f"{path}: found {value!r}, expected a finite number.")
    return value


def _check_bounds(bounds: Mapping[str, float], value: Any, path: str, problems: list[str]) -> None:
    if value is None or not bounds:
        return
    tests = {
        "at_least": (lambda limit: value >= limit, "at least"),
        "above": (lambda limit: value > limit, "above"),
        "below": (lambda limit: value < limit, "below"),
    }
    if not all(tests[name][0](limit) for name, limit in bounds.items()):
        allowed = " and ".join(f"{tests[name][1]} {limit:.12g}" for name, limit in bounds.items())
        problems.append(f"{path}: found {value!r}, expected a number {allowed}.")


def _cross_checks(config: Config) -> list[str]:
    """Return the problems that only show in several values together."""
    problems = _rank_problems(config.ranks) + _task_problems(config.task)
    method, model = config.method, config.model
    if has_ranks(method) and not method.score:
        problems.append("method.score: found an empty list, expected at least one way to score.")
    if has_ranks(method) and not model.targets:
        problems.append("model.targets: found an empty list, expected the modules to adapt.")
    for name in ("results_dir", "outputs_dir"):
        if not getattr(config, name):
            problems.append(f"{name}: found an empty text, expected a folder.")
    return problems


def _rank_problems(ranks: RanksConfig) -> list[str]:
    problems = [
        f"ranks.score: found {rank}, expected ranks 1..{ranks.r_max} (r_max)."
        for rank in ranks.score or []
        if not 1 <= rank <= ranks.r_max
    ]
    if ranks.score is not None and not ranks.score:
        problems.append("ranks.score: found an empty list, expected at least one rank.")
    if ranks.distribution == "custom":
        problems += _weight_problems(ranks)
    return problems


def _task_problems(task: TaskConfig) -> list[str]:
    problems = []
    if not task.metrics:
        problems.append("task.metrics: found an empty list, expected at least one metric.")
    elif task.headline not in task.metrics:
        problems.append(unknown("task.headline", task.headline, task.metrics))
    if len(task.labels) == 1:
        problems.append("task.labels: found one label, expected several, or none for a number.")
    for metric in task.metrics:
        if (metric in _NUMBER_METRICS) == bool(task.labels):
            kind = "numbers" if metric in _NUMBER_METRICS else "labels"
            problems.append(f"task.metrics: '{metric}' scores {kind}, which this task has not.")
    if "f1" in task.metrics and len(task.labels) > 2:
        problems.append("task.metrics: 'f1' is that of label 1 of two, this task has more labels.")
    if task.reader == "glue" and task.tsv is None and task.hub is None:
        problems.append("task: a glue task needs 'hub' or 'tsv' to say where its data lie.")
    if task.data_dir == "":
        problems.append("task.data_dir: found an empty text, expected a folder.")
    return problems


def _weight_problems(ranks: RanksConfig) -> list[str]:
    weights = ranks.weights or []
    if len(weights) != ranks.r_max:
        return [
            f"ranks.weights: found {len(weights)} weights, expected {ranks.r_max}, "
            "one for each rank 1..r_max."
        ]
    if any(weight < 0 for weight in weights):
        return [f"ranks.weights: found {min(weights)}, expected weights of at least 0."]
    if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        return [f"ranks.weights: they sum to {math.fsum(weights):g}, expected 1."]
    return []
