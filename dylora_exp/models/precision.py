"""The settings of a base's precision that go together, without loading anything.

Neither torch nor transformers is imported.
"""

from __future__ import annotations

from dylora_exp.config import Config, ModelConfig, has_ranks
from dylora_exp.core import install_command, is_installed
from dylora_exp.models.layer_names import fused_part

# The package that quantises, and the extra of this project that brings it.
_PACKAGE, _EXTRA = "bitsandbytes", "quantized"


def precision_problems(config: Config) -> list[str]:
    """Return a sentence for each setting of the base's precision that cannot be met."""
    model, trainer, method = config.model, config.trainer, config.method
    found = []
    if model.dtype == "float16" and trainer.bf16:
        found.append(
            "model.dtype: found float16 with trainer.bf16=true, which computes in bfloat16; "
            "expected bfloat16 or float32."
        )
    if not has_ranks(method):  # every weight is trained
        if model.dtype != "float32":
            found.append(
                f"model.dtype: found {model.dtype} with method '{method.name}', which trains the "
                "weights themselves, so that small steps would be rounded away; expected float32 "
                "(trainer.bf16=true computes in bfloat16)."
            )
        if model.quantization != "none":
            found.append(
                f"model.quantization: found {model.quantization} with method '{method.name}', "
                "which trains the weights themselves; expected none, or a method that trains "
                "adapters."
            )
    if model.quantization == "none":
        return found
    if not is_installed(_PACKAGE):
        found.append(
            f"model.quantization: found {model.quantization}, but the Python package "
            f"'{_PACKAGE}' is not installed; install it with: {install_command(_EXTRA)}"
        )
    if trainer.compile:
        found.append(
            f"trainer.compile: found true with model.quantization={model.quantization}, whose "
            "layers are not compiled; expected false."
        )
    return found + _fused_problems(model)


def _fused_problems(model: ModelConfig) -> list[str]:
    """Return a sentence where a part of a layer would be adapted, which is packed as a whole."""
    parts = {target: fused_part(target, model.fused) for target in model.targets}
    whole = [part.layer if part else target for target, part in parts.items()]
    return [
        f"model.targets: '{target}' is a part of a layer, which model.quantization="
        f"{model.quantization} packs as a whole; name the whole layer "
        f"(model.targets=[{','.join(dict.fromkeys(whole))}])."
        for target, part in parts.items()
        if part is not None
    ][:1]
