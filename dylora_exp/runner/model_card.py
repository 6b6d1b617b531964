"""The README of an exported rank."""

from __future__ import annotations

import json

from dylora_exp.core import markdown_cell, markdown_text
from dylora_exp.records import RankScore, Record, rank_verdict
from dylora_exp.runner.card_metadata import Exported, front_matter

_NEIGHBOURS = 1


def model_card(exported: Exported) -> str:
    """Return the README of an export: what it is, its scores, its neighbours', how to load it."""
    record, entry = exported.record, exported.entry
    verdict = rank_verdict([record])
    kind = "Model with a merged" if exported.merged else "LoRA"
    split = "test" if exported.config.task.eval_split == "test" else "development"
    lines = [
        "---",
        front_matter(exported).to_yaml(),
        "---",
        "",
        f"# {kind} adapter of rank {entry.rank} for {markdown_text(record.task)}",
        "",
        f"Rank {entry.rank} of {_subject(record)} (run `{record.run_id}`, seed {record.seed}, "
        f"profile {markdown_text(record.profile)}), made by {entry.truncation} truncation at scale "
        f"{entry.scale}.",
        *([f"Of all its ranks: {verdict.sentence}."] if verdict else []),
        *_loading(exported),
        *_remarks(exported),
        *filter(None, [exported.cut_remark]),
        "",
        f"## Scores on the {split} set",
        "",
        *_scores(record, entry),
        "",
        *_origin(record),
    ]
    return "\n".join(lines)


def _loading(exported: Exported) -> list[str]:
    """Return how to load it; without the number of outputs PEFT would take the base's own."""
    task = exported.config.task
    auto_class = task.auto_model_class
    if exported.merged:
        return [f"Load it with `{auto_class}.from_pretrained(FOLDER)`.", *_merged_into(exported)]
    arguments = ["FOLDER"]
    if task.number_of_outputs is not None:
        arguments.append(f"num_labels={task.number_of_outputs}")
        if exported.config.model.drop_head:
            arguments.append("ignore_mismatched_sizes=True")
    return [
        "Load it with `PeftModel.from_pretrained(base_model, FOLDER)`, or where PEFT finds the "
        f"base by its name in `adapter_config.json`, with `{auto_class.replace('Auto', 'AutoPeft')}"
        f".from_pretrained({', '.join(arguments)})`, {_precision(exported)}"
    ]


def _precision(exported: Exported) -> str:
    """Return in which precision the base is to be loaded, as the end of a sentence."""
    model = exported.config.model
    name = {"float32": "single precision"}.get(model.dtype, model.dtype)
    if model.quantization == "none":
        return f"the base in {name} (`dtype=torch.{model.dtype}`), in which it was scored."
    options = {
        "int8": "load_in_8bit=True",
        "nf4": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", '
        f"bnb_4bit_compute_dtype=torch.{model.dtype}",
    }
    return (
        f"the base quantised ({model.quantization}), as it was trained and scored: "
        f"`quantization_config=BitsAndBytesConfig({options[model.quantization]}), "
        f"dtype=torch.{model.dtype}`. It also loads on the full base, where its scores may differ."
    )


def _merged_into(exported: Exported) -> list[str]:
    """Return a sentence about the weights that an adapter was merged into, if they are no others'.

    These are the base's own in single precision.
    """
    model = exported.config.model
    if model.quantization != "none":
        return [
            f"It was trained over a quantised base ({model.quantization}) and is merged into the "
            "dequantised weights, the values that the quantised ones stand for, in single "
            "precision: not into the full weights of the base."
        ]
    if model.dtype != "float32":
        return [
            f"It was trained and scored in {model.dtype}, and is merged and saved in single "
            "precision, which rounds nothing."
        ]
    return []


def _subject(record: Record) -> str:
    """Return what the rank is cut from."""
    r_max = record.config["ranks"]["r_max"]
    if "imported" in record.training:
        return f"an adapter of rank {r_max} that was trained elsewhere and imported"
    return f"one {markdown_text(record.method)} training at rank {r_max}"


def _origin(record: Record) -> list[str]:
    """Return the section on the training, or on where an adapter comes from that had none here."""
    config, imported = record.config, record.training.get("imported")
    lines = ["## How it was trained", ""]
    if imported is not None:
        opening = "It was not trained here. What was imported, with the sha256 of its files:"
        lines = ["## Where it comes from", "", opening, "", *_json(imported), ""]
        lines += ["How it was scored:", ""]
        config = {group: value for group, value in config.items() if group != "trainer"}
    return [*lines, *_json(config), ""]


def _json(tree: object) -> list[str]:
    return ["```json", json.dumps(tree, indent=2, sort_keys=True), "```"]


def _remarks(exported: Exported) -> list[str]:
    """Return what one has to know before loading it."""
    remarks, model, entry = [], exported.record.config["model"], exported.entry
    if entry.layer_ranks is not None:
        ranks = entry.layer_ranks.values()
        remarks.append(
            f"Its layers have ranks of their own, from {min(ranks)} to {max(ranks)}, together of "
            f"no more parameters than rank {entry.rank} in every layer."
        )
    elif exported.r != entry.rank:
        remarks.append(
            f"PEFT calls its rank {exported.r}: adapted parts of one layer stand side by side."
        )
    if not model.get("pretrained", True):
        if not exported.merged:
            remarks.append(
                f"Its base model has random weights (seed {exported.record.seed}); `dylora export "
                "--merge` makes them again."
            )
    elif exported.base_on_hub is None:
        remarks.append(
            f"Its base model is {exported.record.model} (`{model['name_or_path']}`), which has no "
            "name on the hub."
        )
    if not exported.merged and not exported.has_tokenizer:
        remarks.append("Its tokenizer is that of the base; it was not here to be copied.")
    return remarks


def _scores(record: Record, entry: RankScore) -> list[str]:
    """Return the lines of a Markdown table of this rank and its neighbours."""
    assert entry.rank is not None
    names = sorted(entry.metrics)
    lines = [f"| rank | {' | '.join(map(markdown_cell, names))} |", "|---" * (1 + len(names)) + "|"]
    for other in record.ranks:
        same_cut = (other.truncation, other.scale) == (entry.truncation, entry.scale)
        if same_cut and abs((other.rank or 0) - entry.rank) <= _NEIGHBOURS:
            values = [other.metrics.get(name) for name in names]
            cells = ["undefined" if value is None else f"{value:.4f}" for value in values]
            rank = f"**{other.rank}**" if other.rank == entry.rank else str(other.rank)
            lines.append(f"| {rank} | {' | '.join(cells)} |")
    return lines
