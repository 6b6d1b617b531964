"""Tasks whose prompts and answers are templates over the columns of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dylora_exp.config import HubDataset, Mark, ReaderName, required_by
from dylora_exp.core import (
    RequestError,
    TemplateFlaw,
    evaluate_expression,
    expression_problem,
    parse,
    render_template,
    template_problem,
    unknown_name,
)
from dylora_exp.objectives import base
from dylora_exp.objectives.encoding import PairEncoder
from dylora_exp.objectives.language_modelling import (
    IGNORED,
    LanguageModelObjective,
    LanguageModelTask,
)

if TYPE_CHECKING:
    from datasets import Dataset


class TemplateHub(HubDataset):
    """Where a task of templates lies on the hub; ``templates`` replaces those for its files.

    ``eval_path`` and ``eval_name`` are the data set and the configuration that are scored, where
    they are others than those for training.
    """

    templates: dict[str, str | list[str]] = Field(default_factory=dict)
    eval_path: str | None = None
    eval_name: str | None = None

    @property
    def splits(self) -> tuple[tuple[str, str | None, str], ...]:
        """The data set, the configuration and the split of the training and the scored examples."""
        scored = (self.path, self.name) if self.eval_path is None else (self.eval_path, None)
        path, name = scored[0], self.eval_name or scored[1]
        return (self.path, self.name, self.train), (path, name, self.eval)


class TemplateTask(LanguageModelTask):
    """A task of templates over the columns of a row: a prompt, and the completion that is trained.

    ``chat_template``: the prompt is the message of a user, in the form that the tokenizer's own
    template gives it.

    Attributes:
        templates: The settings that are templates; a list is one of templates.
        expressions: The settings that are an expression, where they are a text.
    """

    templates: ClassVar[tuple[str, ...]] = ("prompt", "completion")
    expressions: ClassVar[tuple[str, ...]] = ()

    reader: ReaderName = "rows"
    hub: TemplateHub | None = None  # type: ignore[assignment]
    eval_split: Annotated[Literal["dev", "test"] | None, Mark.UNUSED] = None
    prompt: Annotated[str, required_by("a task of templates")] = Field(
        default=None, validate_default=True
    )
    completion: str | None = None
    loss_on: Literal["completion", "all"] = "completion"
    chat_template: bool = False

    @property
    def of_rows(self) -> tuple[str, ...]:
        """The templates and the expressions."""
        return tuple(dict.fromkeys((*self.templates, *self.expressions)))

    @property
    def of_hub(self) -> dict[str, Any]:
        """The templates for the columns that the hub's dataset has."""
        return dict(self.hub.templates) if self.hub else {}

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        found = super().problems() + list(self._syntax_problems("task."))
        if self.hub is None or not self.hub.templates:
            return found
        prefix, allowed = "task.hub.templates", set(self.of_rows)
        if unknown := [name for name in self.hub.templates if name not in allowed]:
            return found + [unknown_name(prefix, name, allowed) for name in unknown]
        try:
            parse(type(self), self.model_dump() | self.hub.templates)
        except RequestError as error:
            return found + [f"{prefix}.{each}" for each in error.problems]
        return found + list(self.on_hub._syntax_problems(f"{prefix}."))

    def render(self, name: str, row: Mapping[str, Any]) -> str:
        """Return the text that the template of a setting gives for a row.

        Raises:
            TemplateFlaw: When the row does not go with it; the message names the setting.
        """
        return str(self._of_setting(name, render_template, getattr(self, name), row))

    def evaluate(self, name: str, row: Mapping[str, Any]) -> Any:
        """Return the value that the expression of a setting gives for a row.

        Where the setting is a list of templates, it is a list of texts.

        Raises:
            TemplateFlaw: As ``render``.
        """
        source = getattr(self, name)
        if isinstance(source, list):
            return [self._of_setting(name, render_template, each, row) for each in source]
        return self._of_setting(name, evaluate_expression, source, row)

    def _of_setting(self, name: str, function: Any, source: str, row: Mapping[str, Any]) -> Any:
        try:
            return function(source, row)
        except TemplateFlaw as flaw:
            raise TemplateFlaw(str(flaw), flaw.missing, f"task.{name}") from None

    def _syntax_problems(self, prefix: str) -> Iterator[str]:
        for name in (*self.templates, *self.expressions):
            value = getattr(self, name)
            is_expression = name in self.expressions and isinstance(value, str)
            check = expression_problem if is_expression else template_problem
            for source in value if isinstance(value, list) else [value]:
                if source is not None and (problem := check(source)):
                    kind = "expression" if is_expression else "template"
                    yield f"{prefix}{name}: found '{source}', which is no {kind} ({problem})."


class TemplateObjective(LanguageModelObjective):
    """Trains the completion of each prompt, the end token among its tokens."""

    def __init__(self, setting: base.ObjectiveContext) -> None:
        task = setting.config.task
        assert isinstance(task, TemplateTask)
        self.encoder = PairEncoder(setting.tokenizer, task.chat_template)
        self.loss_on = task.loss_on
        super().__init__(setting)
        if not any(label != IGNORED for row in self.train_set["labels"] for label in row[1:]):
            raise RequestError(
                f"task.max_length: found {task.max_length}, which leaves no room for a completion "
                "after any prompt of the training data, so that nothing would be learned."
            )

    @staticmethod
    def sized_pair(tokens: int, answer: int) -> dict[str, str]:
        """Return a prompt and a completion of so many letters in all; as ``sized_row``."""
        text = " " + "q" * max(1, answer - 2)
        return {"prompt": "q" * max(1, tokens - answer), "completion": text, "where": "a row"}

    def encode(self, data: Dataset) -> Dataset:
        """Return ``input_ids``, ``labels`` and ``length``, cut at the end.

        The labels are -100 on the prompt, unless ``task.loss_on=all``.
        """

        def sequences(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
            found: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": []}
            for pair in zip(rows["prompt"], rows["completion"], strict=True):
                whole, start = self.encoder.sequence(*pair)
                ids = [*whole, self.tokenizer.eos_token_id][: self.max_length]
                unlearned = 0 if self.loss_on == "all" else start
                found["input_ids"].append(ids)
                found["labels"].append(([IGNORED] * unlearned + ids[unlearned:])[: len(ids)])
                found["length"].append(len(ids))
            return found

        return data.map(
            sequences, batched=True, remove_columns=data.column_names, keep_in_memory=True
        )
