"""What a search searches: Hydra's sweeps of values as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from dylora_exp.config import check_overrides
from dylora_exp.core import RequestError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DEFAULT_SPACE = "trainer.learning_rate=tag(log, interval(1e-4, 1e-2))"


@dataclass
class SearchSpace:
    """The overrides of a search, by what they are about.

    Attributes:
        searched: The distribution of each setting that is searched, by its key.
        fixed: The overrides that hold for every trial.
        launcher: The overrides of Hydra's launcher.
    """

    searched: dict[str, BaseDistribution] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    launcher: list[str] = field(default_factory=list)


def parse_search_space(overrides: Sequence[str]) -> SearchSpace:
    """Return what overrides say about a search.

    Where none names several values, the learning rate is searched (``DEFAULT_SPACE``).

    Args:
        overrides: In Hydra's grammar; ``interval(A, B)``, ``range(A, B, STEP)`` and ``choice(...)``
            are searched, an interval on a logarithmic scale where it is tagged ``log``.

    Raises:
        RequestError: With every override that is wrong or cannot be searched.
    """
    problems, good = check_overrides(overrides, multirun=True)
    space = SearchSpace()
    for override in OverridesParser.create().parse_overrides(good):
        line = str(override.input_line)
        if override.key_or_group == "hydra/launcher":
            problems.append(f"hydra/launcher: found '{line}', expected --launcher NAME instead.")
        elif override.key_or_group.startswith("hydra"):
            space.launcher.append(line)
        elif not override.is_sweep_override():
            space.fixed.append(line)
        else:
            _add(space, override, problems)
    if problems:
        raise RequestError(problems)
    if not space.searched:
        _add(space, OverridesParser.create().parse_override(DEFAULT_SPACE), problems)
    return space


def _add(space: SearchSpace, override: Override, problems: list[str]) -> None:
    key = override.get_key_element()
    try:
        space.searched[key] = _distribution(override)
    except ValueError as error:
        text = str(override.input_line).partition("=")[2]
        problems.append(f"{key}: '{text}' cannot be searched ({error}).")


def _distribution(override: Override) -> BaseDistribution:
    """Return the distribution of an override's values.

    Raises:
        ValueError: When there is none.
    """
    from optuna import distributions

    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        assert low is not None and high is not None
        whole = "int" in sweep.tags or (isinstance(low, int) and isinstance(high, int))
        log = "log" in sweep.tags
        if whole:
            return distributions.IntDistribution(int(low), int(high), log=log)
        return distributions.FloatDistribution(low, high, log=log)
    if isinstance(sweep, RangeSweep | ChoiceSweep):
        values = list(override.sweep_string_iterator())
        if not values:
            raise ValueError("it stands for no value")
        return distributions.CategoricalDistribution(values)
    raise ValueError("expected interval(...), range(...) or choice(...)")
