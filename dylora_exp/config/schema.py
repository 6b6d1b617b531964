"""The typed schema of a run: every group of settings, its types, bounds and defaults.

A method and an objective bring settings of their own: subclasses of ``MethodSettings`` and
``TaskConfig`` beside the classes that use them, chosen by ``method.kind`` and ``task.objective``
(see ``registry``).

A default must never change: a run's identity leaves out the values that equal their default (see
``run_identity.run_id``), so that adding an option does not orphan the records made before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from dylora_exp.config.cuts import CutConfig
from dylora_exp.config.distributions import DISTRIBUTIONS
from dylora_exp.config.field_types import (
    ClosedShare,
    Count,
    Mark,
    NotNegative,
    OpenShare,
    Positive,
    Share,
)
from dylora_exp.config.targets import Targets
from dylora_exp.config.task_schema import TaskConfig
from dylora_exp.core import StrictModel, unknown_name


class ModelConfig(StrictModel):
    """A backbone. ``name_or_path``: hub name, local folder, or ``package://module/folder``.

    ``targets`` are names of layers, or ``all-linear``. ``fused`` names the parts of a layer that
    computes several at once, so that one of them can be a target: ``{c_attn: [q, k, v]}`` makes
    ``c_attn.q`` one. In files and overrides the three of ``targets``, ``head`` and ``fused`` may be
    ``auto``: they are guessed before a config is checked, and ``guessed`` says what. ``overrides``
    replaces values of the model's own configuration, such as its dropout. ``drop_head`` starts with
    a new head even where the weights have one, such as that of a model trained for other labels.
    ``dtype`` is the type of the frozen weights, and ``quantization`` packs those of the linear
    layers in eight or four bits; adapters and head are in single precision whatever they are.
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
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Literal["none", "int8", "nf4"] = "none"


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
    def step_cost(self) -> str:
        """What a training step costs, by a name: that of methods whose steps cost the same."""
        return self.kind

    @property
    def of_any_depth(self) -> MethodSettings:
        """The settings, without what only goes with a model of as many layers as the run's."""
        return self

    @property
    def rslora(self) -> bool:
        """Whether an adapter is trained at rsLoRA's factor alpha/sqrt(r), PEFT's ``use_rslora``."""
        return False

    @property
    def trains_ranks(self) -> bool:
        """Whether ``ranks.values`` says at which ranks it trains."""
        return True

    @property
    def unused_ranks(self) -> frozenset[str]:
        """The settings of the ranks group that change nothing: all without ranks, or how they are
        drawn where none are.
        """
        return DRAWING if self.cuts else frozenset(RanksConfig.model_fields)

    @property
    def unused(self) -> dict[str, str]:
        """The settings of its own that change nothing, with the reason."""
        return {}


# The name of a list of ranks that depends on r_max.
POWERS_OF_TWO = "powers_of_two"


def powers_of_two(r_max: int) -> list[int]:
    """Return 1, 2, 4, ... below a rank, and the rank."""
    return [*(2**i for i in range((r_max - 1).bit_length())), r_max]


class RanksConfig(StrictModel):
    """The training distribution over ranks and the ranks to score (default: all).

    ``values`` restricts both to some ranks; ``powers_of_two`` are 1, 2, 4, ... below r_max, and
    r_max, for ``values`` as for ``score``. ``sandwich`` is the share of examples at r_max when each
    example has a rank of its own.
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

    @field_validator("values", "score", mode="before")
    @classmethod
    def _listed_ranks(cls, value: Any, info: ValidationInfo) -> Any:
        """Return a list of ranks in the place of its name, so that a run is what it trains."""
        if not isinstance(value, str):
            return value
        if value != POWERS_OF_TWO:
            raise ValueError(f"found '{value}', expected a list of ranks or {POWERS_OF_TWO}.")
        return powers_of_two(info.data["r_max"]) if "r_max" in info.data else None

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
    ``gradient_checkpointing`` computes activations a second time instead of keeping them.
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
    gradient_checkpointing: Annotated[bool, Mark.NOT_IDENTITY] = False
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
