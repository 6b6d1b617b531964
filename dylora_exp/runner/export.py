"""One rank of a run as a standard PEFT adapter, loadable without this project.

An ordinary LoRA of rank b computes ``(lora_alpha / b) B A``. A DyLoRA trained at scale alpha/b
exports with ``lora_alpha = alpha``; a product scaled by alpha/r keeps its scale with
``lora_alpha = alpha * b / r``. The adapters of n parts of a fused layer become one of rank n b on
the stock model's layer, with ``lora_alpha`` n times as large.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import RequestError, check_writable, unknown_name
from dylora_exp.records import RankScore, Record, RecordStore

if TYPE_CHECKING:
    from torch import Tensor

    from dylora_exp.adapters import Factors, SavedAdapter
    from dylora_exp.config import Config
    from dylora_exp.models import Part

_CARD_NEIGHBOURS = 1
# Settings of a model that may name a folder; a record knows it by a digest of its files only.
_FOLDERS = ("name_or_path", "tokenizer")


# What tells an export, of an adapter and of a whole model; and what of others it would replace.
_EXPORTS = ({"README.md", "adapter_config.json"}, {"README.md", "config.json"})
_WRITTEN = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
_WRITTEN |= {"config.json", "model.safetensors"}


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
    from dylora_exp.adapters import read_adapter

    record = RecordStore(results_dir).find(run)
    entries = _entries(record, rank, truncation)
    folders = [folder / f"rank-{e.rank}" for e in entries] if rank == "all" else [folder]
    run_folder = outputs_dir / record.run_id
    for target in folders:
        if run_folder.resolve() in [target.resolve(), *target.resolve().parents]:
            raise RequestError(f"--to: '{target}' is in the run's own folder, choose another.")
        _check_target(target, force)
    saved = read_adapter(run_folder / "model", record)
    config = _config(record, run_folder, merge)
    for entry, target in zip(entries, folders, strict=True):
        check_writable(target.parent)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as place:
            made = Path(place) / "adapter"
            r = _write_adapter(made, config, entry, saved)
            if merge:
                made = _merge(made, Path(place) / "merged", config)
            (made / "README.md").write_text(model_card(record, entry, merge, r), encoding="utf-8")
            _put(made, target)
    return folders


def _check_target(target: Path, force: bool) -> None:
    """Refuse a file, and without force a folder that holds anything."""
    if target.exists() and not target.is_dir():
        raise RequestError(f"--to: '{target}' is a file, expected a folder.")
    if target.exists() and any(target.iterdir()) and not force:
        raise RequestError(
            f"--to: '{target}' is in use; --force puts the export there all the same, in the "
            "place of an earlier one."
        )
    names = {file.name for file in target.iterdir()} if target.exists() else set()
    if names & _WRITTEN and not any(kind <= names for kind in _EXPORTS):
        there = ", ".join(sorted(names & _WRITTEN))
        raise RequestError(
            f"--to: '{target}' is no earlier export but has {there}; choose another."
        )


def _put(made: Path, target: Path) -> None:
    """Put an export where it belongs; in a folder in use, other files than an export's stay."""
    if not target.exists():
        made.rename(target)
        return
    if _EXPORTS[0] <= {file.name for file in target.iterdir()}:
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (target / name).unlink(missing_ok=True)
    for file in made.iterdir():
        file.replace(target / file.name)


def truncate(a: Tensor, b: Tensor, rank: int, truncation: str) -> tuple[Tensor, Tensor]:
    """Return the factors of a rank: A (rank, d_in) and B (d_out, rank), as in the sweep."""
    from dylora_exp.adapters import singular_factors

    if truncation == "svd":
        a, b = singular_factors(a, b)
    return a[:rank].contiguous(), b[:, :rank].contiguous()


def stock_factors(
    factors: Factors, fused: Mapping[str, Sequence[str]] | None
) -> tuple[Factors, int]:
    """Return factors for the stock model's layers, where those of parts stood.

    Adapters of rank b of the parts q and v of one layer become ``A = [A_q; A_v]``, shape
    (2 b, d_in), and B, shape (3 d_out, 2 b), with B_q and B_v as blocks and zero rows for k.

    Args:
        factors: Of rank b, by layer or part of a layer.
        fused: The names of the parts of each fused layer.

    Returns:
        The factors, all of rank n b, and n, the largest number of adapted parts of a layer. Those
        of other layers are filled up with zeros: a plain LoRA has one rank.
    """
    from dylora_exp.models import Part, fused_part

    members: dict[str, list[tuple[Part, Tensor, Tensor]]] = {}
    for name, (a, b) in factors.items():
        part = fused_part(name, fused) or Part(name, 0, 1)
        members.setdefault(part.layer, []).append((part, a, b))
    width = max(len(parts) for parts in members.values())
    return {layer: _side_by_side(parts, width) for layer, parts in members.items()}, width


def _side_by_side(parts: list[tuple[Part, Tensor, Tensor]], width: int) -> tuple[Tensor, Tensor]:
    """Return A with the parts' rows one after the other, and B with the parts as blocks."""
    first, a, b = parts[0]
    d_out, rank = b.shape
    whole_a = a.new_zeros(width * rank, a.shape[1])
    whole_b = b.new_zeros(first.count * d_out, width * rank)
    for place, (part, a, b) in enumerate(parts):
        inner = slice(place * rank, (place + 1) * rank)
        whole_a[inner] = a
        whole_b[part.index * d_out : (part.index + 1) * d_out, inner] = b
    return whole_a, whole_b


def model_card(record: Record, entry: RankScore, merged: bool, r: int) -> str:
    """Return the README of an export: what it is, its scores, its neighbours', how to load it.

    Args:
        record: The run's.
        entry: The rank that is exported.
        merged: Whether the whole model was written.
        r: The rank as PEFT counts it.
    """
    model = record.config["model"]["name_or_path"]
    kind = "CausalLM" if record.config["task"].get("decode") else "SequenceClassification"
    whole, part = f"AutoModelFor{kind}.from_pretrained(FOLDER)", "PeftModel.from_pretrained"
    loading = whole if merged else f"{part}(base_model, FOLDER)"
    made = "Model with a merged" if merged else "LoRA"
    front = {"base_model": model, "library_name": "transformers" if merged else "peft"}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---", ""]
    lines += [
        f"# {made} adapter of rank {entry.rank} for {record.task}",
        "",
        f"Rank {entry.rank} of one {record.method} training at rank {_r_max(record)} "
        f"(run `{record.run_id}`, seed {record.seed}, profile {record.profile}), made by "
        f"{entry.truncation} truncation at scale {entry.scale}.",
        f"Load it with `{loading}`.",
        *_remarks(record, entry, merged, r),
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


def _remarks(record: Record, entry: RankScore, merged: bool, r: int) -> list[str]:
    """Return what one has to know before loading it."""
    remarks = []
    if r != entry.rank:
        remarks.append(f"PEFT calls its rank {r}: adapted parts of one layer stand side by side.")
    if not merged and not record.config["model"]["pretrained"]:
        remarks.append(
            f"Its base model has random weights (seed {record.seed}); `dylora export --merge` "
            "makes them again."
        )
    return remarks


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
    cuts = [entry for entry in record.ranks if entry.rank is not None]
    if not cuts:
        raise RequestError(f"run {record.run_id} is of method {record.method}, without ranks.")
    made = list(dict.fromkeys(entry.truncation or "" for entry in cuts))
    wanted = truncation or ("svd" if "svd" in made else made[0])
    if wanted not in made:
        raise RequestError(unknown_name("--truncation", wanted, made))
    chosen: dict[str, RankScore] = {}
    for entry in cuts:
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


def _config(record: Record, run_folder: Path, merge: bool) -> Config:
    """Return the run's config; to merge, with the folders in which the run found its model.

    Raises:
        RequestError: When the model to merge into cannot be had any more.
    """
    from dylora_exp.config import identity, load

    config = load(record.config)
    if not merge:
        return config
    named = record.config["model"]
    local = [field for field in _FOLDERS if str(named.get(field)).startswith("local:")]
    folders = _noted_folders(run_folder)
    config.hub_cache = folders.get("hub_cache")
    for field in local:
        setattr(config.model, field, folders.get(field, named[field]))
    found = identity(config)["model"]
    if any(field not in folders or found[field] != named[field] for field in local):
        raise RequestError(
            f"--merge: the model folder that run {record.run_id} was made from is not there any "
            "more, or holds other files; export without --merge."
        )
    used = {name: record.environment.get(name) for name in ("torch", "transformers")}
    here = {name: metadata.version(name) for name in used}
    if not config.model.pretrained and used != here:
        raise RequestError(
            f"--merge: the random weights of the run's model are those of torch {used['torch']} "
            f"and transformers {used['transformers']}, here are {here['torch']} and "
            f"{here['transformers']}."
        )
    return config


def _noted_folders(run_folder: Path) -> dict[str, str]:
    """Return where the run found its model, empty where its note is gone."""
    try:
        return dict(json.loads((run_folder / "folders.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _write_adapter(folder: Path, config: Config, entry: RankScore, saved: SavedAdapter) -> int:
    """Write an adapter for the stock model and return its rank as PEFT counts it."""
    from safetensors.torch import save_file

    from dylora_exp.adapters import A_KEY, B_KEY, SETTINGS, WEIGHTS
    from dylora_exp.methods import make_method
    from dylora_exp.models import fused_part

    assert entry.rank is not None
    scale = make_method(config).row_scale()
    cut = {}
    for layer, (a, b) in saved.factors.items():
        scaled = a if scale is None else (scale[:, None] * a).to(a.dtype)
        cut[layer] = truncate(scaled, b, entry.rank, entry.truncation or "leading")
    fused = config.model.fused
    stock, width = stock_factors(cut, fused)
    alpha = config.method.alpha
    if entry.scale == "alpha/r":
        alpha *= entry.rank / config.ranks.r_max
    parts = {name: fused_part(name, fused) for name in saved.settings["target_modules"]}
    made = {
        **saved.settings,
        "r": width * entry.rank,
        "lora_alpha": width * alpha,
        "target_modules": sorted({part.layer if part else name for name, part in parts.items()}),
    }
    tensors = dict(saved.head)
    for layer, (a, b) in stock.items():
        tensors |= {layer + A_KEY: a, layer + B_KEY: b}
    folder.mkdir()
    (folder / SETTINGS).write_text(json.dumps(made, indent=2, sort_keys=True), "utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    return int(made["r"])


def _merge(adapter: Path, folder: Path, config: Config) -> Path:
    """Fold an adapter into its model and save both model and tokenizer."""
    from peft import PeftModel
    from transformers import set_seed

    from dylora_exp.config import outputs
    from dylora_exp.models import load
    from dylora_exp.runner.environment import quiet_libraries

    quiet_libraries()
    # As the run did before it loaded its model: weights that are not pretrained follow from it.
    set_seed(config.seed)
    backbone, tokenizer = load(config.model, outputs(config.task), config.hub_cache)
    merged = PeftModel.from_pretrained(backbone, str(adapter)).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
