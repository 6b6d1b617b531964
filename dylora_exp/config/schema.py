"""The typed schema of a run and every check on it that needs neither a model nor data.

A config is a tree of dataclasses. Field types are enforced as written; bounds stand in the field's
metadata. ``load`` collects every problem of a tree at once.

A field's default must never change: a run's identity leaves out the values that equal their default
(see ``identity.run_id``), so that adding an option does not orphan the records made before it.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dylora_exp.config.building import bound, build, keys, only
from dylora_exp.core import RequestError, unknown_name

Scale = Literal["alpha/b", "alpha/r"]
Truncation = Literal["leading", "svd"]
Metric = Literal[
    "accuracy", "f1", "matthews_correlation", "pearson", "spearmanr",
    "bleu", "nist", "meteor", "rouge_l", "cider", "ter",
]  # fmt: skip

# What a metric scores; the others score labels.
_SCORED = dict.fromkeys(("pearson", "spearmanr"), "numbers") | dict.fromkeys(
    ("bleu", "nist", "meteor", "rouge_l", "cider", "ter"), "texts"
)
_TEXT_READERS = ("e2e", "dart", "webnlg")


@dataclass
class ModelConfig:
    """A backbone. ``name_or_path``: hub name, local folder, or ``package://module/folder``.

    ``fused`` names the equal parts of a layer that computes several at once, so that one of them
    can be a target: ``{c_attn: [q, k, v]}`` makes ``c_attn.q`` one. ``overrides`` replaces values
    of the model's own configuration, such as its dropout.
    """

    name: str = ""
    name_or_path: str = ""
    revision: str | None = None
    pretrained: bool = True
    config: dict[str, Any] | None = None
    tokenizer: str | None = None
    targets: list[str] = field(default_factory=lambda: ["query", "value"])
    head: list[str] = field(default_factory=lambda: ["classifier"])
    extra: str | None = None
    fused: dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None


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
class PublishedFile:
    """A file of a task as its publisher has it; ``sha256`` None where no one has told it."""

    name: str = ""
    url: str = ""
    sha256: str | None = None


@dataclass
class DecodeConfig:
    """How texts are generated, until an end token or a blank line; ``no_repeat_ngram`` 0: off."""

    beams: int = bound(10, at_least=1)
    max_new_tokens: int = bound(64, at_least=1)
    no_repeat_ngram: int = bound(4, at_least=0)
    length_penalty: float = 0.8


@dataclass
class TaskConfig:
    """What is learned and how it is scored. ``labels`` in id order; empty means a number.

    The reader decides whether a task's answers are labels, numbers or generated texts. Tasks with
    texts have ``eval_split`` and ``decode``; only the others may have ``labels``, ``hub``, ``tsv``.
    """

    name: str = ""
    reader: Literal["glue", "demo", "e2e", "dart", "webnlg"] = "glue"
    data_dir: str | None = None
    labels: list[str] = field(default_factory=list)
    label_range: list[float] | None = None
    metrics: list[Metric] = field(default_factory=list)
    headline: str = ""
    hub: HubSource | None = None
    tsv: TsvSource | None = None
    broken_lines: Literal["error", "skip"] = "error"
    max_length: int = bound(512, at_least=2)
    max_train_samples: int | None = bound(None, at_least=1)
    max_eval_samples: int | None = bound(None, at_least=1)
    eval_split: Literal["dev", "test"] | None = None
    decode: DecodeConfig | None = None
    published: list[PublishedFile] = field(default_factory=list)


@dataclass
class CutConfig:
    """One way to make a lower rank from trained factors."""

    truncation: Truncation = "leading"
    scale: Scale = "alpha/b"


@dataclass
class MethodConfig:
    """What is trained. ``kind`` names the module under ``dylora_exp/methods``.

    A method with ranks has at least one way to score them. The settings in the second part each
    belong to the kinds they name.
    """

    name: str = ""
    kind: str = ""
    alpha: float = bound(16.0, above=0)
    dropout: float = bound(0.0, at_least=0, below=1)
    init: Literal["kaiming_uniform", "gaussian"] = "kaiming_uniform"
    update: Literal["prefix", "row"] = "prefix"
    freeze: Literal["released", "strict"] = "released"
    scale: Scale = "alpha/b"
    score: list[CutConfig] = field(default_factory=list)
    adapter: str | None = None

    share: float = only("sorted_lora", 0.8, above=0, below=1)
    optimizer_state: Literal["reset", "keep"] = only("sorted_lora", "reset")
    loss_weights: Literal["uniform", "distribution"] = only("nested_dropout", "uniform")
    budget: Literal["steps", "passes"] = only("nested_dropout", "steps")
    examples_per_pass: int = only("nested_dropout", 256, at_least=1)
    target_parameters: float | None = only("flop", None, above=0)
    target_sparsity: float | None = only("flop", None, above=0, below=1)
    gate_drop_rate: float = only("flop", 0.05, above=0, below=1)
    gate_learning_rate: float = only("flop", 0.1, above=0)
    multiplier_learning_rate: float = only("flop", 0.5, above=0)
    weight_learning_rate_share: float = only("finetune flop", 0.1, above=0)
    anneal_share: float = only("flop", 0.5, above=0, at_most=1)
    final_count: Literal["target", "expected"] = only("flop", "target")


@dataclass
class RanksConfig:
    """The training distribution over ranks and the ranks to score (default: all).

    ``values`` restricts both to some ranks. ``sandwich`` is the share of examples at r_max when
    each example has a rank of its own.
    """

    distribution: Literal["uniform", "geometric", "custom"] = "uniform"
    r_max: int = bound(8, at_least=1)
    p: float = bound(0.15, above=0, below=1)
    tail: Literal["renormalise", "clip"] = "renormalise"
    weights: list[float] | None = None
    score: list[int] | None = None
    sample_every: Literal["step", "micro_batch", "example"] = "step"
    values: list[int] | None = None
    sandwich: float = bound(0.0, at_least=0, at_most=1)
    tolerance: float = bound(0.01, at_least=0, below=1)


@dataclass
class TrainerConfig:
    """Optimisation. ``max_steps`` replaces ``epochs``, ``warmup_steps`` the ratio, where given.

    ``score_every=epoch`` also scores all ranks after each epoch but the last. ``compile`` is
    ``torch.compile``, in training and in scoring; its kernels round differently.
    """

    learning_rate: float = bound(4e-4, above=0)
    batch_size: int = bound(32, at_least=1)
    eval_batch_size: int = bound(64, at_least=1)
    accumulation_steps: int = bound(1, at_least=1)
    epochs: float = bound(30.0, above=0)
    max_steps: int | None = bound(None, at_least=1)
    weight_decay: float = bound(0.1, at_least=0)
    adam_beta1: float = bound(0.9, at_least=0, below=1)
    adam_beta2: float = bound(0.999, at_least=0, below=1)
    adam_epsilon: float = bound(1e-8, above=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = bound(0.06, at_least=0, below=1)
    warmup_steps: int | None = bound(None, at_least=0)
    max_grad_norm: float = bound(1.0, at_least=0)
    bf16: bool = False
    compile: bool = False
    label_smoothing: float = bound(0.0, at_least=0, below=1)
    score_every: Literal["end", "epoch"] = "end"
    save_steps: int = bound(500, at_least=1)
    threads: int | None = bound(None, at_least=1, below=4097)


@dataclass
class TrackerConfig:
    """Where curves go besides the record."""

    name: Literal["none", "wandb"] = "none"
    project: str = "dylora-exp"
    mode: Literal["online", "offline"] = "online"


@dataclass
class Config:
    """A run: everything that decides its record, and where the record and its files go.

    ``hub_cache`` is a folder that ``dylora data fetch`` and ``dylora models fetch`` prepared.
    ``running`` says what to do about a run that another process is doing.
    """

    seed: int = bound(10, at_least=0, below=2**32)
    profile: str = "demo"
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    ranks: RanksConfig = field(default_factory=RanksConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    results_dir: str = "results"
    outputs_dir: str = "outputs"
    hub_cache: str | None = None
    running: Literal["wait", "skip"] = "wait"


def load(tree: Mapping[str, Any]) -> Config:
    """Check a plain config tree against the schema and build the typed config.

    Raises:
        RequestError: With one sentence for each unknown key, wrong type, value out of bounds, or
            pair of values that do not go together.
    """
    problems: list[str] = []
    config = build(Config, tree, "", problems)
    if not problems:
        problems = _cross_checks(config)
    if problems:
        raise RequestError(problems)
    return typing.cast(Config, config)


def known_keys() -> list[str]:
    """Return every dotted key of the schema, groups included."""
    return list(keys(Config))


def has_ranks(method: MethodConfig) -> bool:
    """Return whether a method makes a model that can be shown at several ranks."""
    return bool(method.score)


def generates(task: TaskConfig) -> bool:
    """Return whether a task's answers are texts, not labels or numbers."""
    return task.reader in _TEXT_READERS


def outputs(task: TaskConfig) -> int | None:
    """Return the width of a task's head: its labels, 1 for a number, None for texts."""
    return None if generates(task) else len(task.labels) or 1


def _cross_checks(config: Config) -> list[str]:
    """Return the problems that only show in several values together."""
    problems = _rank_problems(config.ranks) + _task_problems(config.task)
    problems += _foreign_settings(config.method)
    for name in ("results_dir", "outputs_dir", "hub_cache"):
        if getattr(config, name) == "":
            problems.append(f"{name}: found an empty text, expected a folder.")
    return problems


def _rank_problems(ranks: RanksConfig) -> list[str]:
    problems = _list_problems("ranks.values", ranks.values, range(1, ranks.r_max + 1), "(r_max)")
    allowed: Sequence[int] = range(1, ranks.r_max + 1)
    where = "(r_max)"
    if ranks.values and not problems:
        allowed, where = sorted(set(ranks.values)), "(ranks.values)"
    problems += _list_problems("ranks.score", ranks.score, allowed, where)
    if ranks.distribution == "custom" and not problems:
        problems += _weight_problems(ranks)
    if ranks.sandwich and ranks.sample_every != "example":
        problems.append(
            f"ranks.sandwich: found {ranks.sandwich:g} with ranks.sample_every="
            f"{ranks.sample_every}, it needs ranks.sample_every=example."
        )
    return problems


def _list_problems(
    name: str, ranks: list[int] | None, allowed: Sequence[int], where: str
) -> list[str]:
    if ranks is None:
        return []
    if not ranks:
        return [f"{name}: found an empty list, expected at least one rank."]
    words = f"1..{allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    return [
        f"{name}: found {rank}, expected ranks {words} {where}."
        for rank in ranks
        if rank not in allowed
    ] + [f"{name}: found {rank} more than once, expected different ranks." for rank in twice]


def _foreign_settings(method: MethodConfig) -> list[str]:
    """Return the settings that were changed and that this kind of method does not have."""
    problems = []
    for item in dataclasses.fields(method):
        kinds = item.metadata.get("kinds")
        value = getattr(method, item.name)
        if kinds and method.kind not in kinds and value != item.default:
            whose = " and ".join(kind.replace("_", "-") for kind in kinds)
            problems.append(
                f"method.{item.name}: method '{method.name}' has no such setting, only {whose} has."
            )
    return problems


def _task_problems(task: TaskConfig) -> list[str]:
    problems = []
    if not task.metrics:
        problems.append("task.metrics: found an empty list, expected at least one metric.")
    elif task.headline not in task.metrics:
        problems.append(unknown_name("task.headline", task.headline, task.metrics))
    if len(task.labels) == 1:
        problems.append("task.labels: found one label, expected several, or none for a number.")
    answers = "texts" if generates(task) else "labels" if task.labels else "numbers"
    for metric in task.metrics:
        scored = _SCORED.get(metric, "labels")
        if scored != answers:
            problems.append(f"task.metrics: '{metric}' scores {scored}, which this task has not.")
    if "f1" in task.metrics and len(task.labels) > 2:
        problems.append("task.metrics: 'f1' is that of label 1 of two, this task has more labels.")
    if task.reader == "glue" and task.tsv is None and task.hub is None:
        problems.append("task: a glue task needs 'hub' or 'tsv' to say where its data lie.")
    if task.data_dir == "":
        problems.append("task.data_dir: found an empty text, expected a folder.")
    of_texts, of_others = ("eval_split", "decode"), ("labels", "label_range", "hub", "tsv")
    if generates(task):
        problems += [
            f"task.{name}: found nothing, a task whose answers are texts needs it."
            for name in of_texts
            if getattr(task, name) is None
        ]
    problems += [
        f"task.{name}: task '{task.name}' has no such setting, its answers are {answers}."
        for name in (of_others if generates(task) else of_texts)
        if getattr(task, name)
    ]
    return problems


def _weight_problems(ranks: RanksConfig) -> list[str]:
    weights = ranks.weights or []
    count = len(set(ranks.values)) if ranks.values else ranks.r_max
    if len(weights) != count:
        whose = "of ranks.values" if ranks.values else "1..r_max"
        return [
            f"ranks.weights: found {len(weights)} weights, expected {count}, "
            f"one for each rank {whose}."
        ]
    if any(weight < 0 for weight in weights):
        return [f"ranks.weights: found {min(weights)}, expected weights of at least 0."]
    if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        return [f"ranks.weights: they sum to {math.fsum(weights):g}, expected 1."]
    return []
