"""Tasks of prompts and completions, of which some training rows may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from dylora_exp.config import required_by
from dylora_exp.objectives.templates import TemplateTask


class CompletionTask(TemplateTask):
    """A task of templates that has a completion for each prompt.

    ``train_where`` is an expression over the columns; the training rows that it is not true of are
    left out.
    """

    expressions: ClassVar[tuple[str, ...]] = ("train_where",)

    completion: Annotated[str, required_by("a task of prompts and completions")] = Field(
        default=None, validate_default=True
    )
    train_where: str | None = None

    def is_trained(self, row: Mapping[str, Any]) -> bool:
        """Return whether ``train_where`` is true of a row."""
        return self.train_where is None or bool(self.evaluate("train_where", row))
