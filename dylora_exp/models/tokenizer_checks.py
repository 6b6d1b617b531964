"""Whether a tokenizer belongs to a model: its vocabulary, and the tokens that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dylora_exp.core import RequestError
from dylora_exp.models.layer_names import name_matches

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, backbone: PreTrainedModel, texts: bool
) -> None:
    """Refuse a tokenizer that does not fit its model.

    Args:
        tokenizer: The tokenizer.
        backbone: The model.
        texts: Whether texts are to be generated, which needs an end token.

    Raises:
        RequestError: When the vocabulary is empty or too large, or a token is missing.
    """
    vocabulary = tokenizer.get_vocab()
    rows = _known_tokens(backbone)
    name = tokenizer.name_or_path
    if not set(vocabulary) - set(tokenizer.all_special_tokens):
        problem = (
            f"found no vocabulary in '{name}', so that every text would be the same tokens; "
            "expected the files of a tokenizer, such as tokenizer.json."
        )
    elif (largest := max(vocabulary.values())) >= rows:
        token = next(token for token, number in vocabulary.items() if number == largest)
        problem = (
            f"the tokenizer in '{name}' is of another model: token '{token}' has the number "
            f"{largest}, the model knows numbers up to {rows - 1}."
        )
    elif lost := _lost_characters(tokenizer):
        problem = (
            f"the tokenizer in '{name}' has no token for '{lost}' and none for what is unknown "
            "(unk_token), so that parts of texts would be lost."
        )
    elif tokenizer.eos_token_id is None and texts:
        problem = f"the tokenizer in '{name}' has no end token (eos_token), which texts need."
    elif tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        problem = (
            f"the tokenizer in '{name}' has neither a padding token nor an end token (pad_token, "
            "eos_token), so that no batch can be made; name one of them in its "
            "tokenizer_config.json."
        )
    else:
        return
    raise RequestError(f"model.tokenizer: {problem}")


def positions_after_padding(backbone: PreTrainedModel) -> Any:
    """Return the embedding of positions that are counted from the padding token's number on.

    None where they are counted from 0, unlike those of RoBERTa and MPNet.
    """
    for name, module in backbone.named_modules():
        has_padding = getattr(module, "padding_idx", None) is not None
        if has_padding and name_matches(name, "position_embeddings"):
            return module
    return None


def _known_tokens(backbone: PreTrainedModel) -> int:
    """Return the number of tokens that a model has embeddings for."""
    try:
        return len(cast("Tensor", backbone.get_input_embeddings().weight))
    except (AttributeError, NotImplementedError):
        raise RequestError(
            f"model.name_or_path: a model of type {backbone.config.model_type} has no embeddings "
            "of tokens; choose another model."
        ) from None


def _lost_characters(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the first of some characters that becomes no token at all, "" for none."""
    for character in "aZ7%é漢🙂":
        try:
            found = tokenizer.encode(character, add_special_tokens=False)
        except Exception:  # of the library's Rust part
            found = []
        if not found:
            return character
    return ""


def agree_on_padding(tokenizer: PreTrainedTokenizerBase, backbone: PreTrainedModel) -> None:
    """Pad with the tokenizer's token, in the head as well; without one, with the end token.

    Raises:
        RequestError: When the model counts positions from another token.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    positions = positions_after_padding(backbone)
    if positions is not None and positions.padding_idx != tokenizer.pad_token_id:
        raise RequestError(
            f"model.tokenizer: the tokenizer in '{tokenizer.name_or_path}' pads with the token "
            f"{tokenizer.pad_token_id}, but the model counts positions from the token "
            f"{positions.padding_idx} (pad_token_id in its config.json); expected the same."
        )
    backbone.config.pad_token_id = tokenizer.pad_token_id
