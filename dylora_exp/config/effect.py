"""Settings that change nothing in a run, and would only make a new run id.

Overrides of a single run that change nothing are a mistake, and are refused. Those that several
runs share, as a multirun over methods or a table gives them, count where they have an effect;
where they have none, and where a file sets them, they are left at what the profile, the model, the
task and the method say (``composition``), and so have no part in a run's identity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import BaseModel

from dylora_exp.config.field_types import Mark
from dylora_exp.config.readers import READERS
from dylora_exp.config.registry import GROUPS, settings_classes
from dylora_exp.config.schema import Config, ModelConfig
from dylora_exp.core import expand_user, in_package, path_problem


def idle_settings(config: Config) -> dict[str, str]:
    """Return the settings that change nothing in a config, with the reason of each.

    So does what lies below one of them, such as ``task.hub.path`` below ``task.hub``.

    Args:
        config: A config that passed the schema.
    """
    parts = (_of_ranks, _of_model, _of_task, _of_training, _of_others)
    return {key: reason for part in reversed(parts) for key, reason in part(config)}


def settings_without_effect(config: Config, keys: Collection[str]) -> dict[str, str]:
    """Return those of some keys that change nothing in a config, with a sentence for each.

    Args:
        config: A config that passed the schema.
        keys: Dotted keys of settings.
    """
    idle, found = idle_settings(config), {}
    for key in sorted(keys):
        parts = key.split(".")
        above = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        if reason := next((idle[each] for each in above if each in idle), None):
            found[key] = f"{key}: it would change nothing, {reason}."
    return found


def has_effect(schema: type[BaseModel], key: str) -> bool:
    """Return whether the settings of a method or an objective have a key that they use."""
    field = schema.model_fields.get(key)
    return field is not None and Mark.FROM_PROFILES not in field.metadata


def _of_ranks(config: Config) -> Iterator[tuple[str, str]]:
    ranks, method = config.ranks, config.method
    for key, needed in (("p", "geometric"), ("tail", "geometric"), ("weights", "custom")):
        if ranks.distribution != needed:
            yield f"ranks.{key}", f"ranks.distribution is {ranks.distribution}, not {needed}"
    if ranks.score is not None and not method.trains_ranks:
        yield "ranks.values", f"method '{method.name}' trains at r_max, and ranks.score is given"
    for key in method.unused_ranks:
        draws = "has no ranks" if "r_max" in method.unused_ranks else "draws no ranks by it"
        yield f"ranks.{key}", f"method '{method.name}' {draws}"


def _of_model(config: Config) -> Iterator[tuple[str, str]]:
    model, task = config.model, config.task
    if "r_max" in config.method.unused_ranks:
        for key in ("targets", "fused"):
            yield f"model.{key}", f"method '{config.method.name}' has no adapters"
    elif not _names_a_part(model):
        yield "model.fused", "none of model.targets is a part of a layer that it names"
    if not task.trains_head:
        reason = f"the head of a language model is not new in task '{task.name}'"
        yield from ((f"model.{key}", reason) for key in ("head", "drop_head"))
    elif not model.pretrained:
        yield "model.drop_head", "the whole model is new (model.pretrained is false)"
    if model.pretrained:
        yield "model.config", "the model has its own (model.pretrained is true)"
    if in_package(model.name_or_path) or _is_folder(model.name_or_path):
        yield "model.revision", f"'{model.name_or_path}' is no name of the hub"
    if model.tokenizer == model.name_or_path:
        yield "model.tokenizer", "it is that of the model itself"


def _names_a_part(model: ModelConfig) -> bool:
    """Return whether a target is a part of a fused layer, or may have been meant so."""
    if not model.fused:
        return any("." in target for target in model.targets)
    layers = [target.rpartition(".")[0] for target in model.targets]
    return any(f".{layer}".endswith(f".{name}") for layer in layers for name in model.fused)


def _is_folder(name: str) -> bool:
    return path_problem(name) is None and expand_user(name).is_dir()


def _of_task(config: Config) -> Iterator[tuple[str, str]]:
    task = config.task
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
    if task.held_out is not None:
        yield "task.eval_split", "a part of the training data is scored (task.held_out)"
    yield from ((f"task.{name}", reason) for name, reason in task.unused.items())


def _of_training(config: Config) -> Iterator[tuple[str, str]]:
    trainer, task = config.trainer, config.task
    if task.peft_task_type != "CAUSAL_LM":
        answers = f"the answers of task '{task.name}' are {task.scored}, not texts"
        yield "trainer.label_smoothing", answers
    if trainer.warmup_steps is not None:
        yield "trainer.warmup_ratio", f"trainer.warmup_steps is {trainer.warmup_steps}"
        if trainer.max_steps is not None and trainer.warmup_steps >= trainer.max_steps:
            steps = f"{trainer.warmup_steps} of {trainer.max_steps} steps"
            yield (
                "trainer.schedule",
                f"the learning rate rises in all steps (trainer.warmup_steps: {steps})",
            )
    if trainer.max_steps is not None:
        wanted = "trainer.max_steps=null trains whole epochs"
        yield "trainer.epochs", f"trainer.max_steps is {trainer.max_steps} ({wanted})"
    yield from ((f"method.{name}", reason) for name, reason in config.method.unused.items())


def _of_others(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the settings that only other methods and objectives have."""
    for group in GROUPS:
        chosen = getattr(config, group)
        for schema in settings_classes(group).values():
            for name in schema.model_fields:
                if not has_effect(type(chosen), name):
                    yield f"{group}.{name}", f"{group} '{chosen.name}' has no such setting"
