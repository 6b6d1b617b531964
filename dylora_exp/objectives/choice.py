"""Options to choose among: the one whose text the model finds most likely after a prompt."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from dylora_exp import metrics
from dylora_exp.config import TaskConfig, required_by
from dylora_exp.core import RequestError, TemplateFlaw, broadcast_from_main
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import base
from dylora_exp.objectives.templates import TemplateObjective, TemplateTask

if TYPE_CHECKING:
    from dylora_exp.objectives.torch_parts.choosing import OptionSet

# What prompts and completions call the option that they are rendered for.
OPTION = "choice"
_REQUIRED = required_by("a task whose answers are choices")


class ChoiceTask(TemplateTask):
    """A task whose answers are options: trained on the right one, scored by their likelihoods.

    ``choices`` are the options' texts: a list of templates, or an expression that gives a list.
    ``label`` is an expression that gives the index of the right one, or its text. ``prompt`` and
    ``completion`` may name the option itself as ``choice``.
    """

    templates: ClassVar[tuple[str, ...]] = ("prompt", "completion", "choices")
    expressions: ClassVar[tuple[str, ...]] = ("choices", "label")

    objective: str = "choice"
    completion: str = " {{ choice }}"
    choices: Annotated[str | list[str], _REQUIRED] = Field(default=None, validate_default=True)
    label: Annotated[str, _REQUIRED] = Field(default=None, validate_default=True)

    @property
    def scored(self) -> str:
        """Choices."""
        return "choices"

    def example(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's options and the one that is right.

        Its columns: ``prompts`` (one for each option, or one alone where they are the same),
        ``completions``, ``choices``, ``label``, and the ``prompt`` and the ``completion`` of the
        right option.
        """
        options = _texts(self.evaluate("choices", row))
        label = _index(self.evaluate("label", row), options)
        rows = [{**row, OPTION: option} for option in options]
        prompts = [self.render("prompt", each) for each in rows]
        completions = [self.render("completion", each) for each in rows]
        for number, (option, completion) in enumerate(zip(options, completions, strict=True)):
            if not option or not completion:
                raise TemplateFlaw(f"option {number} is empty", setting="task.choices")
        return {
            "prompt": prompts[label],
            "completion": completions[label],
            "prompts": prompts[:1] if len(set(prompts)) == 1 else prompts,
            "completions": completions,
            "choices": options,
            "label": label,
        }


def _texts(found: Any) -> list[str]:
    """Return the options that an expression gave."""
    if isinstance(found, str | Mapping):
        raise TemplateFlaw(f"found {found!r}, expected a list of texts", setting="task.choices")
    try:
        options = list(found)
    except TypeError:
        options = [None]
    for option in options:
        if isinstance(option, bool) or not isinstance(option, str | int | float):
            raise TemplateFlaw(f"found {option!r}, expected a text", setting="task.choices")
    if len(options) < 2:
        raise TemplateFlaw(
            f"found {len(options)} option(s), expected several", setting="task.choices"
        )
    return [str(option) for option in options]


def _index(found: Any, options: list[str]) -> int:
    """Return the index of the right option."""
    if isinstance(found, str) and found in options:
        return options.index(found)
    digits = isinstance(found, str) and found.strip().isdecimal()
    index = int(found) if digits or isinstance(found, int) else None
    if index is None or not 0 <= index < len(options):
        listed = ", ".join(options)
        raise TemplateFlaw(
            f"found {found!r}, expected an index from 0 to {len(options) - 1}, or one of {listed}",
            setting="task.label",
        )
    return index


class ChoiceObjective(TemplateObjective):
    """The likelihood of the right option; scored by the likelihoods of all."""

    settings_class = ChoiceTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        self.data = setting.data.eval
        self.items = [self._options(row, setting.window) for row in self.data]
        self.packed: bool | None = None

    def log_likelihoods(self, model: TrainedModel, title: str = "scoring") -> list[list[float]]:
        """Return the log-likelihood of each option of each item, of a model as it stands.

        Args:
            model: The model at a cut.
            title: Of the progress bar.
        """
        from dylora_exp.objectives.torch_parts import choosing

        if self.packed is None:
            self.packed = broadcast_from_main(
                lambda: choosing.packing_keeps_scores(model, self.items)
            )
        trainer = self.config.trainer
        return choosing.option_log_likelihoods(
            model, self.items, trainer.eval_batch_size, self.packed, trainer.bf16, title
        )

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the shares of items whose right option is chosen."""
        start = time.monotonic()
        with method.at_cut(model, cut):
            found = self.log_likelihoods(model, f"rank {cut.rank}" if cut.rank else "scoring")
        return base.CutScore(self._metrics(found), time.monotonic() - start)

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of a prompt and two options; the right one makes up the size."""
        row = cls.sized_pair(tokens, answer)
        options = [row["completion"], row["completion"].replace("q", "r")]
        both = {"completions": options, "choices": options, "label": 0, "part": ""}
        return {**row, "prompts": [row["prompt"]], **both}

    def scored_lengths(self) -> list[int]:
        """Return the tokens of each item: its prompt, and what its options do not share."""
        return [len(item.packed().ids) for item in self.items]

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature."""
        return super().scoring() | {"signature": metrics.signature(self.config.task.metrics)}

    def _metrics(self, log_likelihoods: list[list[float]]) -> dict[str, float | None]:
        """Return the metrics of all items and, where these are of several files, of each file's."""
        names = self.config.task.metrics
        parts = self._parts()
        values: dict[str, float | None] = {}
        for name in names:
            if name == metrics.MEAN_OF_PARTS:
                shares = [self._share("accuracy", log_likelihoods, each) for each in parts.values()]
                values[name] = statistics.fmean(shares)
                continue
            values[name] = self._share(name, log_likelihoods, range(len(self.items)))
            if len(parts) > 1:
                for part, indices in parts.items():
                    values[f"{name}_{part}"] = self._share(name, log_likelihoods, indices)
        return values

    def _parts(self) -> dict[str, list[int]]:
        """Return the indices of the items of each part, one alone where the reader names none."""
        found: dict[str, list[int]] = {}
        names = self.data["part"] if "part" in self.data.column_names else [""] * len(self.data)
        for index, name in enumerate(names):
            found.setdefault(name, []).append(index)
        return found

    def _share(
        self, name: str, log_likelihoods: list[list[float]], indices: Sequence[int]
    ) -> float:
        """Return the share of some items whose right option is the one that a metric chooses."""
        options, labels = self.data["choices"][:], self.data["label"][:]
        chosen = [
            metrics.chosen_option(name, log_likelihoods[index], options[index]) for index in indices
        ]
        compute = metrics.METRICS[name].computations[metrics.ANY_TASK].make_function()
        return compute(chosen, [labels[index] for index in indices])

    def _options(self, row: dict[str, Any], window: int) -> OptionSet:
        """Return the tokens of an item's options, or raise where they do not fit the model."""
        from dylora_exp.objectives.torch_parts.choosing import OptionSet

        completions = row["completions"]
        prompts = row["prompts"] * (len(completions) if len(row["prompts"]) == 1 else 1)
        pairs = [self.encoder.pair(*pair) for pair in zip(prompts, completions, strict=True)]
        found = OptionSet(pairs, row["where"])
        if found.longest > window:
            raise RequestError(
                f"{row['where']}: the prompt and its longest option have {found.longest} tokens, "
                f"expected at most the {window} of the model's window."
            )
        return found
