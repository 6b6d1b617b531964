"""``dylora reproduce --plan --measure``: what the runs of a plan take, measured on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dylora_exp.config import Config, compose
from dylora_exp.core import RequestError, counted, echo, first_line, progress_bar
from dylora_exp.multirun.gpus import GPU, Scaling, scaling_to
from dylora_exp.multirun.reproduction_plan import Plan, PlanItem, ReproduceRequest
from dylora_exp.multirun.run_costs import RunCost, cost_of
from dylora_exp.multirun.run_shapes import Shape, shapes_of
from dylora_exp.multirun.run_sizes import Batches, RunSizes, batches_of, read_sizes
from dylora_exp.multirun.scheduling import thread_overrides

if TYPE_CHECKING:
    from dylora_exp.runner import Measurement, Sample

Measure = Callable[[Config, "Sample"], "Measurement"]
# Shorter texts than these say more of the first token than of the others.
_SHORTEST = 8


@dataclass(frozen=True)
class MeasuredShape:
    """A shape, and what was measured of it, or why nothing was."""

    shape: Shape
    found: Measurement | None
    problem: str = ""


@dataclass(frozen=True)
class MeasuredPlan:
    """What the runs of a plan take that are not done.

    Attributes:
        costs: By run id; a run that nothing is known of is not there.
        shapes: What was measured.
        sources: Where the sizes of the tasks are from, by task.
        device: What it was measured on.
        seconds: How long measuring took, and how much of this process's time.
        gpu: The GPU that the hours are scaled to.
        scaling: How, by the name of the shape.
    """

    costs: Mapping[str, RunCost]
    shapes: list[MeasuredShape]
    sources: Mapping[str, str]
    device: str
    seconds: tuple[float, float]
    gpu: GPU | None = None
    scaling: Mapping[str, Scaling] = field(default_factory=dict)


def measure_plan(
    plan: Plan, request: ReproduceRequest, gpu: GPU | None = None, measure: Measure | None = None
) -> MeasuredPlan:
    """Measure one run of each distinct shape of a plan, and work out what each run takes.

    Args:
        plan: The plan.
        request: With the overrides for all runs, of hardware and folders.
        gpu: A GPU to scale the hours to; None for this machine.
        measure: What measures a config; None for ``runner.measure``.
    """
    from dylora_exp import runner

    started = time.monotonic(), time.process_time()
    configs = _configs(plan.missing(), request)
    sizes, sources, unknown = _sizes(configs)
    batches = _batches(configs, sizes)
    shapes = shapes_of({name: configs[name] for name in configs if name in sizes})
    echo(
        f"measuring {counted(len(shapes), 'shape')} of {counted(len(configs), 'run')}, "
        "a few steps and a few batches of each ..."
    )
    measured, costs, scaling = [], {}, {}
    for shape in progress_bar(shapes, desc="measuring", unit="shape"):
        own = {name: sizes[name] for name in shape.runs}
        try:
            sample = _sample(shape.config, [batches[name] for name in shape.runs], own.values())
            found = (measure or runner.measure)(shape.config, sample)
        except RequestError as error:
            measured.append(MeasuredShape(shape, None, error.problems[0]))
            continue
        except (RuntimeError, MemoryError) as error:  # such as too little memory
            measured.append(MeasuredShape(shape, None, first_line(error)))
            continue
        measured.append(MeasuredShape(shape, found))
        if gpu is not None:
            scaling[shape.name] = scaling_to(gpu, shape.config)
            found = found.faster(scaling[shape.name].factor)
        for name, each in own.items():
            costs[name] = cost_of(configs[name], each, batches[name], found)
    for problem, names in unknown.items():
        shape = Shape(f"{configs[names[0]].task.name}", configs[names[0]], tuple(names))
        measured.append(MeasuredShape(shape, None, problem))
    spent = time.monotonic() - started[0], time.process_time() - started[1]
    return MeasuredPlan(costs, measured, sources, runner.device_name(), spent, gpu, scaling)


def _configs(items: Sequence[PlanItem], request: ReproduceRequest) -> dict[str, Config]:
    """Return the config of each run with what the request says of hardware and folders.

    All runs have one value of each of these, which is that of the first, composed with them.

    Args:
        items: The runs.
        request: The request.
    """
    if not items:
        return {}
    further = [*thread_overrides(request.load_executor()), *request.run_overrides()]
    overrides = [*items[0].run.overrides(), *further]
    composed = compose(overrides, shared=overrides)
    keys = [each.lstrip("+").partition("=")[0].split(".") for each in further]
    found = {}
    for item in items:
        config = item.run.setup.config
        for key in keys:
            config = _with_value_of(config, key, composed)
        found[item.run.run_id] = config
    return found


def _with_value_of(config: Any, path: list[str], other: Any) -> Any:
    """Return a config with one setting as another config has it, where both have it."""
    name, *rest = path
    if not (hasattr(config, name) and hasattr(other, name)):
        return config
    value = getattr(other, name)
    if rest:
        value = _with_value_of(getattr(config, name), rest, value)
    return config.model_copy(update={name: value})


def _sizes(
    configs: Mapping[str, Config],
) -> tuple[dict[str, RunSizes], dict[str, str], dict[str, list[str]]]:
    """Return the sizes of runs, where they are from by task, and the runs without by the reason."""
    read: dict[str, RunSizes | str] = {}
    sizes, sources, unknown = {}, {}, dict[str, list[str]]()
    for name, config in configs.items():
        key = json.dumps([config.model.model_dump(), config.task.model_dump()], default=str)
        if key not in read:
            try:
                read[key] = read_sizes(config)
            except RequestError as error:
                read[key] = error.problems[0]
        found = read[key]
        if isinstance(found, str):
            unknown.setdefault(found, []).append(name)
        else:
            sizes[name] = found
            sources[config.task.name] = found.source
    return sizes, sources, unknown


def _batches(configs: Mapping[str, Config], sizes: Mapping[str, RunSizes]) -> dict[str, Batches]:
    """Return the batches of each run; those of like runs are worked out once."""
    known: dict[Any, Batches] = {}
    found = {}
    for name, each in sizes.items():
        trainer = configs[name].trainer
        of_training = (trainer.batch_size, trainer.order, trainer.accumulation_steps)
        key = (each, *of_training, trainer.eval_batch_size)
        if key not in known:
            known[key] = batches_of(configs[name], each)
        found[name] = known[key]
    return found


def _sample(config: Config, batches: Iterable[Batches], sizes: Iterable[RunSizes]) -> Sample:
    """Return lengths to measure at, between which most batches of some runs lie."""
    from dylora_exp.runner import Sample

    trained, read = list[float](), list[float]()
    for each in {id(each): each for each in batches}.values():
        trained += [tokens / config.trainer.batch_size for tokens in _tenths(each.trained)]
        read += [tokens / config.trainer.eval_batch_size for tokens in _tenths(each.scored[:-1])]
    texts = {each.new_lengths for each in sizes if each.new_lengths is not None}
    answer = max((each.at(0.5) for each in texts), default=1.0)
    most = config.task.max_length
    return Sample(_two(trained, most), _two(read or trained, most), round(answer))


def _tenths(values: Sequence[int]) -> list[int]:
    """Return eleven of some values, from the least to the largest; none of none."""
    ordered = sorted(values)
    return [ordered[(len(ordered) - 1) * index // 10] for index in range(11)] if ordered else []


def _two(lengths: list[float], most: int) -> tuple[int, int]:
    """Return two different lengths, between which most of those given lie."""
    ordered = sorted(lengths)
    high = min(most, max(2 * _SHORTEST, round(ordered[int(0.9 * (len(ordered) - 1))])))
    return max(_SHORTEST, high // 3), high
