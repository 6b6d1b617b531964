"""What the hub reads of a model card: its front matter, by the hub's own classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from dylora_exp import metrics
from dylora_exp.config import CONF_DIR, Config, options
from dylora_exp.core import hub_name
from dylora_exp.records import RankScore, Record

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_SPLITS = {"dev": "validation", "test": "test", None: "validation"}


@dataclass(frozen=True)
class Exported:
    """A rank of a run that is exported.

    Attributes:
        record: The run's.
        entry: The rank, its cut and its scores.
        config: The run's, with the model's folders on this machine.
        merged: Whether the whole model was written.
        r: The rank as PEFT counts it.
        has_tokenizer: Whether the tokenizer's files are there as well.
        cut_remark: What one has to know of the method's cut.
    """

    record: Record
    entry: RankScore
    config: Config
    merged: bool
    r: int
    has_tokenizer: bool
    cut_remark: str | None = None

    @property
    def base_on_hub(self) -> str | None:
        """The base's name on the hub; None for a local one, and for random weights."""
        if not self.record.config["model"].get("pretrained", True):
            return None
        return hub_name(self.record.config["model"]["name_or_path"])


def front_matter(exported: Exported) -> ModelCardData:
    """Return what the hub is told of an export: its base, tags, data, language and scores."""
    from huggingface_hub import ModelCardData

    record, task, base = exported.record, exported.config.task, exported.base_on_hub
    tags = ["lora", "dylora", record.method]
    if base is not None:
        tags.append(f"base_model:{'finetune' if exported.merged else 'adapter'}:{base}")
    data = hub_name(task.hub.path) if task.hub else None
    found = _eval_results(exported, data)
    return ModelCardData(
        base_model=base,
        library_name="transformers" if exported.merged else "peft",
        pipeline_tag=task.pipeline_tag,
        tags=tags,
        datasets=[data] if data else None,
        language=record.language or _language(record.task),
        model_name=f"{record.task}-{record.method}-rank-{exported.entry.rank}" if found else None,
        eval_results=found or None,
    )


def _eval_results(exported: Exported, data: str | None) -> list[EvalResult]:
    """Return the scores of the rank that are defined, as the hub's model index has them.

    Args:
        exported: The rank.
        data: The name of the task's data on the hub; None where they are not there.
    """
    from huggingface_hub import EvalResult

    task, record = exported.config.task, exported.record
    part = {"max_eval_samples": task.max_eval_samples} if task.max_eval_samples else None
    return [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type=data or record.task,
            dataset_name=record.task,
            dataset_config=task.hub.name if data and task.hub else None,
            dataset_split=task.hub.eval if task.hub else _SPLITS[task.eval_split],
            dataset_args=part,
            metric_type=metrics.hub_name(name),
            metric_name=metrics.title(name),
            metric_value=value,
        )
        for name, value in sorted(exported.entry.metrics.items())
        if value is not None
    ]


def _language(task: str) -> str | None:
    """Return the language of a task of the project, for records that do not say it."""
    if task not in options("task"):
        return None
    found = OmegaConf.select(OmegaConf.load(CONF_DIR / "task" / f"{task}.yaml"), "language")
    return None if found is None else str(found)
