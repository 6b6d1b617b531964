"""Rank-dynamic low-rank adaptation: train LoRA adapters once, use them at every rank.

What a notebook or a trainer of one's own imports; ``docs/python.md`` shows it at work. Names are
imported when they are first asked for, so that ``import dylora_exp`` loads no library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dylora_exp.adapters import resize
    from dylora_exp.config import Config, Ranks, run_id
    from dylora_exp.config import compose as compose_config
    from dylora_exp.core import RequestError
    from dylora_exp.dynamic import (
        DynamicLoRA,
        DynamicRanks,
        at_rank,
        make_dynamic,
        rank_curve,
        save_rank,
        set_rank,
    )
    from dylora_exp.records import Record, RecordStore, load_records
    from dylora_exp.runner import RunBusy, RunFailed
    from dylora_exp.runner import run_overrides as run

__all__ = [
    "Config",
    "DynamicLoRA",
    "DynamicRanks",
    "Ranks",
    "Record",
    "RecordStore",
    "RequestError",
    "RunBusy",
    "RunFailed",
    "at_rank",
    "compose_config",
    "load_records",
    "make_dynamic",
    "rank_curve",
    "resize",
    "run",
    "run_id",
    "save_rank",
    "set_rank",
]

# Where each name is from: a room, and its name there where that is another.
_SOURCES = {
    "Config": "config",
    "DynamicLoRA": "dynamic",
    "DynamicRanks": "dynamic",
    "Ranks": "config",
    "Record": "records",
    "RecordStore": "records",
    "RequestError": "core",
    "RunBusy": "runner",
    "RunFailed": "runner",
    "at_rank": "dynamic",
    "compose_config": "config:compose",
    "load_records": "records",
    "make_dynamic": "dynamic",
    "rank_curve": "dynamic",
    "resize": "adapters",
    "run": "runner:run_overrides",
    "run_id": "config",
    "save_rank": "dynamic",
    "set_rank": "dynamic",
}


def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
        raise AttributeError(f"module 'dylora_exp' has no attribute '{name}'")
    room, _, other_name = _SOURCES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{room}"), other_name or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
