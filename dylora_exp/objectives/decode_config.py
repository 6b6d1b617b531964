"""The settings of decoding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dylora_exp.config import Count
from dylora_exp.core import StrictModel


class DecodeConfig(StrictModel):
    """How texts are generated, until an end token or a blank line; ``no_repeat_ngram`` 0: off."""

    beams: Count = 10
    max_new_tokens: Count = 64
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 4
    length_penalty: float = 0.8
