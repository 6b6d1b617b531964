"""How many examples a run trains and scores, and how long they are, before it is done.

From the data where they are at hand, with the model's tokenizer where that is, else from what the
task's file says (``task.typical``). Lengths are kept as percentiles, and batches are drawn from
them as the run draws its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dylora_exp.config import SIZE_PERCENTILES, Config
from dylora_exp.core import RequestError

# Of so many examples the lengths are taken, and the batches of so many are looked at.
_TOKENISED, _DRAWN = 2_000, 8_000
# Between two percentiles, lengths are spread evenly.
_HUNDREDTHS = tuple(range(101))


@dataclass(frozen=True)
class Lengths:
    """The lengths of examples in tokens, as those that some shares of them do not exceed.

    Attributes:
        values: Ascending.
        percent: The share of each in per cent, from 0 to 100.
    """

    values: tuple[int, ...]
    percent: tuple[int, ...] = SIZE_PERCENTILES

    def at(self, share: float) -> float:
        """Return the length that a share of the examples, 0 to 1, does not exceed."""
        wanted = 100 * share
        for index in range(1, len(self.percent)):
            if wanted <= self.percent[index]:
                break
        low, high = self.percent[index - 1], self.percent[index]
        start, end = self.values[index - 1], self.values[index]
        return start + (end - start) * (wanted - low) / (high - low)

    def spread(self, count: int) -> list[int]:
        """Return the lengths of so many examples, ascending."""
        return [max(1, round(self.at((index + 0.5) / count))) for index in range(count)]

    def longest_of(self, count: int, steps: int = 200) -> float:
        """Return the expected length of the longest of so many examples drawn at random."""
        return statistics.fmean(
            self.at(((index + 0.5) / steps) ** (1 / count)) for index in range(steps)
        )

    def cut(self, most: int) -> Lengths:
        """Return the lengths of examples that are cut at a number of tokens."""
        return replace(self, values=tuple(min(most, value) for value in self.values))

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Return the lengths of the examples given."""
        ordered = sorted(lengths)
        last = len(ordered) - 1
        return cls(tuple(ordered[round(last * each / 100)] for each in _HUNDREDTHS), _HUNDREDTHS)


@dataclass(frozen=True)
class RunSizes:
    """What a run trains and scores.

    Attributes:
        train: The number of training examples.
        scored: The number of examples that are scored, of texts that are generated.
        train_lengths: Of the former.
        eval_lengths: Of the latter: of what is read, of which a text may be generated.
        new_lengths: Of the texts that are generated; None where none are.
        source: Where this is from, in words.
    """

    train: int
    scored: int
    train_lengths: Lengths
    eval_lengths: Lengths
    new_lengths: Lengths | None
    source: str

    def limited(self, config: Config) -> RunSizes:
        """Return the sizes within the limits of a task."""
        task, most = config.task, config.task.max_length
        decode = getattr(task, "decode", None)
        new = self.new_lengths
        if decode is not None:
            new = (new or Lengths((decode.max_new_tokens,) * 2, (0, 100))).cut(
                decode.max_new_tokens
            )
        return replace(
            self,
            train=min(self.train, task.max_train_samples or self.train),
            scored=min(self.scored, task.max_eval_samples or self.scored),
            train_lengths=self.train_lengths.cut(most),
            eval_lengths=self.eval_lengths if decode else self.eval_lengths.cut(most),
            new_lengths=new,
        )


def read_sizes(config: Config) -> RunSizes:
    """Return the sizes of a run.

    Raises:
        RequestError: When neither its data nor its typical sizes are at hand.
    """
    from dylora_exp.tasks import needs_hub

    problem, why = f"task.typical: task '{config.task.name}' has none, nor are its data here.", ""
    if not needs_hub(config.task):
        try:
            return _of_data(config).limited(config)
        except RequestError as error:
            problem = error.problems[0]
            if config.task.data_dir is not None or config.hub_cache is not None:
                why = f" (not the data: {problem})"
    typical = config.task.typical
    if typical is None:
        raise RequestError(problem)
    train, scored = typical.train, typical.eval
    if config.task.held_out is not None:
        scored = max(1, round(config.task.held_out * train))
        train -= scored
    return RunSizes(
        train,
        scored,
        Lengths(tuple(typical.train_tokens)),
        Lengths(tuple(typical.eval_tokens)),
        Lengths(tuple(typical.new_tokens)) if typical.new_tokens else None,
        f"task.typical{why}",
    ).limited(config)


def _of_data(config: Config) -> RunSizes:
    """Return the sizes of the data at hand, their lengths where the tokenizer is, too."""
    from dylora_exp.models import load_tokenizer
    from dylora_exp.objectives import ObjectiveContext, make_objective
    from dylora_exp.runner import quiet_libraries
    from dylora_exp.tasks import TaskData, read, subset

    quiet_libraries()
    data = read(config.task, config.hub_cache)
    train, scored = len(data.train), len(data.eval)
    try:
        tokenizer = load_tokenizer(config.model, config.hub_cache, ask_hub=False)
    except RequestError:
        typical = config.task.typical
        if typical is None:
            raise
        new = Lengths(tuple(typical.new_tokens)) if typical.new_tokens else None
        lengths = Lengths(tuple(typical.train_tokens)), Lengths(tuple(typical.eval_tokens)), new
        return RunSizes(train, scored, *lengths, "task.typical, their number from the data")
    some = (subset(data.train, _TOKENISED), subset(data.eval, _TOKENISED))
    # Its window is not known yet; what exceeds it is refused when it runs.
    context = ObjectiveContext(config, tokenizer, 2**20, TaskData(*some, [], []))
    objective = make_objective(context)
    try:
        rows = objective.train_set
        new = None
        if hasattr(config.task, "decode"):
            counts = [sum(label >= 0 for label in labels) for labels in rows["labels"]]
            new = Lengths.of(counts)
        lengths = Lengths.of(rows["length"]), Lengths.of(objective.scored_lengths()), new
        return RunSizes(train, scored, *lengths, "the data")
    finally:
        objective.close()


@dataclass(frozen=True)
class Batches:
    """The tokens of the batches of a run, padding included.

    Attributes:
        trained: Of training batches, as many as are needed for their mean, in an order as the
            run's.
        scored: Of all that are scored, the longest examples first.
    """

    trained: tuple[int, ...]
    scored: tuple[int, ...]


def batches_of(config: Config, sizes: RunSizes) -> Batches:
    """Return the batches of a run, of examples of its lengths."""
    from dylora_exp.training import order_sampler

    lengths = sizes.train_lengths.spread(min(sizes.train, _DRAWN))
    order, size = list(order_sampler(config, lengths)), config.trainer.batch_size
    drawn = [order[start : start + size] for start in range(0, len(order), size)]
    read, together = sizes.eval_lengths.spread(sizes.scored)[::-1], config.trainer.eval_batch_size
    starts = range(0, len(read), together)
    return Batches(
        tuple(len(batch) * max(lengths[index] for index in batch) for batch in drawn),
        tuple(len(read[start : start + together]) * read[start] for start in starts),
    )
