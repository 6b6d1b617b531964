"""Options to choose among: the one whose text the model finds most likely after a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from dylora_exp.core import TemplateFlaw
from dylora_exp.objectives.templates import TemplateObjective, TemplateTask

# What prompts and completions call the option that they are rendered for.
OPTION = "choice"


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
    choices: str | list[str] = Field(default=None, validate_default=True)
    label: str = Field(default=None, validate_default=True)

    @field_validator("choices", "label", mode="before")
    @classmethod
    def _has_options(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("found nothing, a task whose answers are choices needs it")
        return value

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
