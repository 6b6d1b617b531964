"""PEFT's settings of a LoRA whose layers have ranks of their own, the scale in the factors.

Every alpha is the rank of its layer, so that PEFT's scale is 1 whatever the ranks, and servers that
ignore its patterns still scale by 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

# Settings that have done their work: how the first values were found, and which of the targets
# were meant, where the targets name whole layers.
_DONE = ("eva_config", "corda_config", "lora_ga_config", "velora_config")
_CHOICE_OF_LAYERS = ("layers_to_transform", "layers_pattern")


def settings_of_ranks(
    tree: Mapping[str, Any], layers: Collection[str], kept: Mapping[str, int], uniform: bool = False
) -> dict[str, Any]:
    """Return ``adapter_config.json`` for some layers and their ranks.

    Args:
        tree: That of the adapter it was made from.
        layers: The names of that adapter's layers.
        kept: The ranks of those that are left, at least 1 each.
        uniform: Whether their factors are padded to the largest of the ranks.
    """
    r = max(kept.values())
    other = {} if uniform else {name: rank for name, rank in kept.items() if rank != r}
    pattern = _as_patterns(other, kept)
    found = {
        **tree,
        **{key: None for key in _DONE if key in tree},
        "r": r,
        "lora_alpha": r,
        "use_rslora": False,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        # Otherwise PEFT would work out first values again when it loads the adapter.
        "init_lora_weights": True,
    }
    if len(kept) < len(layers):
        found |= {key: None for key in _CHOICE_OF_LAYERS if key in tree}
        found["target_modules"] = list(kept)
    return found


def _as_patterns(values: Mapping[str, int], layers: Mapping[str, int]) -> dict[str, int]:
    """Return ranks by names, as regular expressions where PEFT would match another layer, too.

    PEFT takes a key for the end of a name, with ``.`` for any character.
    """
    ends = {".".join(parts[i:]) for n in layers for parts in [n.split(".")] for i in range(1, 99)}
    blurred = Counter(re.sub(r"\W", "_", name) for name in layers)
    plain = all(re.fullmatch(r"[\w.]+", name) for name in values)
    if plain and not ends & set(values) and max(blurred.values()) == 1:
        return dict(values)
    return {f"^{re.escape(name)}": rank for name, rank in values.items()}
