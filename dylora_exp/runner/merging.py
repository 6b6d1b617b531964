"""An exported adapter merged into its base, as a whole model of transformers.

An adapter cannot be added to packed weights, and half precision would round what it adds. Such
bases are merged in single precision: the values that the packed weights stand for, which are exact
there, plus the adapter's product. Over a packed base the merged model is compared with what the run
computed, and refused where it computes something else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dylora_exp.core import RequestError, apply_umask, write_atomically
from dylora_exp.runner.environment import quiet_libraries

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dylora_exp.config import Config, ModelConfig, TaskConfig

# The share of the largest logit by which a merged model may differ, and the texts to compare on.
_TOLERANCE = 1e-3
_TEXTS, _TOKENS = 4, 32


def merge(adapter: Path, folder: Path, config: Config) -> Path:
    """Fold an adapter into its model, save both model and tokenizer, and return their folder.

    Args:
        adapter: The folder of the adapter.
        folder: Where to.
        config: The run's, with the model's folders on this machine.

    Raises:
        RequestError: When the merged model would compute something else than the run did.
    """
    from peft import PeftModel

    quiet_libraries()
    model = config.model
    base, tokenizer = _load(config, model)
    expected = None
    if model.quantization != "none":
        applied = PeftModel.from_pretrained(base, str(adapter))
        expected = _outputs(applied)
        base, _ = _load(config, model.model_copy(update={"quantization": "none"}))
        _unpack(cast("PreTrainedModel", applied.unload()), base)
    merged = PeftModel.from_pretrained(base.float(), str(adapter)).merge_and_unload()
    if expected is not None:
        _check(expected, _outputs(merged), model)
    merged.save_pretrained(folder)
    if config.task.number_of_outputs is not None:
        _name_outputs(folder / "config.json", config.task)
    tokenizer.save_pretrained(folder)
    apply_umask(folder)
    return folder


def _load(config: Config, model: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import set_seed

    from dylora_exp.models import load

    # As the run did before it loaded its model: weights that are not pretrained follow from it.
    set_seed(config.seed)
    return load(model, config.task.number_of_outputs, config.hub_cache)


def _unpack(packed: PreTrainedModel, base: PreTrainedModel) -> None:
    """Give the layers of a base the values that a packed model has for them, in place."""
    import torch
    from transformers.pytorch_utils import Conv1D

    from dylora_exp.models import packed_layers, unpacked

    base.float()
    with torch.no_grad():
        for name, layer in packed_layers(packed):
            target = base.get_submodule(name)
            values = unpacked(layer, torch.float32)
            target.get_parameter("weight").copy_(values.T if isinstance(target, Conv1D) else values)


def _outputs(model: PreTrainedModel | PeftModel) -> Tensor:
    """Return the logits of some texts of random tokens."""
    import torch

    from dylora_exp.models import longest_input, probing

    device = next(model.parameters()).device
    known = len(cast("Tensor", model.get_input_embeddings().weight))
    tokens = min(_TOKENS, longest_input(cast("PreTrainedModel", model)))
    texts = torch.randint(known, (_TEXTS, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(texts)
    with probing(model):
        found: Tensor = model(input_ids=texts.to(device), attention_mask=mask.to(device)).logits
    return found.float().cpu()


def _check(expected: Tensor, found: Tensor, model: ModelConfig) -> None:
    share = float((expected - found).abs().max() / expected.abs().max())
    if not share <= _TOLERANCE:
        raise RequestError(
            f"--merge: merged into what the weights of model.quantization={model.quantization} "
            f"stand for, the model would differ from the one that was scored by {share:.2%} of its "
            f"largest output, more than {_TOLERANCE:.1%}, since that computes in "
            f"{_computes_in(model)}; export without --merge."
        )


def _computes_in(model: ModelConfig) -> str:
    return "eight bits" if model.quantization == "int8" else model.dtype


def _name_outputs(file: Path, task: TaskConfig) -> None:
    """Write the labels of a classifier into its config.json.

    transformers leaves out names that are its own default, and with them the number of labels where
    an architecture has another default: a BART with two labels would be read as one with three.
    """
    names = task.labels or ["LABEL_0"]  # a number's only output, as transformers calls it
    tree = json.loads(file.read_text(encoding="utf-8"))
    tree["id2label"] = {str(number): name for number, name in enumerate(names)}
    tree["label2id"] = {name: number for number, name in enumerate(names)}
    write_atomically(file, json.dumps(tree, indent=2, sort_keys=True) + "\n")
