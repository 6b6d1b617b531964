"""A few steps and a few scored batches of a run's shape, timed on this machine.

The model has random weights and the architecture alone is read; the method, the objective and the
Trainer are those of runs. Examples are rows of a given size, since what is computed does not
depend on what they say. Of a deep model two of fewer layers are measured (``models.depths``).
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from dylora_exp.config import CALIBRATED, Config, CutConfig, objective_class
from dylora_exp.core import counted, quietly, run_log
from dylora_exp.methods import TrainedModel, count_parameters
from dylora_exp.models import depth_of, with_layers, without_weights
from dylora_exp.objectives import Objective, ObjectiveContext, make_objective
from dylora_exp.runner.environment import peak_memory, reset_peak_memory, use_threads
from dylora_exp.runner.pipeline import LoadedRun, load_run
from dylora_exp.runner.time_fits import Line, Measurement, at_depth, line_through
from dylora_exp.tasks import TaskData
from dylora_exp.training import time_steps, wait_for_device

Clock = Callable[[], float]
# A model of at most so many layers is measured as it is.
_WHOLE = 6
_FEW_LAYERS = (1, 3)
# Tokens of a batch, padding included. A processor is as busy with a few as with many; what a GPU
# takes for few says nothing of many.
_TOKENS = {"cpu": 1_024, "cuda": 65_536}
# Of a shape's texts, how many tokens are generated.
_NEW_TOKENS = (2, 8)
_MOST_STEPS, _ENOUGH_SECONDS = 5, 0.75


@dataclass(frozen=True)
class Sample:
    """The examples to measure with.

    Attributes:
        lengths: Two numbers of tokens of a training example, ascending.
        eval_lengths: Two numbers of tokens that are read of a scored example.
        answer: How many tokens of an example are a text to be learned.
    """

    lengths: tuple[int, int]
    eval_lengths: tuple[int, int]
    answer: int


@dataclass(frozen=True)
class _Timed:
    """What one model took: seconds or bytes by tokens, and what it consists of."""

    training: dict[int, float]
    memory: dict[int, float]
    scoring: dict[int, float]
    per_cut: float
    new_token: float
    start: float
    parameters: dict[str, int]


def device_name() -> str:
    """Return what a measurement is made on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"this CPU, {counted(torch.get_num_threads(), 'thread')}"


def matmul_speed(dtype: torch.dtype, clock: Clock = time.perf_counter) -> float:
    """Return the floating point operations a second of a large product of matrices here."""
    size = 8192 if torch.cuda.is_available() else 1024
    matrix = torch.ones(size, size, dtype=dtype, device="cuda" if size > 1024 else "cpu")
    seconds = []
    for _ in range(4):
        wait_for_device()
        start = clock()
        matrix @ matrix
        wait_for_device()
        seconds.append(clock() - start)
    return float(2 * size**3 / min(seconds))


def measure(config: Config, sample: Sample, clock: Clock | None = None) -> Measurement:
    """Return what the runs of a config's shape take on this machine.

    Args:
        config: Of one of the runs, that of the largest rank.
        sample: The examples to measure with.
        clock: Returns the seconds since some moment; None for the time of this process alone where
            it computes by one thread of a CPU, so that other work does not count, else real time.

    Raises:
        RequestError: When the model's configuration is not at hand, or the objective does not say
            how long examples are.
    """
    use_threads(config.trainer.threads)
    if clock is None:
        alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
        clock = time.process_time if alone else time.perf_counter
    model = without_weights(config.model, config.hub_cache)
    depth = depth_of(model, config.hub_cache)
    few = (depth.layers,) if depth.layers <= _WHOLE else _FEW_LAYERS
    timed = {}
    for layers in few:
        with _silent(), tempfile.TemporaryDirectory() as folder:
            shape = _to_measure(config, folder, with_layers(model, depth, layers))
            timed[layers] = _timed(shape, sample, Path(folder), clock)
        gc.collect()

    def whole(value: Callable[[_Timed], float]) -> float:
        return at_depth(depth.layers, {layers: value(each) for layers, each in timed.items()})

    def line(name: str) -> Line:
        found = {layers: getattr(each, name) for layers, each in timed.items()}
        points = [
            (tokens, at_depth(depth.layers, {n: values[tokens] for n, values in found.items()}))
            for tokens in found[few[0]]
        ]
        return line_through(points) if points else Line(0.0, 0.0)

    return Measurement(
        line("training"),
        line("scoring"),
        whole(lambda each: each.per_cut),
        whole(lambda each: each.new_token),
        line("memory"),
        whole(lambda each: each.start),
        whole(lambda each: each.parameters["trainable"]),
        whole(lambda each: each.parameters["adapter"]),
        config.ranks.r_max,
        tuple(timed[few[0]].training),
        few,
        depth.layers,
    )


def _to_measure(config: Config, folder: str, model: Any) -> Config:
    """Return the config of what is measured: the shape of a run, and nothing that it does once."""
    method, task = config.method.of_any_depth, config.task
    if method.cuts:
        plain = [cut for cut in method.cuts if cut.truncation not in CALIBRATED]
        method = method.model_copy(update={"score": (plain or [CutConfig(scale="alpha/r")])[:1]})
    changes: dict[str, Any] = {"max_train_samples": None, "max_eval_samples": None}
    if task.scored == "texts":  # one metric, which needs no Java
        changes |= {"metrics": ["bleu"], "headline": "bleu"}
    if getattr(task, "chat_template", False):
        changes["chat_template"] = False
    trainer = {"max_steps": 10_000, "save_steps": 10_000, "accumulation_steps": 1}
    return config.model_copy(
        update={
            "model": model,
            "method": method,
            "task": task.model_copy(update=changes),
            "trainer": config.trainer.model_copy(update=trainer),
            "outputs_dir": folder,
        }
    )


def _timed(config: Config, sample: Sample, folder: Path, clock: Clock) -> _Timed:
    """Return what the model of a config takes at the two lengths of a sample."""
    budget = _TOKENS["cuda" if torch.cuda.is_available() else "cpu"]
    # A step at all ranks has the examples once for each.
    together = len(config.ranks.values or range(config.ranks.r_max))
    share = together if config.method.step_cost == "all ranks" else 1
    config = _with_trainer(
        config,
        batch_size=_rows(config.trainer.batch_size, sample.lengths[1], budget // share),
        eval_batch_size=_scored_rows(config, sample, budget),
    )
    before = clock()
    run = load_run(config, _data(config, sample.lengths[0], sample.answer))
    start = clock() - before
    training, memory = {}, {}
    for length in sample.lengths:
        objective = _objective(run, config, length, sample.answer)
        tokens = config.trainer.batch_size * max(objective.train_set["length"])
        reset_peak_memory()
        if not run.method.is_trained_elsewhere:
            found = time_steps(run.model, objective, run.method, folder, clock, _are_enough)
            training[tokens] = statistics.median_low(found)
        memory[tokens] = float(peak_memory()["peak_bytes"])
    parameters = count_parameters(run.model)
    model = run.method.finish(run.model)
    run.method.prepare_cuts(model, lambda count: None)  # type: ignore[arg-type, return-value]
    score = _score_texts if hasattr(config.task, "decode") else _score
    return _Timed(
        training, memory, *score(run, model, config, sample, folder, clock), start, parameters
    )


def _score(
    run: LoadedRun,
    model: TrainedModel,
    config: Config,
    sample: Sample,
    folder: Path,
    clock: Clock,
) -> tuple[dict[int, float], float, float]:
    """Return the seconds of a scored batch by its tokens; nothing is done once a cut."""
    found = {}
    for length in (sample.eval_lengths[0], *sample.eval_lengths):  # the first time does not count
        tokens, seconds = _score_once(run, model, config, length, sample.answer, folder, clock)
        found[tokens] = seconds
    return found, 0.0, 0.0


def _score_texts(
    run: LoadedRun,
    model: TrainedModel,
    config: Config,
    sample: Sample,
    folder: Path,
    clock: Clock,
) -> tuple[dict[int, float], float, float]:
    """Return the same where texts are decoded, the seconds of a cut, and of a generated token.

    What does not grow with the prompts is done once a cut: adapters are merged and compared.
    """
    rows = config.trainer.eval_batch_size
    few, more = _NEW_TOKENS
    low, high = sample.eval_lengths
    seconds = {}
    # Nothing but the prompt is read of a row. The first time does not count.
    for length, new in ((low, few), (low, few), (high, few), (low, more)):
        decode = config.task.decode.model_copy(update={"max_new_tokens": new})  # type: ignore[attr-defined]
        task = config.task.model_copy(update={"decode": decode})
        shape = config.model_copy(update={"task": task})
        whole = length + sample.answer
        tokens, spent = _score_once(run, model, shape, whole, sample.answer, folder, clock)
        seconds[length, new] = tokens, spent
    (at_low, short), (at_high, long) = seconds[low, few], seconds[high, few]
    each = max(0.0, seconds[low, more][1] - short) / (more - few)
    line = line_through([(at_low, short - few * each), (at_high, long - few * each)])
    return {n: line.each * n for n in (at_low, at_high)}, line.fixed, each / rows


def _score_once(
    run: LoadedRun,
    model: TrainedModel,
    config: Config,
    length: int,
    answer: int,
    folder: Path,
    clock: Clock,
) -> tuple[int, float]:
    """Score a batch at the first cut; return its tokens and the seconds."""
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "predictions").mkdir()
    with contextlib.closing(_objective(run, config, length, answer)) as objective:
        before = clock()
        objective.score(model, run.method, run.method.cuts()[0], own)
        wait_for_device()
        seconds = clock() - before
        tokens = config.trainer.eval_batch_size * max(objective.scored_lengths())
    return tokens, seconds


def _are_enough(seconds: list[float]) -> bool:
    return sum(seconds) >= _ENOUGH_SECONDS or len(seconds) >= _MOST_STEPS


def _rows(batch_size: int, length: int, budget: int) -> int:
    """Return how many examples are measured: a batch, or as many as a budget of tokens allows."""
    return max(1, min(batch_size, budget // length))


def _scored_rows(config: Config, sample: Sample, budget: int) -> int:
    """Return how many examples are scored; each beam of a text is one."""
    decode = getattr(config.task, "decode", None)
    beams = 1 if decode is None else decode.beams
    return _rows(config.trainer.eval_batch_size, beams * sample.eval_lengths[1], budget)


def _with_trainer(config: Config, **changes: int) -> Config:
    return config.model_copy(update={"trainer": config.trainer.model_copy(update=changes)})


def _data(config: Config, length: int, answer: int) -> TaskData:
    """Return two training batches and a scored one of rows of one size."""
    answer = max(1, min(answer, length - 4))
    row = objective_class(config.task).sized_row(config.task, length, answer)
    trained = Dataset.from_list([row] * 2 * config.trainer.batch_size)
    scored = Dataset.from_list([row] * config.trainer.eval_batch_size)
    return TaskData(trained, scored, [], [])


def _objective(run: LoadedRun, config: Config, length: int, answer: int) -> Objective:
    """Return the objective of a run with rows of another size."""
    own = run.objective
    window = max(own.max_length, length + _NEW_TOKENS[1])
    return make_objective(
        ObjectiveContext(config, own.tokenizer, window, _data(config, length, answer))
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Print nothing of what a run prints: no bars, no lines, no warnings."""
    with quietly(), run_log():
        yield
