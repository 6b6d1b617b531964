"""The texts that a model gives at each of its cuts, for the objectives that score texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dylora_exp import adapters
from dylora_exp.core import LOG, RequestError
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives.base import ObjectiveContext
from dylora_exp.objectives.decode_config import DecodeConfig

if TYPE_CHECKING:
    from dylora_exp.objectives.torch_parts.decoding import Decoded


class Decoder:
    """Decodes the same prompts at one cut of a model after the other.

    Args:
        setting: That of the objective.
        settings: How texts are generated.
        prompts: The token ids of each prompt.
        where: Where each prompt was found, for error messages.

    Raises:
        RequestError: When a prompt leaves no room for a text in the model's window.
    """

    def __init__(
        self,
        setting: ObjectiveContext,
        settings: DecodeConfig,
        prompts: Sequence[Sequence[int]],
        where: Sequence[str],
    ) -> None:
        _check_lengths(prompts, where, setting.window, settings.max_new_tokens)
        self.settings = settings
        self.prompts = prompts
        self._tokenizer = setting.tokenizer
        self._trainer = setting.config.trainer
        base = setting.config.model
        # What is added to other weights than of single precision would be rounded.
        self._may_merge = base.quantization == "none" and base.dtype == "float32"

    def decode(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> Decoded:
        """Return a text for each prompt, and the seconds that it took.

        Args:
            model: The trained model.
            method: Sets the model to a cut.
            cut: The rank and how it is made.
            folder: The run's folder, which keeps what is decoded for a killed run.
        """
        import torch

        from dylora_exp.objectives.torch_parts.decoding import decode

        device = next(model.parameters()).device.type
        # Said here, since the Trainer leaves some of the models it has trained in bf16 by itself.
        bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=self._trainer.bf16)
        with method.at_cut(model, cut):
            # Of the cut, which may depend on training examples.
            weights = adapters.trained_digest(model)
            with self._merged_if_the_same(model), bf16:
                return decode(
                    model,
                    self._tokenizer,
                    self.prompts,
                    self.settings,
                    self._trainer.eval_batch_size,
                    folder / "predictions" / f"{cut.file_name}.jsonl",
                    weights,
                    f"rank {cut.rank}" if cut.rank else "decoding",
                )

    def about(self) -> dict[str, Any]:
        """Return how texts were decoded, as plain data for the record."""
        from dylora_exp.objectives.torch_parts.decoding import stop_tokens

        ends = stop_tokens(self._tokenizer, self.settings.stop)
        stop = {"stop": "end"} if self.settings.stop == "end" else {}
        return self.settings.model_dump() | stop | {"stop_tokens": ends}

    def _merged_if_the_same(self, model: TrainedModel) -> AbstractContextManager[None]:
        """Return a context in which adapters are merged, unless that changes what is computed."""
        from dylora_exp.models import eager

        if not self._may_merge:
            return nullcontext()
        with eager(model):
            same = adapters.merging_keeps_outputs(model, self.prompts[0])
        if same:
            return adapters.merged(model)
        LOG.warning("merged adapters would compute something else: texts are decoded without")
        return nullcontext()


def _check_lengths(
    prompts: Sequence[Sequence[int]], where: Sequence[str], window: int, longest: int
) -> None:
    """Refuse prompts that leave no room for a text of so many tokens."""
    room = window - longest
    if room < 1:
        raise RequestError(
            f"task.decode.max_new_tokens: found {longest}, expected fewer than the {window} tokens "
            "of the model's window."
        )
    for prompt, place in zip(prompts, where, strict=True):
        if len(prompt) > room:
            raise RequestError(
                f"{place}: the context has {len(prompt)} tokens, expected at most {room}: the "
                f"model's window of {window} less the text's {longest} "
                f"(task.decode.max_new_tokens)."
            )
