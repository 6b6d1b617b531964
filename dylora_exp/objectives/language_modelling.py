"""What the objectives of language models share: the model, the batches and the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from dylora_exp.config import Mark, TaskConfig, TsvSource
from dylora_exp.objectives import base

if TYPE_CHECKING:
    import torch

# What torch's cross entropy leaves out by itself, and transformers too.
IGNORED = -100


class LanguageModelTask(TaskConfig):
    """A task of a causal language model."""

    auto_model_class: ClassVar[str] = "AutoModelForCausalLM"
    peft_task_type: ClassVar[str] = "CAUSAL_LM"
    trains_head: ClassVar[bool] = False
    pipeline_tag: ClassVar[str] = "text-generation"

    labels: Annotated[list[str], Mark.UNUSED] = Field(default_factory=list)
    label_range: Annotated[list[float] | None, Mark.UNUSED] = None
    tsv: Annotated[TsvSource | None, Mark.UNUSED] = None

    @property
    def number_of_outputs(self) -> int | None:
        """None: the head is the language model's."""
        return None


class LanguageModelObjective(base.Objective):
    """The label-smoothed likelihood of some of a sequence's tokens.

    ``encode`` gives ``input_ids``, ``labels`` (-100 on the tokens that do not count) and
    ``length``.
    """

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, (examples, tokens) each."""
        import torch

        width = max(row["length"] for row in rows)

        def padded(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (width - row["length"]) for row in rows])

        mask = [[1] * row["length"] + [0] * (width - row["length"]) for row in rows]
        return {
            "input_ids": padded("input_ids", self.tokenizer.eos_token_id),
            "attention_mask": torch.tensor(mask),
            "labels": padded("labels", IGNORED),
        }

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return ``(1-e) nll + e * mean over the vocabulary of -log p``, averaged over tokens.

        A batch whose contexts leave no room for a text has the loss 0.

        Args:
            logits: (examples, tokens, vocabulary).
            labels: (examples, tokens), -100 where a token does not count.
        """
        from torch.nn import functional

        targets = labels[:, 1:].flatten()
        total = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(),
            targets,
            ignore_index=IGNORED,
            label_smoothing=self.config.trainer.label_smoothing,
            reduction="sum",
        )
        return total / (targets != IGNORED).sum().clamp(min=1)

    def divergence(
        self, logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean of KL(target || logits) over the tokens that count.

        Args:
            logits: (examples, tokens, vocabulary).
            target: The same.
            labels: (examples, tokens), -100 where a token does not count.
        """
        from dylora_exp.objectives.torch_parts.labels import mean_divergence

        counts = labels[:, 1:] != IGNORED
        return mean_divergence(logits[:, :-1][counts], target[:, :-1][counts])

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the number of tokens that count."""
        return (labels[:, 1:] != IGNORED).sum()
