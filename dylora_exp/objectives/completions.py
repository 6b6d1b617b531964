"""Tasks of prompts and completions, of which some training rows may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator

from dylora_exp.objectives.templates import TemplateTask


class CompletionTask(TemplateTask):
    """A task of templates that has a completion for each prompt.

    ``train_where`` is an expression over the columns; the training rows that it is not true of are
    left out.
    """

    expressions: ClassVar[tuple[str, ...]] = ("train_where",)

    completion: str = Field(default=None, validate_default=True)
    train_where: str | None = None

    @field_validator("completion", mode="before")
    @classmethod
    def _has_completion(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("found nothing, a task of prompts and completions needs it")
        return value

    def is_trained(self, row: Mapping[str, Any]) -> bool:
        """Return whether ``train_where`` is true of a row."""
        return self.train_where is None or bool(self.evaluate("train_where", row))
