"""One rank of a run as a standard PEFT adapter, loadable without this project.

An ordinary LoRA of rank b computes ``(lora_alpha / b) B A``. A DyLoRA trained at scale alpha/b
exports with ``lora_alpha = alpha``; a product scaled by alpha/r keeps its scale with
``lora_alpha = alpha * b / r``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dylora_exp.errors import RequestError, unknown
from dylora_exp.records import RankScore, Record, RecordStore, check_writable

WEIGHTS = "adapter_model.safetensors"
SETTINGS = "adapter_config.json"
_CARD_NEIGHBOURS = 1


def export(
    run: str,
    rank: str,
    folder: Path,
    results_dir: Path,
    outputs_dir: Path,
    truncation: str | None = None,
    merge: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write ranks of a completed run as PEFT adapters, or merged into their model.

    Args:
        run: A run id or the beginning of one.
        rank: A scored rank, or ``all``.
        folder: What to write; with ``all`` the parent of ``rank-1``, ``rank-2``, ...
        results_dir: Where the run's record lies.
        outputs_dir: Where the run's folder lies.
        truncation: ``leading`` or ``svd``; by default ``svd`` where the run has scored it.
        merge: Whether to write the whole model instead of an adapter.
        force: Whether to replace what lies in the folder.

    Returns:
        The folders written.

    Raises:
        RequestError: When the run or its adapter is not there, did not complete, has no such rank,
            or a folder is in use.
    """
    record = RecordStore(results_dir).find(run)
    entries = _entries(record, rank, truncation)
    folders = [folder / f"rank-{e.rank}" for e in entries] if rank == "all" else [folder]
    for target in folders:
        if target.exists() and not (target.is_dir() and (force or not any(target.iterdir()))):
            raise RequestError(f"--to: '{target}' is in use; --force replaces a folder.")
        check_writable(target.parent)
    settings, tensors = _read_adapter(outputs_dir / record.run_id / "model")
    for entry, target in zip(entries, folders, strict=True):
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as place:
            made = Path(place) / "adapter"
            _write_adapter(made, record, entry, settings, tensors)
            if merge:
                made = _merge(made, Path(place) / "merged", record)
            (made / "README.md").write_text(model_card(record, entry, merge), encoding="utf-8")
            if target.exists():
                shutil.rmtree(target)
            made.rename(target)
    return folders


def truncate(a: Any, b: Any, rank: int, truncation: str) -> tuple[Any, Any]:
    """Return the factors of a rank: A (rank, d_in) and B (d_out, rank), as in the sweep."""
    from dylora_exp.methods.adapters import singular_factors

    if truncation == "svd":
        a, b = singular_factors(a, b)
    return a[:rank].contiguous(), b[:, :rank].contiguous()


def model_card(record: Record, entry: RankScore, merged: bool) -> str:
    """Return the README of an export: what it is, its scores, its neighbours', how to load it."""
    model = record.config["model"]["name_or_path"]
    loading = (
        "AutoModelForSequenceClassification.from_pretrained(FOLDER)"
        if merged
        else "PeftModel.from_pretrained(base_model, FOLDER)"
    )
    kind = "Model with a merged" if merged else "LoRA"
    front = {"base_model": model, "library_name": "transformers" if merged else "peft"}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    lines += [
        f"# {kind} adapter of rank {entry.rank} for {record.task}",
        "",
        f"Rank {entry.rank} of one {record.method} training at rank {_r_max(record)} "
        f"(run `{record.run_id}`, seed {record.seed}, profile {record.profile}), made by "
        f"{entry.truncation} truncation at scale {entry.scale}.",
        f"Load it with `{loading}`.",
        "",
        "## Scores on the development set",
        "",
        *_score_lines(record, entry),
        "",
        "## How it was trained",
        "",
        "```json",
        json.dumps(record.config, indent=2, sort_keys=True),
        "```",
        "",
    ]
    return "\n".join(lines)


def _score_lines(record: Record, entry: RankScore) -> list[str]:
    """Return a Markdown table of this rank and its neighbours."""
    assert entry.rank is not None
    names = sorted(entry.metrics)
    lines = [f"| rank | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for other in record.ranks:
        same_way = (other.truncation, other.scale) == (entry.truncation, entry.scale)
        if same_way and abs((other.rank or 0) - entry.rank) <= _CARD_NEIGHBOURS:
            values = [other.metrics.get(name) for name in names]
            cells = ["undefined" if value is None else f"{value:.4f}" for value in values]
            rank = f"**{other.rank}**" if other.rank == entry.rank else str(other.rank)
            lines.append(f"| {rank} | {' | '.join(cells)} |")
    return lines


def _entries(record: Record, rank: str, truncation: str | None) -> list[RankScore]:
    """Return the scored ways asked for: svd where the run has it, else its first."""
    if record.status != "completed":
        raise RequestError(f"run {record.run_id} is {record.status}, not completed.")
    ways = [entry for entry in record.ranks if entry.rank is not None]
    if not ways:
        raise RequestError(f"run {record.run_id} is of method {record.method}, without ranks.")
    made = list(dict.fromkeys(entry.truncation or "" for entry in ways))
    wanted = truncation or ("svd" if "svd" in made else made[0])
    if wanted not in made:
        raise RequestError(unknown("--truncation", wanted, made))
    chosen: dict[str, RankScore] = {}
    for entry in ways:
        if entry.truncation == wanted:
            chosen.setdefault(str(entry.rank), entry)
    if rank == "all":
        return list(chosen.values())
    if rank not in chosen:
        names = ", ".join(chosen)
        raise RequestError(f"--rank: found {rank}, the run has scored ranks {names}.")
    return [chosen[rank]]


def _r_max(record: Record) -> int:
    return int(record.config["ranks"]["r_max"])


def _read_adapter(folder: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        return settings, load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise RequestError(f"{error.filename}: not there; run again to make it.") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(f"{folder}: not a saved adapter ({error}).") from None


def _write_adapter(
    folder: Path,
    record: Record,
    entry: RankScore,
    settings: dict[str, Any],
    tensors: Mapping[str, Any],
) -> None:
    from safetensors.torch import save_file

    assert entry.rank is not None
    cut = dict(tensors)
    for name in tensors:
        if name.endswith("lora_A.weight"):
            pair = name.replace("lora_A", "lora_B")
            if pair not in tensors:
                raise RequestError(f"{WEIGHTS}: '{pair}' is missing beside '{name}'.")
            cut[name], cut[pair] = truncate(
                tensors[name], tensors[pair], entry.rank, entry.truncation or "leading"
            )
    alpha = float(record.config["method"]["alpha"])
    if entry.scale == "alpha/r":
        alpha *= entry.rank / _r_max(record)
    folder.mkdir()
    made = {**settings, "r": entry.rank, "lora_alpha": alpha}
    (folder / SETTINGS).write_text(json.dumps(made, indent=2, sort_keys=True), "utf-8")
    save_file(cut, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)


def _merge(adapter: Path, folder: Path, record: Record) -> Path:
    """Fold an adapter into its model and save both model and tokenizer."""
    from peft import PeftModel

    from dylora_exp.config import ModelConfig
    from dylora_exp.environment import quiet_libraries
    from dylora_exp.models.backbone import load

    quiet_libraries()
    labels = len(record.config["task"]["labels"]) or 1
    backbone, tokenizer = load(ModelConfig(**record.config["model"]), labels)
    merged = PeftModel.from_pretrained(backbone, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
