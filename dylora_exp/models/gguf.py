"""A quantised language model in one GGUF file, as a plain folder of full-precision weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dylora_exp.core import RequestError

# How a tokenizer cuts texts before it merges bytes, by the name that GGUF has for it.
# transformers does not read it: without it, numbers after several spaces are cut differently.
_DIGITS_ONE_BY_ONE = {"smollm": True, "gpt-2": False}


def dequantise(file: Path, folder: Path) -> None:
    """Write a model and its tokenizer as ``save_pretrained`` does, in single precision.

    transformers reads the file; it saves no model that was read from one, so that the weights are
    those of a new model of the same architecture. No random number is drawn that a run would miss.

    Args:
        file: The GGUF file.
        folder: A folder that is there, and empty.

    Raises:
        RequestError: When its tokenizer is of a kind that is not known here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
    _cut_texts_as_trained(file, tokenizer)
    with torch.random.fork_rng():
        read = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **where)
        settings = read.config.to_dict()
        for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
            settings.pop(name, None)
        with torch.device("meta"):  # no values are drawn for what is replaced at once
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _cut_texts_as_trained(file: Path, tokenizer: Any) -> None:
    """Give a byte-level tokenizer the cuts before its merges that the file names."""
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    kind = None if field is None else field.contents()
    if kind not in _DIGITS_ONE_BY_ONE:
        known = ", ".join(_DIGITS_ONE_BY_ONE)
        raise RequestError(
            f"model.name_or_path: '{file}' has a tokenizer of kind '{kind}', expected one of "
            f"{known}."
        )
    if _DIGITS_ONE_BY_ONE[kind]:
        cuts = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(cuts)
