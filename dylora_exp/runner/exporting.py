"""Ranks of a run as standard PEFT adapters or merged models, loadable without this project."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.core import (
    RequestError,
    apply_umask,
    echo_in_terminal,
    export_folder,
    one_line,
)
from dylora_exp.records import Record, RecordStore
from dylora_exp.runner.card_metadata import Exported
from dylora_exp.runner.exported_ranks import choose_scores
from dylora_exp.runner.model_card import model_card

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dylora_exp.adapters import SavedAdapter
    from dylora_exp.config import Config

# Settings of a model that may name a folder; a record knows it by a digest of its files only.
_FOLDERS = ("name_or_path", "tokenizer")

# What an export reads of a record's config.
_NEEDED = (("model", "name_or_path"), ("model", "pretrained"), ("ranks", "r_max"))


def export(
    run: str,
    rank: str,
    folder: Path,
    results_dir: Path,
    outputs_dir: Path,
    truncation: str | None = None,
    scale: str | None = None,
    merge: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write ranks of a completed run as PEFT adapters, or merged into their model.

    Args:
        run: A run id or the beginning of one.
        rank: A scored rank, ``recommended``, ``best`` or ``all``.
        folder: What to write; with ``all`` the parent of ``rank-1``, ``rank-2``, ...
        results_dir: Where the run's record lies.
        outputs_dir: Where the run's folder lies.
        truncation: How ranks are cut; by default as the run's verdict names it.
        scale: Their scale; by default the first that was scored with the truncation.
        merge: Whether to write the whole model instead of an adapter.
        force: Whether to replace what lies in the folder.

    Returns:
        The folders written.

    Raises:
        RequestError: When the run or its adapter is not there, did not complete, has no such rank,
            or a folder is in use.
    """
    record = RecordStore(results_dir).find(run)
    _check_config(record)
    entries = choose_scores(record, rank, truncation, scale)
    folders = [folder / f"rank-{e.rank}" for e in entries] if rank == "all" else [folder]
    run_folder = outputs_dir / record.run_id
    for target in folders:
        if run_folder.resolve() in [target.resolve(), *target.resolve().parents]:
            raise RequestError(f"--to: '{target}' is in the run's own folder, choose another.")
        export_folder.clean_up(target.parent)
        export_folder.check_target(target, force)
    # Importing torch takes seconds.
    echo_in_terminal(one_line(f"run {record.run_id}: loading its adapter of {record.model} ..."))
    from dylora_exp.adapters import export_rank, read_adapter, write_adapter
    from dylora_exp.methods import make_method
    from dylora_exp.models import Layout
    from dylora_exp.runner.merging import merge as merge_adapter

    saved = read_adapter(run_folder / "model", record)
    base = _find_base(record, run_folder)
    if merge:
        _check_merge(record, base)
    config, tokenizer = base.config, None if merge else base.tokenizer()
    method = make_method(config)
    layouts = {
        name: Layout(noted["groups"], tuple(noted["widths"]))
        for name, noted in record.training.get("fused_layouts", {}).items()
    }
    for entry, target in zip(entries, folders, strict=True):
        source, cut = method.saved_at(run_folder / "model", saved, entry)
        adapter = export_rank(
            source, cut, config.method.alpha, config.model.fused, method.row_scale(), layouts
        )
        with export_folder.work_folder(target) as work:
            written = work / "adapter"
            write_adapter(written, _without_copies(adapter, base.name()))
            if merge:
                written = merge_adapter(written, work / "merged", config)
            elif tokenizer is not None:
                tokenizer.save_pretrained(written)
                apply_umask(written)
            exported = Exported(
                record=record,
                entry=entry,
                config=config,
                merged=merge,
                r=adapter.settings["r"],
                has_tokenizer=tokenizer is not None,
                cut_remark=method.cut_remark(entry.truncation),
            )
            (written / "README.md").write_text(model_card(exported), encoding="utf-8")
            export_folder.replace(target, written)
    return folders


def _check_config(record: Record) -> None:
    """Refuse a record whose config is not whole: what to export follows from it.

    Raises:
        RequestError: Naming what is missing or wrong.
    """
    from dylora_exp.config import load

    problems = []
    for group, key in _NEEDED:
        found = record.config.get(group)
        if not isinstance(found, dict) or found.get(key) is None:
            problems.append(f"{group}.{key}: found nothing, expected a value.")
    try:
        load(record.config)
    except RequestError as error:
        problems += error.problems
    if problems:
        beginning = f"run {record.run_id}: the config in its record is not whole"
        raise RequestError(f"{beginning}: {problem}" for problem in dict.fromkeys(problems))


def _without_copies(adapter: SavedAdapter, base: str) -> SavedAdapter:
    """Return an adapter whose settings name each saved module once, and the base as found here.

    PEFT adds the usual names of heads to those that are there, whether the model has them or not.
    """
    names = adapter.settings.get("modules_to_save") or []
    saved = [n for n in dict.fromkeys(names) if any(f".{n}." in name for name in adapter.head)]
    settings = {"modules_to_save": saved or None, "base_model_name_or_path": base}
    return dataclasses.replace(adapter, settings={**adapter.settings, **settings})


@dataclass(frozen=True)
class _Base:
    """The base of a run on this machine.

    Attributes:
        config: The run's, with the folders in which it found its model.
        is_there: Whether the model's folders are there and hold the same files.
    """

    config: Config
    is_there: bool

    def name(self) -> str:
        """Return what stock libraries find the base by: its name on the hub, or a folder."""
        from dylora_exp.models import resolve

        name = self.config.model.name_or_path
        if not self.is_there:
            return name
        try:
            location = resolve(self.config.model)
        except RequestError:  # a package that is not installed
            return name
        return str(Path(location).resolve()) if Path(location).is_dir() else location

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """Return the tokenizer of the run; None where it is not on this machine."""
        from dylora_exp.models import load_tokenizer

        if not self.is_there:
            return None
        try:
            return load_tokenizer(self.config.model, self.config.hub_cache, ask_hub=False)
        except RequestError:
            return None


def _find_base(record: Record, run_folder: Path) -> _Base:
    """Return the base of a run."""
    from dylora_exp.config import identity, load

    config = load(record.config)
    named = record.config["model"]
    local = [field for field in _FOLDERS if str(named.get(field)).startswith("local:")]
    folders = _noted_folders(run_folder)
    config.hub_cache = folders.get("hub_cache")
    for field in local:
        setattr(config.model, field, folders.get(field, named[field]))
    found = identity(config)["model"]
    return _Base(config, all(field in folders and found[field] == named[field] for field in local))


def _check_merge(record: Record, base: _Base) -> None:
    """Refuse to merge into a model that is gone or has changed.

    Raises:
        RequestError: When it is.
    """
    if not base.is_there:
        raise RequestError(
            f"--merge: the model folder that run {record.run_id} was made from is not there any "
            "more, or holds other files; export without --merge."
        )
    used = {name: record.environment.get(name) for name in ("torch", "transformers")}
    here = {name: metadata.version(name) for name in used}
    if not base.config.model.pretrained and used != here:
        raise RequestError(
            f"--merge: the random weights of the run's model are those of torch {used['torch']} "
            f"and transformers {used['transformers']}, here are {here['torch']} and "
            f"{here['transformers']}."
        )


def _noted_folders(run_folder: Path) -> dict[str, str]:
    """Return the folders in which the run found its model, empty where they were not kept."""
    try:
        return dict(json.loads((run_folder / "folders.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
