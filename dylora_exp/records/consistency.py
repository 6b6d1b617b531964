"""What a record says twice, or cannot be: checked when it is read from a file.

A damaged digit or a file that was edited by hand is found where another part of the record, or what
is known of ranks and metrics, contradicts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dylora_exp.config import recompute_run_id
from dylora_exp.metrics import score_range
from dylora_exp.records.record import LayerSize, RankScore, Record

# Of a record whose config does not say its own largest rank.
_LARGEST_RANK = 1 << 20
# Fields of a record that its config has too.
_TWICE = {
    "seed": ("seed",),
    "profile": ("profile",),
    "model": ("model", "name"),
    "task": ("task", "name"),
    "method": ("method", "name"),
}
# A correlation may be 1.0000000000000002.
_ROUNDING = 1e-6


def contradiction(record: Record) -> str | None:
    """Return what is wrong with a record as the end of a sentence; None where nothing is.

    Args:
        record: A record of the right types.
    """
    return next(_contradictions(record), None)


def _contradictions(record: Record) -> Iterator[str]:
    config = record.config
    for name, path in _TWICE.items():
        found, expected = getattr(record, name), _value(config, path)
        if expected is not None and found != expected:
            yield f"'{name}' is {found!r}, but 'config.{'.'.join(path)}' is {expected!r}"
    run_id = recompute_run_id(config)
    if run_id not in (None, record.run_id):
        yield f"its run_id is '{record.run_id}', but its config is that of run '{run_id}'"
    largest = _value(config, ("ranks", "r_max")) or _LARGEST_RANK
    reader = _value(config, ("task", "reader"))
    protocol = reader if isinstance(reader, str) else None
    sweeps = {"ranks": record.ranks}
    sweeps |= {f"epochs[{number}].ranks": each.ranks for number, each in enumerate(record.epochs)}
    for field, scores in sweeps.items():
        yield from _of_scores(field, scores, largest, protocol)
        yield from _of_layers(field, scores, record.layers)


def _of_scores(
    field: str, scores: list[RankScore], largest: int, protocol: str | None
) -> Iterator[str]:
    """Yield what is wrong with the scores of a sweep: ranks, cuts that come twice, values."""
    cuts = {(entry.rank, entry.truncation, entry.scale) for entry in scores}
    if len(cuts) < len(scores):
        yield f"'{field}' has a cut twice"
    for number, entry in enumerate(scores):
        if entry.rank is not None and entry.rank > largest:
            key = f"{field}[{number}].rank"
            yield f"'{key}' is {entry.rank}, expected at most {largest} (ranks.r_max)"
        for name, value in entry.metrics.items():
            if value is not None:
                low, high = score_range(name, protocol)
                if not low - _ROUNDING <= value <= high + _ROUNDING:
                    key = f"{field}[{number}].metrics.{name}"
                    yield f"'{key}' is {value!r}, expected a number from {low:g} to {high:g}"


def _of_layers(
    field: str, scores: list[RankScore], layers: Mapping[str, LayerSize]
) -> Iterator[str]:
    """Yield what is wrong with the ranks of layers: names, sizes, what all of them cost."""
    for number, entry in enumerate(scores):
        ranks, key = entry.layer_ranks, f"{field}[{number}].layer_ranks"
        if ranks is None:
            continue
        if entry.rank is None:
            yield f"'{key}' is there without a rank"
            continue
        if odd := sorted(set(ranks) ^ set(layers)):
            yield f"'{key}' and 'layers' differ in '{odd[0]}'"
            continue
        for name, rank in ranks.items():
            if rank > layers[name].r:
                yield f"'{key}.{name}' is {rank}, expected at most {layers[name].r}"
        costs = {name: layer.d_in + layer.d_out for name, layer in layers.items()}
        budget = sum(min(entry.rank, layers[name].r) * cost for name, cost in costs.items())
        spent = sum(ranks[name] * cost for name, cost in costs.items())
        if spent > budget:
            yield (
                f"'{key}' are {spent:,} parameters, expected at most the {budget:,} of rank "
                f"{entry.rank}"
            )


def _value(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return a value of a config, None where there is none."""
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
