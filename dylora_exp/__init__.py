"""Rank-dynamic low-rank adaptation: train LoRA adapters once, score every rank.

Names are imported when they are first asked for, so that ``import dylora_exp`` loads no library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dylora_exp.config import Config, run_id
    from dylora_exp.config import compose as compose_config
    from dylora_exp.records import Record, RecordStore

__all__ = ["Config", "Record", "RecordStore", "compose_config", "run_id"]

_MODULES = {
    "Config": "dylora_exp.config",
    "Record": "dylora_exp.records",
    "RecordStore": "dylora_exp.records",
    "compose_config": "dylora_exp.config:compose",
    "run_id": "dylora_exp.config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dylora_exp' has no attribute '{name}'")
    module, _, other_name = _MODULES[name].partition(":")
    return getattr(importlib.import_module(module), other_name or name)
