"""The settings of decoding."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from dylora_exp.config import Count
from dylora_exp.core import StrictModel

Stop = Literal["blank_line", "end"]


class DecodeConfig(StrictModel):
    """How texts are generated; ``no_repeat_ngram`` 0: off.

    ``stop``: a text ends at an end token and at its first blank line and is put on one line, or it
    ends at an end token alone and stays as it is, with all its paragraphs.
    """

    beams: Count = 10
    max_new_tokens: Count = 64
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 4
    length_penalty: float = 0.8
    stop: Stop = "blank_line"

    @model_serializer(mode="wrap")
    def _without_default_stop(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the settings as they were before there was a choice of ``stop``.

        All others are part of a run's identity, whatever their values: tasks have no default for
        them together.
        """
        tree: dict[str, Any] = handler(self)
        if self.stop == type(self).model_fields["stop"].default:
            del tree["stop"]
        return tree
