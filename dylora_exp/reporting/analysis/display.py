"""Names for people: of methods, cuts, tasks and metrics, and the unit that scores are shown in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dylora_exp.config import cut_name
from dylora_exp.metrics import display_factor, title
from dylora_exp.reporting.analysis.groups import Group, Series

METHOD_NAMES = {
    "lora": "LoRA",
    "dylora": "DyLoRA",
    "dylora-frozen": "DyLoRA (Frozen)",
    "qdylora": "QDyLoRA",
    "released-code": "DyLoRA (Released code)",
    "nested-dropout": "Nested dropout",
    "matryoshka": "Matryoshka",
    "matryoshka-released": "Matryoshka (as released)",
    "sorted-lora": "Sorted LoRA",
    "finetune": "Fine-tune",
    "flop": "FLOP",
    "imported": "Imported LoRA",
    "lora-nuclear": "LoRA (nuclear norm)",
    "lora-squeeze": "LoRA-Squeeze",
    "lora-continued": "LoRA (continued)",
    "dylora-distilled": "DyLoRA (distilled)",
    "dylora-weighted": "DyLoRA (weighted losses)",
    "dylora-row-rates": "DyLoRA (row rates)",
    "droplora": "DropLoRA",
    "sorted-lora-repeated": "Sorted LoRA (repeated)",
}
TASK_NAMES = {
    **{"mrpc": "MRPC", "sst2": "SST-2", "cola": "CoLA", "mnli": "MNLI", "qnli": "QNLI"},
    **{"qqp": "QQP", "rte": "RTE", "stsb": "STS-B", "e2e": "E2E", "dart": "DART"},
    **{"webnlg": "WebNLG", "demo-e2e": "demo E2E", "demo-webnlg": "demo WebNLG"},
    **{"gsm8k": "GSM8K", "metamath": "MetaMathQA"},
}


def method_name(name: str) -> str:
    """Return a method's name in print; one that is not the project's stays as it is."""
    return METHOD_NAMES.get(name, name)


def task_name(name: str) -> str:
    """Return a task's name in print; one that is not the project's stays as it is."""
    return TASK_NAMES.get(name, name)


def rank_list(ranks: Sequence[int]) -> str:
    """Return ascending ranks in words, those that follow each other as ``1–8``."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    words = [f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(words)}"


def subject_name(subject: tuple[str, str, str]) -> str:
    """Return profile, model and task in print."""
    profile, model, task = subject
    return f"{task_name(task)}, {model} ({profile})"


def group_name(group: Group) -> str:
    """Return a group's method in print, with the settings in which it differs from its siblings."""
    name = method_name(group.names[3])
    return f"{name} [{group.variant}]" if group.variant else name


def series_name(series: Series) -> str:
    """Return a series' method in print, with its settings and its cut."""
    cut = cut_name(series.truncation, series.scale)
    return f"{group_name(series.group)} ({cut})" if cut else group_name(series.group)


def chart_names(series: Sequence[Series]) -> list[str]:
    """Return the names of series that share a chart, with settings only where they are needed."""
    short = [
        method_name(one.group.names[3])
        + (f" ({cut_name(one.truncation, one.scale)})" if one.cut else "")
        for one in series
    ]
    counts = Counter(short)
    return [
        name if counts[name] == 1 else series_name(one)
        for name, one in zip(short, series, strict=True)
    ]


def factor(series: Series) -> float:
    """Return what a series' scores are multiplied with where they are shown, as tables do."""
    reader = series.group.records[0].config.get("task", {}).get("reader")
    return float(display_factor(series.metric, reader if isinstance(reader, str) else None))


def metric_name(series: Series) -> str:
    """Return the metric in print with its unit, as ``F1 (%)``."""
    return title(series.metric) + (" (%)" if factor(series) == 100 else "")
