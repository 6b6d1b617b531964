"""Settings that a user gave and that change nothing: they would only make a new run id.

A profile may set them for many runs; on the command line they are a mistake, and are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from dylora_exp.config.readers import READERS
from dylora_exp.config.schema import Config, RanksConfig
from dylora_exp.core import in_package


def settings_without_effect(config: Config, overridden: Collection[str]) -> list[str]:
    """Return a sentence for each setting that changes nothing though the user gave it.

    Args:
        config: A config that passed the schema.
        overridden: The keys that the user gave; ``ranks`` where a file of it was chosen.
    """
    reasons = {**dict(_in_ranks(config, overridden)), **dict(_elsewhere(config, overridden))}
    return [f"{key}: it would change nothing, {why}." for key, why in reasons.items()]


def _in_ranks(config: Config, overridden: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the settings of the ranks group by which no rank is drawn, with the reason."""
    ranks, name = config.ranks, config.method.name
    idle = dict.fromkeys(config.method.unused_ranks, f"method '{name}' draws no ranks by it")
    for key, needed in (("p", "geometric"), ("tail", "geometric"), ("weights", "custom")):
        if ranks.distribution != needed:
            idle.setdefault(key, f"ranks.distribution is {ranks.distribution}, not {needed}")
    for key, reason in sorted(idle.items()):
        of_file = getattr(ranks, key) != RanksConfig.model_fields[key].default
        if f"ranks.{key}" in overridden or ("ranks" in overridden and of_file):
            yield f"ranks.{key}", reason


def _elsewhere(config: Config, overridden: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys of the other groups that change nothing, with the reason."""
    rules = list(_idle_groups(config))
    for given in sorted(overridden):
        for key, reason in rules:
            if given == key or given.startswith(f"{key}."):
                yield given, reason


def _idle_groups(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each key that changes nothing in a config, and what lies below it, with the reason."""
    model, task, trainer = config.model, config.task, config.trainer
    if task.peft_task_type != "CAUSAL_LM":
        answers = f"the answers of task '{task.name}' are {task.scored}, not texts"
        yield "trainer.label_smoothing", answers
    if not task.trains_head:
        yield "model.drop_head", f"the head of a language model is not new in task '{task.name}'"
    elif not model.pretrained:
        yield "model.drop_head", "the whole model is new (model.pretrained is false)"
    if in_package(model.name_or_path) or Path(model.name_or_path).expanduser().is_dir():
        yield "model.revision", f"'{model.name_or_path}' is no name of the hub"
    if model.tokenizer == model.name_or_path:
        yield "model.tokenizer", "it is that of the model itself"
    if task.labels:
        yield "task.label_range", f"the answers of task '{task.name}' are labels, not numbers"
    if task.reader == "demo":
        yield "task.labels", "the demo's labels are those of its generator"
    if task.reader in READERS and (task.reader not in ("glue", "rows") or task.reads_files):
        yield "task.hub", f"task '{task.name}' is not read from the hub"
    if task.reader in READERS and (task.reader != "glue" or task.data_dir is None):
        yield "task.tsv", f"task '{task.name}' is not read from TSV files"
    if task.data_files is not None:
        yield "task.data_dir", "task.data_files goes before it"
    if task.data_files is not None or task.data_dir is None:
        yield "task.files", f"task '{task.name}' is not read from a folder (task.data_dir)"
    for name, reason in config.method.unused.items():
        yield f"method.{name}", reason
    if trainer.warmup_steps is not None:
        yield "trainer.warmup_ratio", f"trainer.warmup_steps is {trainer.warmup_steps}"
    if getattr(config.method, "target_parameters", None) is not None:
        yield "method.target_sparsity", "method.target_parameters goes before it"
