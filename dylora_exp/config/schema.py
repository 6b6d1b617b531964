"""The typed schema of a run: every group of settings, its types, bounds and defaults.

A method and an objective bring settings of their own: subclasses of ``MethodSettings`` and
``TaskConfig`` beside the classes that use them, chosen by ``method.kind`` and ``task.objective``
(see ``registry``).

A default must never change: a run's identity leaves out the values that equal their default (see
``run_identity.run_id``), so that adding an option does not orphan the records made before it.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny

from dylora_exp.config.cuts import CutConfig
from dylora_exp.config.distributions import DISTRIBUTIONS
from dylora_exp.config.readers import READERS, TEXT_READERS, ReaderName
from dylora_exp.config.targets import Targets
from dylora_exp.core import StrictModel, unknown_name
from dylora_exp.metrics import METRICS

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
# A share of a whole, without both ends, without the upper end, and with both.
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
ClosedShare = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def _check_language(name: str) -> str:
    """Return a language as the hub takes it: a code of ISO 639, or one of two words."""
    if re.fullmatch(r"[a-z]{2,3}|code|multilingual", name) is None:
        raise ValueError(f"found '{name}', expected a code such as en, or multilingual.")
    return name


Language = Annotated[str, AfterValidator(_check_language)]


class Mark(enum.Enum):
    """What is special about a setting, in the ``Annotated`` of its field."""

    # Paths, logging and hardware choices: where and how fast a run is, not what comes out.
    NOT_IDENTITY = enum.auto()
    # A folder or a file on this machine, which a run's identity names by its contents.
    FOLDER = enum.auto()
    FILE = enum.auto()
    # Of no effect; taken from files, since profiles set it for all methods, but not as an override.
    FROM_PROFILES = enum.auto()
    # Of no effect; refused unless it has its default.
    UNUSED = enum.auto()


class ModelConfig(StrictModel):
    """A backbone. ``name_or_path``: hub name, local folder, or ``package://module/folder``.

    ``targets`` are names of layers, or ``all-linear``. ``fused`` names the parts of a layer that
    computes several at once, so that one of them can be a target: ``{c_attn: [q, k, v]}`` makes
    ``c_attn.q`` one. In files and overrides the three of ``targets``, ``head`` and ``fused`` may be
    ``auto``: they are guessed before a config is checked, and ``guessed`` says what. ``overrides``
    replaces values of the model's own configuration, such as its dropout. ``drop_head`` starts with
    a new head even where the weights have one, such as that of a model trained for other labels.
    """

    name: str = ""
    name_or_path: Annotated[str, Mark.FOLDER] = ""
    revision: str | None = None
    pretrained: bool = True
    config: dict[str, Any] | None = None
    tokenizer: Annotated[str | None, Mark.FOLDER] = None
    targets: Targets = Field(default_factory=lambda: ["query", "value"])
    head: list[str] = Field(default_factory=lambda: ["classifier"])
    extra: Annotated[str | None, Mark.NOT_IDENTITY] = None
    fused: dict[str, Any] | None = None
    overrides: dict[str, Any] | None = None
    drop_head: bool = False
    guessed: Annotated[str | None, Mark.NOT_IDENTITY] = None


class HubSource(StrictModel):
    """Where a task lies on the hub, and the columns that hold its texts."""

    path: str = ""
    name: str | None = None
    train: str = "train"
    eval: str = "validation"
    text: list[str] = Field(default_factory=list)
    label: str = "label"


class TsvSource(StrictModel):
    """The official GLUE layout of a task: its folder, files and columns.

    ``columns`` names the columns of a file without a header.
    """

    folder: str = ""
    train: str = "train.tsv"
    eval: str = "dev.tsv"
    columns: list[str] | None = None
    text: list[str] = Field(default_factory=list)
    label: str = "label"


class PublishedFile(StrictModel):
    """A file of a task as its publisher has it.

    ``sha256`` is None where it is not known, and so is the number of its texts, by which a file
    without a digest is told from another version.
    """

    name: str = ""
    url: str = ""
    sha256: str | None = None
    texts: int | None = None


class TaskConfig(StrictModel):
    """What is learned, where its data are and how it is scored.

    ``labels`` are in id order; none means a number; ``language`` is for model cards. A subclass
    beside each objective adds the settings that it alone has, marks those without effect as unused,
    and describes the objective:

    Attributes:
        auto_model_class: The class of transformers that loads a model for it.
        peft_task_type: PEFT's name for it.
        trains_head: Whether the modules of ``model.head`` are trained beside an adapter.
        pipeline_tag: The hub's name for it.
    """

    auto_model_class: ClassVar[str]
    peft_task_type: ClassVar[str]
    trains_head: ClassVar[bool]
    pipeline_tag: ClassVar[str]

    name: str = ""
    objective: str
    reader: ReaderName = "glue"
    data_dir: Annotated[str | None, Mark.NOT_IDENTITY, Mark.FOLDER] = None
    labels: list[str] = Field(default_factory=list)
    label_range: list[float] | None = None
    metrics: list[str] = Field(default_factory=list)
    headline: str = ""
    hub: HubSource | None = None
    tsv: TsvSource | None = None
    broken_lines: Literal["error", "skip"] = "error"
    max_length: Annotated[int, Field(ge=2)] = 512
    max_train_samples: Count | None = None
    max_eval_samples: Count | None = None
    eval_split: Literal["dev", "test"] | None = None
    published: Annotated[list[PublishedFile], Mark.NOT_IDENTITY] = Field(default_factory=list)
    language: Annotated[Language | None, Mark.NOT_IDENTITY] = None

    @property
    def scored(self) -> str:
        """What the metrics compare: ``labels``, ``numbers`` or ``texts``."""
        raise NotImplementedError

    @property
    def number_of_outputs(self) -> int | None:
        """The width of the model's head: one for each label, 1 for a number, None for texts."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        found = []
        if not self.metrics:
            found.append("task.metrics: found an empty list, expected at least one metric.")
        elif self.headline not in self.metrics:
            found.append(unknown_name("task.headline", self.headline, self.metrics))
        if len(self.labels) == 1:
            found.append("task.labels: found one label, expected several, or none for a number.")
        if self.reader in READERS and (self.reader in TEXT_READERS) != (self.scored == "texts"):
            read = "texts" if self.reader in TEXT_READERS else "labels or numbers"
            found.append(
                f"task.reader: found {self.reader}, which reads {read}, but the answers of task "
                f"'{self.name}' are {self.scored}."
            )
        for index, name in enumerate(self.metrics):
            if name not in METRICS:
                found.append(unknown_name(f"task.metrics[{index}]", name, METRICS))
            elif METRICS[name].scores != self.scored:
                scored = METRICS[name].scores
                found.append(f"task.metrics: '{name}' scores {scored}, which this task has not.")
            elif METRICS[name].two_labels_only and len(self.labels) > 2:
                found.append(f"task.metrics: '{name}' is of two labels, this task has more.")
        if self.reader == "glue" and self.tsv is None and self.hub is None:
            found.append("task: a glue task needs 'hub' or 'tsv' to say where its data lie.")
        if self.data_dir == "":
            found.append("task.data_dir: found an empty text, expected a folder.")
        return found + [
            f"task.{name}: task '{self.name}' has no such setting, its answers are {self.scored}."
            for name, field in type(self).model_fields.items()
            if Mark.UNUSED in field.metadata and getattr(self, name)
        ]


# The settings of the ranks group by which ranks are drawn in training.
WEIGHTS = frozenset({"distribution", "p", "tail", "weights"})
DRAWING = WEIGHTS | {"sample_every", "sandwich"}


class MethodSettings(StrictModel):
    """What every method has; a subclass beside each method adds its own settings."""

    name: str = ""
    kind: str
    alpha: Annotated[Positive, Mark.FROM_PROFILES] = 16.0
    dropout: Annotated[Share, Mark.FROM_PROFILES] = 0.0

    @property
    def cuts(self) -> list[CutConfig]:
        """How ranks are made to be scored; empty for a method without ranks."""
        return []

    @property
    def trains(self) -> bool:
        """Whether a run trains anything by the settings of the trainer."""
        return True

    @property
    def unused_ranks(self) -> frozenset[str]:
        """The settings of the ranks group that change nothing, of a method that draws no ranks."""
        return DRAWING

    @property
    def unused(self) -> dict[str, str]:
        """The settings of its own that change nothing, with the reason."""
        return {}


class RanksConfig(StrictModel):
    """The training distribution over ranks and the ranks to score (default: all).

    ``values`` restricts both to some ranks. ``sandwich`` is the share of examples at r_max when
    each example has a rank of its own.
    """

    distribution: str = "uniform"
    r_max: Count = 8
    p: OpenShare = 0.15
    tail: Literal["renormalise", "clip"] = "renormalise"
    weights: list[float] | None = None
    score: list[int] | None = None
    sample_every: Literal["step", "micro_batch", "example"] = "step"
    values: list[int] | None = None
    sandwich: ClosedShare = 0.0
    tolerance: Annotated[Share, Mark.NOT_IDENTITY] = 0.01

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        allowed: Sequence[int] = range(1, self.r_max + 1)
        limit = "(r_max)"
        found = _list_problems("ranks.values", self.values, allowed, limit)
        if self.distribution not in DISTRIBUTIONS:
            found.append(unknown_name("ranks.distribution", self.distribution, DISTRIBUTIONS))
        if self.values and not found:
            allowed, limit = sorted(set(self.values)), "(ranks.values)"
        found += _list_problems("ranks.score", self.score, allowed, limit)
        if self.distribution == "custom" and not found:
            found += self._weight_problems()
        if self.sandwich and self.sample_every != "example":
            found.append(
                f"ranks.sandwich: found {self.sandwich:g} with ranks.sample_every="
                f"{self.sample_every}, it needs ranks.sample_every=example."
            )
        return found

    def _weight_problems(self) -> list[str]:
        weights = self.weights or []
        count = len(set(self.values)) if self.values else self.r_max
        if len(weights) != count:
            which = "of ranks.values" if self.values else "1..r_max"
            return [
                f"ranks.weights: found {len(weights)} weights, expected {count}, "
                f"one for each rank {which}."
            ]
        if any(weight < 0 for weight in weights):
            return [f"ranks.weights: found {min(weights)}, expected weights of at least 0."]
        if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
            return [f"ranks.weights: they sum to {math.fsum(weights):g}, expected 1."]
        return []


def _list_problems(
    name: str, ranks: list[int] | None, allowed: Sequence[int], limit: str
) -> list[str]:
    if ranks is None:
        return []
    if not ranks:
        return [f"{name}: found an empty list, expected at least one rank."]
    listed = f"1..{allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
    return [
        f"{name}: found {rank}, expected ranks {listed} {limit}."
        for rank in ranks
        if rank not in allowed
    ] + [f"{name}: found {rank} more than once, expected different ranks." for rank in twice]


class TrainerConfig(StrictModel):
    """Optimisation. ``max_steps`` replaces ``epochs``, ``warmup_steps`` the ratio, where given.

    ``order`` is how the examples follow one another in an epoch: ``random``, by a permutation that
    (seed, epoch) alone decide, or ``length_grouped``, beside others of similar length, which pads
    less but gives the tokens of long texts less weight. The last, incomplete batch is always kept.
    ``score_every=epoch`` also scores all ranks after each epoch but the last. ``compile`` is
    ``torch.compile``, in training and in scoring; its kernels round differently.
    """

    learning_rate: Positive = 4e-4
    batch_size: Count = 32
    eval_batch_size: Annotated[Count, Mark.NOT_IDENTITY] = 64
    accumulation_steps: Count = 1
    epochs: Positive = 30.0
    max_steps: Count | None = None
    order: Literal["random", "length_grouped"] = "length_grouped"
    weight_decay: NotNegative = 0.1
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.999
    adam_epsilon: Positive = 1e-8
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: Share = 0.06
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    max_grad_norm: NotNegative = 1.0
    bf16: bool = False
    compile: bool = False
    label_smoothing: Share = 0.0
    score_every: Literal["end", "epoch"] = "end"
    save_steps: Annotated[Count, Mark.NOT_IDENTITY] = 500
    threads: Annotated[Annotated[int, Field(ge=1, lt=4097)] | None, Mark.NOT_IDENTITY] = None


class TrackerConfig(StrictModel):
    """Where curves go besides the record; ``name`` is that of a module of ``runner.trackers``."""

    name: str = "none"
    project: str = "dylora-exp"
    mode: Literal["online", "offline"] = "online"


class Config(StrictModel):
    """A run: everything that decides its record, and where the record and its files go.

    ``hub_cache`` is a folder that ``dylora data fetch`` and ``dylora models fetch`` prepared.
    ``running`` says what to do about a run that another process is doing.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 10
    profile: str = "demo"
    model: ModelConfig = Field(default_factory=ModelConfig)
    task: SerializeAsAny[TaskConfig]
    method: SerializeAsAny[MethodSettings]
    ranks: RanksConfig = Field(default_factory=RanksConfig)
    trainer: TrainerConfig = Field(default_factory=TrainerConfig)
    tracker: Annotated[TrackerConfig, Mark.NOT_IDENTITY] = Field(default_factory=TrackerConfig)
    results_dir: Annotated[str, Mark.NOT_IDENTITY, Mark.FOLDER] = "results"
    outputs_dir: Annotated[str, Mark.NOT_IDENTITY, Mark.FOLDER] = "outputs"
    hub_cache: Annotated[str | None, Mark.NOT_IDENTITY, Mark.FOLDER] = None
    running: Annotated[Literal["wait", "skip"], Mark.NOT_IDENTITY] = "wait"

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        return (
            self.ranks.problems()
            + self.task.problems()
            + [
                f"{name}: found an empty text, expected a folder."
                for name in ("results_dir", "outputs_dir", "hub_cache")
                if getattr(self, name) == ""
            ]
        )


def without_targets(model: ModelConfig) -> ModelConfig:
    """Return the config of a model in which no layer is to be adapted."""
    return model.model_copy(update={"targets": [], "fused": None})


def has_ranks(method: MethodSettings) -> bool:
    """Return whether a method trains a model that can be scored at several ranks."""
    return bool(method.cuts)
