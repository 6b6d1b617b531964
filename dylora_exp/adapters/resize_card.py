"""The README of an adapter that was lowered in rank."""

from __future__ import annotations

import json
import re
from importlib import metadata

from dylora_exp.adapters.resized import Resized


def resize_card(resized: Resized) -> str:
    """Return the README: what the adapter was made from and how, and what each layer kept."""
    source, settings = resized.source, resized.source.settings
    base = settings.base_model_name_or_path
    front = ["library_name: peft", "tags:", "- lora"]
    if base and _is_hub_id(base):
        front.insert(0, f"base_model: {json.dumps(base)}")
    dropped = sum(not layer.rank for layer in resized.layers)
    lines = [
        *("---", *front, "---", ""),
        f"# LoRA lowered to {resized.choice}",
        "",
        f"Made from the LoRA `{source.path.resolve().name}`"
        + (f" of `{base}`" if base else "")
        + f" by dylora-exp {metadata.version('dylora-exp')}: each layer's product is cut to its "
        "largest singular values, worked out in float64 and saved as "
        f"{resized.dtype or 'the type that it had'}. "
        f"{resized.parameters:,} of {source.parameters:,} adapter parameters keep "
        f"{100 * resized.energy:.2f} % of the squared singular values of all layers.",
        *([f"{dropped} layers have no rank left and are not adapted."] if dropped else []),
        *(
            [f"All layers are padded with zeros to rank {resized.r}, for servers that need one."]
            if resized.uniform
            else []
        ),
        "Load it with `PeftModel.from_pretrained(base_model, FOLDER)`.",
        "",
        "| file it was made from | sha256 |",
        "|---|---|",
        *(f"| `{name}` | `{digest}` |" for name, digest in source.checksums().items()),
        "",
        "## Ranks",
        "",
        "The error is that of the layer's product, relative, in the Frobenius norm.",
        "",
        "| layer | r before | rank | error |",
        "|---|--:|--:|--:|",
        *(f"| `{e.name}` | {e.r} | {e.rank} | {e.error:.4f} |" for e in resized.layers),
        "",
    ]
    return "\n".join(lines)


def _is_hub_id(name: str) -> bool:
    """Return whether a base's name is one of the hub, as far as a name can tell."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None
