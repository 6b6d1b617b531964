"""Which rows of a fused layer's outputs belong to which of its parts, by architecture.

Neither torch nor transformers is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Layout:
    """The outputs of a fused layer: groups that follow one another, each with rows of every part.

    GPT-2's are one group of three equal blocks, GPT-NeoX's one group a head. Falcon's are one group
    for each head of keys and values, with the rows of all its heads of queries first.

    Attributes:
        groups: How many groups there are.
        widths: How many rows of a group each part has, in the order of the parts.
    """

    groups: int
    widths: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of the layer's outputs."""
        return self.groups * sum(self.widths)

    @property
    def is_of_equal_blocks(self) -> bool:
        """Whether each part is one block, and all are as wide: what needs no note."""
        return self.groups == 1 and len(set(self.widths)) == 1

    def rows(self, part: int) -> list[int]:
        """Return the indices (0-based, ascending) of a part's rows."""
        group, start = sum(self.widths), sum(self.widths[:part])
        return [
            first + row
            for first in range(start, self.size, group)
            for row in range(self.widths[part])
        ]


def layout_of(
    config: PretrainedConfig | None, layer: str, count: int, outputs: int
) -> Layout | None:
    """Return the layout of a fused layer; None where its outputs are not those of the parts.

    Args:
        config: The architecture; None for none that transformers knows.
        layer: The layer's name.
        count: The number of parts that it is said to have.
        outputs: The number of its outputs.
    """
    known = None if config is None else _of_attention(config, layer.rpartition(".")[2])
    if known is None:
        equal = Layout(1, (outputs // count,) * count)
        return equal if equal.size == outputs else None
    return known if len(known.widths) == count and known.size == outputs else None


def _of_attention(config: PretrainedConfig, layer: str) -> Layout | None:
    """Return how an architecture's attention cuts the outputs of a layer, None for equal blocks.

    The parts are queries, keys and values; CodeGen's are queries, values and keys.
    """

    def setting(name: str) -> Any:
        return getattr(config, name, None)

    heads = setting("num_attention_heads")
    if not isinstance(heads, int) or not isinstance(hidden := setting("hidden_size"), int):
        return None
    width = setting("head_dim") or hidden // heads
    by_head = Layout(heads, (width,) * 3)
    one_head_of_keys = Layout(1, (heads * width, width, width))
    match config.model_type, layer:
        case ("gpt_neox" | "bloom", "query_key_value"):
            return by_head
        case ("falcon", "query_key_value"):
            if setting("new_decoder_architecture"):
                groups = config.num_kv_heads
                return Layout(groups, (heads // groups * width, width, width))
            return one_head_of_keys if setting("multi_query") else by_head
        case ("gpt_bigcode", "c_attn"):
            return one_head_of_keys if setting("multi_query") else by_head
        case ("phi3", "qkv_proj"):
            keys = (setting("num_key_value_heads") or heads) * width
            return Layout(1, (heads * width, keys, keys))
        case ("codegen", "qkv_proj"):
            return Layout(4, (hidden // 4,) * 3)
    return None


def names_of_parts(model_type: str, layer: str) -> Sequence[str]:
    """Return the usual names of the parts of a layer that is known to be fused; () otherwise."""
    order = ("q", "v", "k") if model_type == "codegen" else ("q", "k", "v")
    return order if (model_type, layer) in _FUSED else ()


_FUSED = {
    *(("gpt2", "c_attn"), ("gpt_bigcode", "c_attn"), ("codegen", "qkv_proj")),
    *(("phi3", "qkv_proj"), ("modernbert", "Wqkv"), ("mpt", "Wqkv")),
    *((kind, "query_key_value") for kind in ("gpt_neox", "bloom", "falcon")),
}
