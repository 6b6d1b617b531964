"""``adapter_config.json`` of a LoRA that PEFT saved: what it says, and what is refused by name.

Only a plain LoRA on an unchanged base is ``scale * B A``. What computes anything else is refused,
with what can be done about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from dylora_exp.core import RequestError, StrictModel, parse, reading

SETTINGS = "adapter_config.json"

MERGE = "merge it into its base instead (PEFT's merge_and_unload)"
PLAIN = "train it as a plain LoRA"
# Settings that make a layer compute something else than scale * B A, and what can be done then.
VARIANTS = {
    "use_dora": "DoRA's magnitudes depend on the base and PEFT's convert_to_lora drops them; "
    + MERGE,
    "lora_bias": f"PEFT's convert_to_lora refuses the bias of B, too; {MERGE}",
    "use_qalora": f"PEFT's convert_to_lora drops QA-LoRA's groups; {MERGE}",
    "alora_invocation_tokens": f"an activated LoRA computes only after its tokens; {PLAIN}",
    "trainable_token_indices": f"trained tokens are no LoRA; {MERGE}",
    "target_parameters": "factors of bare parameters, such as a mixture's experts, belong to no "
    f"linear layer; {MERGE}",
    "megatron_config": "Megatron's parallel layers hold parts of the factors; save it from one "
    "process as a plain LoRA",
    "use_bdlora": "BD-LoRA's factors are block-diagonal; " + MERGE,
    "arrow_config": "Arrow mixes several adapters; resize each of them",
    "kasa_config": f"KaSA changes the base, and PEFT's convert_to_lora refuses it, too; {PLAIN}",
    "monteclora_config": f"MonteCLoRA draws its factors at random; {PLAIN}",
}
# Initialisations that take the adapter's first values out of the base's weights.
_ALTERS_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")


class AdapterSettings(StrictModel):
    """What ``adapter_config.json`` says; what PEFT ignores in it is ignored here, too."""

    model_config = pydantic.ConfigDict(extra="ignore")

    peft_type: str
    r: Annotated[int, pydantic.Field(ge=1)]
    lora_alpha: float
    use_rslora: bool | None = False
    lora_dropout: float | None = 0.0
    rank_pattern: dict[str, Annotated[int, pydantic.Field(ge=1)]] | None = None
    alpha_pattern: dict[str, float] | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    layer_replication: list[list[int]] | None = None
    modules_to_save: list[str] | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    task_type: str | None = None
    fan_in_fan_out: bool | None = False
    bias: str | None = "none"
    init_lora_weights: bool | str | None = True


def read_peft_settings(path: Path) -> tuple[AdapterSettings, dict[str, Any]]:
    """Return the settings of the LoRA in a folder: those that matter here, and all as they are.

    Raises:
        RequestError: When the folder has none, or they are those of something else than a LoRA.
    """
    if not path.is_dir():
        what = "a file, expected the folder" if path.exists() else "not there, expected a folder"
        raise RequestError(f"{path}: {what} that PEFT's save_pretrained wrote.")
    file = path / SETTINGS
    try:
        with reading(file):
            tree = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{path}: there is no {SETTINGS} in it{_nearby(path)}") from None
    except (ValueError, RecursionError):
        raise RequestError(f"{file}: not JSON, or damaged.") from None
    if not isinstance(tree, dict):
        raise RequestError(f"{file}: found no object, expected the settings of a LoRA.")
    if problems := list(_refusals(tree)):
        raise RequestError(f"{file}: {problem}" for problem in problems)
    try:
        return parse(AdapterSettings, tree), tree
    except RequestError as error:
        raise RequestError(f"{file}: {problem}" for problem in error.problems) from None


def _nearby(path: Path) -> str:
    """Return the end of a sentence: which folder inside has an adapter."""
    inside = sorted(file.parent.name for file in path.glob(f"*/{SETTINGS}"))
    return f"; did you mean {str(path / inside[0])!r}?" if inside else "."


def _refusals(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps an adapter from being a plain LoRA on an unchanged base."""
    kind = tree.get("peft_type")
    if isinstance(kind, str) and kind != "LORA":
        yield (
            f"peft_type: found '{kind}', expected 'LORA'; PEFT's convert_to_lora turns such an "
            "adapter into a LoRA first, where that is possible."
        )
        return
    for key, advice in VARIANTS.items():
        if tree.get(key) not in (None, False, [], {}):
            yield f"{key}: found {_short(tree[key])}, expected none: {advice}."
    start = tree.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_ALTERS_BASE):
        todo = "which changes the base; PEFT's save_pretrained(..., "
        todo += "path_initial_model_for_weight_conversion=...) makes it a LoRA of the unchanged one"
        if start.lower().startswith("loftq"):
            todo = "which quantises the base; set it to true where the base is loaded as quantised"
        yield f"init_lora_weights: found '{start}', {todo}."
    if tree.get("bias", "none") not in ("none", None):
        yield (
            f"bias: found '{tree['bias']}', expected none: trained biases of the base are no LoRA, "
            f"and PEFT's convert_to_lora refuses them, too; {MERGE}."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
