"""The record of a run: its schema (version 1).

Tables and reports are derived from records and nothing else; this room therefore imports neither
torch nor transformers. Records are plain dataclasses, so that building one costs nothing; pydantic
checks those that are read from files, by the same annotations.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    StrictInt,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import core_schema
from typing_extensions import TypedDict

from dylora_exp.config import distinguishing_settings
from dylora_exp.core import dotted

SCHEMA_VERSION = 1
# It names files.
_RUN_ID = r"^[A-Za-z0-9_-]{1,64}$"
_HUGE = 10**300
# Every record has had these from the first one on; fields that came later are optional in a file.
_ORIGINAL_FIELDS = (
    *("run_id", "status", "config", "model", "task", "method", "profile", "seed", "created_at"),
    *("error", "ranks", "parameters", "timing", "memory", "data", "environment"),
)


def _finite(expected: str) -> GetPydanticSchema:
    """Return the schema of a finite number or null, which is kept as it is: 1 is not made 1.0."""
    number = core_schema.union_schema(
        [
            core_schema.int_schema(strict=True, gt=-_HUGE, lt=_HUGE),
            core_schema.float_schema(strict=True, allow_inf_nan=False, gt=-1e300, lt=1e300),
        ],
        mode="left_to_right",
        custom_error_type="not_finite",
        custom_error_message=expected,
    )
    return GetPydanticSchema(lambda *_: core_schema.nullable_schema(number))


def _expect(expected: str, test: Callable[[Any], bool]) -> AfterValidator:
    """Return a check that keeps the value as it is; pydantic's ``float`` turns 1 into 1.0."""

    def check(value: Any) -> Any:
        if value is None or test(value):
            return value
        raise ValueError(expected)

    return AfterValidator(check)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and abs(value) < 1e300 and math.isfinite(value)


def _is_single(value: Any) -> bool:
    return isinstance(value, str | bool) or _is_finite(value)


# What tables read of a record's open parts. All may be null, which stands for nothing.
_Count = Annotated[StrictInt, Field(ge=0, lt=2**63)] | None
_Number = Annotated[Any, _finite("a number")]
_Single = Annotated[Any, _expect("a text, a number, true or false", _is_single)]
_Metric = Annotated[Any, _finite("a finite number or null")]


def _open(**known: Any) -> GetPydanticSchema:
    """Return the schema of an object that may hold more, or less, than the known keys.

    A record that somebody edited, or another program wrote, must not stop a table of thousands.
    """
    part = TypedDict("part", known, total=False)  # type: ignore[misc]
    return _checked_as(with_config(extra="allow")(part))


def _checked_as(schema: Any) -> GetPydanticSchema:
    return GetPydanticSchema(lambda _, handler: handler.generate_schema(schema))


_Object = dict[str, Any]
_Config = Annotated[
    _Object,
    _open(
        model=_Object,
        method=_Object,
        task=Annotated[_Object, _open(headline=str | None)],
        ranks=Annotated[_Object, _open(r_max=_Count)],
        trainer=Annotated[_Object, _open(score_every=str | None)],
    ),
]
_Draws = dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], _Count] | None
_Size = Annotated[StrictInt, Field(ge=1, lt=2**31)]


class _Layout(TypedDict):
    """Where the outputs of a fused layer's parts are: ``widths`` rows of each in every group."""

    groups: _Size
    widths: list[_Size]


_Training = Annotated[
    _Object,
    _open(
        remaining_parameters=_Count,
        drawn_ranks=_Draws,
        fused_layouts=dict[str, _Layout],
    ),
]
_Scoring = Annotated[_Object, _open(signature=str | None)]
_Parameters = Annotated[dict[str, int], _checked_as(dict[str, _Count])]
_Timing = Annotated[_Object, _checked_as(dict[str, _Number])]
_Environment = Annotated[_Object, _checked_as(dict[str, _Single])]


@dataclass(frozen=True)
class RankScore:
    """The scores of one cut; ``rank`` is None for a method without ranks.

    ``layer_ranks`` are the ranks of the layers where a cut gives each its own, together of no more
    parameters than ``rank`` in every layer.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rank: Annotated[StrictInt, Field(ge=1)] | None
    truncation: str | None
    scale: str | None
    metrics: dict[str, Annotated[float | None, _checked_as(_Metric)]]
    seconds: Annotated[float, _checked_as(_Number)]
    layer_ranks: dict[str, Annotated[StrictInt, Field(ge=0)]] | None = None


@dataclass(frozen=True)
class LayerSize:
    """The rank of an adapted layer, its inputs and its outputs."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    r: Annotated[StrictInt, Field(ge=1)]
    d_in: Annotated[StrictInt, Field(ge=1)]
    d_out: Annotated[StrictInt, Field(ge=1)]


@dataclass(frozen=True)
class EpochScores:
    """The scores of all ranks after an epoch, which ended with this optimizer step."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    epoch: StrictInt
    step: StrictInt
    ranks: list[RankScore]


@dataclass(frozen=True)
class Record:
    """The result of a run. Times are in seconds, memory in bytes, metrics as fractions.

    ``ranks`` are the scores at the end, ``epochs`` those after the epochs before it, where asked
    for, ``files`` the sha256 of what the run saved, by name, ``verdict`` the rank to deploy (of
    records without it ``rank_verdict`` says the same), ``language`` that of the task, ``layers``
    the adapted layers where a cut gives each a rank of its own. A new field needs a default and a
    line here.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    run_id: Annotated[str, Field(pattern=_RUN_ID)]
    status: Literal["running", "completed", "failed"]
    config: _Config
    model: str
    task: str
    method: str
    profile: str
    seed: StrictInt
    created_at: str
    error: str | None = None
    ranks: list[RankScore] = field(default_factory=list)
    epochs: list[EpochScores] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)
    parameters: _Parameters = field(default_factory=dict)
    training: _Training = field(default_factory=dict)
    scoring: _Scoring = field(default_factory=dict)
    timing: _Timing = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    language: str | None = None
    environment: _Environment = field(default_factory=dict)
    layers: dict[str, LayerSize] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_dict(cls, tree: Any) -> Record:
        """Return the record that parsed JSON holds.

        Raises:
            ValueError: With a sentence for the first problem.
        """
        if not isinstance(tree, Mapping):
            raise ValueError("expected an object")
        version = tree.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version!r}, expected {SCHEMA_VERSION}")
        for name in _ORIGINAL_FIELDS:
            if name not in tree:
                raise ValueError(f"'{name}' is missing")
        try:
            record = _schema().validate_python(tree)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None
        if record.status == "completed" and not record.ranks:
            raise ValueError("'ranks' is empty, though the run is completed")
        return record

    @property
    def choices(self) -> dict[str, str]:
        """The names of its profile, model, task and method, by config group."""
        return {
            "profile": self.profile,
            "model": self.model,
            "task": self.task,
            "method": self.method,
        }

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that set its run apart; equal where two records are of the same run."""
        return distinguishing_settings(self.config)

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys and a final newline."""
        tree = dataclasses.asdict(self)
        if not self.layers:
            del tree["layers"]
        for scores in [tree["ranks"], *(epoch["ranks"] for epoch in tree["epochs"])]:
            for entry in scores:
                if entry["layer_ranks"] is None:
                    del entry["layer_ranks"]
        return json.dumps(tree, sort_keys=True, indent=2, allow_nan=False) + "\n"


@functools.cache
def _schema() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


_EXPECTED = {
    "int_type": "a whole number",
    "string_type": "a text",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "dict_type": "an object",
    "list_type": "a list",
    "dataclass_type": "an object",
    "greater_than_equal": "at least {ge}",
    "less_than": "a number below {lt}",
    "literal_error": "{expected}",
    "value_error": "{error}",
}


def _sentence(error: ValidationError) -> str:
    """Return the first problem as the end of a sentence."""
    details = error.errors(include_url=False)[0]
    kind, name = details["type"], dotted([part for part in details["loc"] if part != "[key]"])
    if kind == "missing":
        return f"'{name}' is missing"
    if kind == "unexpected_keyword_argument":
        return f"'{name}' is not a key of a record"
    expected = details["msg"]
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**details.get("ctx", {}))
    return f"'{name}' is {details['input']!r}, expected {expected}"
