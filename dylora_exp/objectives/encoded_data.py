"""Encoded data, kept in memory for the next run of this process that has the same.

The runs of a multirun in one process mostly differ in seed, method or rank. What they encode is the
same where the examples, the tokenizer and all settings of the task are; it is found by a digest of
these, whatever the files that they came from are called.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pydantic_core

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# Of a few data sets: the training and the scoring data of two tasks, 40 MB each for 42,000 texts.
_MOST = 4
_KEPT: OrderedDict[str, Dataset] = OrderedDict()


def encode_once(
    encode: Callable[[Dataset], Dataset],
    data: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    settings: Any,
) -> Dataset:
    """Return encoded examples, those of an earlier call where nothing differs.

    Args:
        encode: Encodes them; what it does follows from the other arguments.
        data: The examples.
        tokenizer: The tokenizer; only one of the library ``tokenizers`` can say all that it is.
        settings: All that the encoding depends on else, as plain data.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return encode(data)
    parts = [settings, repr(tokenizer), backend.to_str(), data.to_dict()]
    key = hashlib.sha256(pydantic_core.to_json(parts, inf_nan_mode="strings")).hexdigest()
    found = _KEPT.pop(key, None)
    if found is None:
        found = encode(data)
    _KEPT[key] = found
    while len(_KEPT) > _MOST:
        _KEPT.popitem(last=False)
    return copy.copy(found)  # who sets its format must not set that of others
