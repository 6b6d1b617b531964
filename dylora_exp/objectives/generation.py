"""Contexts to texts: GPT-2 on E2E, DART and WebNLG.

A training sequence is ``context <end> " " text <end>``; the loss counts the tokens of the text, its
end token among them, and nothing of the context. A context is decoded once, however many
references it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from dylora_exp import adapters, metrics
from dylora_exp.config import Count, HubSource, Mark, TaskConfig, TsvSource
from dylora_exp.core import LOG, RequestError, broadcast_from_main
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import base
from dylora_exp.objectives.decode_config import DecodeConfig

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

# What torch's cross entropy leaves out by itself, and transformers too.
IGNORED = -100


class GenerationTask(TaskConfig):
    """A task whose answers are texts: the split that is scored, and how they are decoded.

    ``max_references``: how many of a context's references count, or ``all``; nothing stands for as
    many as in the task's published numbers, which is six for DART and WebNLG and all for E2E.
    """

    auto_model_class: ClassVar[str] = "AutoModelForCausalLM"
    peft_task_type: ClassVar[str] = "CAUSAL_LM"
    trains_head: ClassVar[bool] = False
    pipeline_tag: ClassVar[str] = "text-generation"

    objective: str = "generation"
    labels: Annotated[list[str], Mark.UNUSED] = Field(default_factory=list)
    label_range: Annotated[list[float] | None, Mark.UNUSED] = None
    hub: Annotated[HubSource | None, Mark.UNUSED] = None
    tsv: Annotated[TsvSource | None, Mark.UNUSED] = None
    eval_split: Literal["dev", "test"] = Field(default=None, validate_default=True)
    decode: DecodeConfig = Field(default=None, validate_default=True)
    max_references: Count | Literal["all"] | None = None

    @field_validator("eval_split", "decode", mode="before")
    @classmethod
    def _is_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("found nothing, a task whose answers are texts needs it")
        return value

    @property
    def scored(self) -> str:
        """Texts."""
        return "texts"

    @property
    def unused(self) -> dict[str, str]:
        """What decides between beams, where there is one."""
        return {"decode.length_penalty": "task.decode.beams is 1"} if self.decode.beams == 1 else {}

    @property
    def number_of_outputs(self) -> int | None:
        """None: the head is the language model's."""
        return None


class GenerationObjective(base.Objective):
    """Label-smoothed likelihood of texts, scored by decoding."""

    settings_class = GenerationTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        assert isinstance(setting.config.task, GenerationTask)
        self.decoding = setting.config.task.decode
        self.data = setting.data.eval
        self.prompts = [self._prompt(context) for context in self.data["context"]]
        if not any(label != IGNORED for row in self.train_set["labels"] for label in row):
            raise RequestError(
                f"task.max_length: found {setting.config.task.max_length}, which leaves no room "
                "for a text after any context of the training data, so that nothing would be "
                "learned."
            )
        _check_lengths(self.prompts, setting, self.decoding.max_new_tokens)
        task = setting.config.task
        self.scorer = metrics.Scorer(task.reader, task.metrics, task.max_references)
        self.missing: dict[str, str] = {}

    def encode(self, data: Dataset) -> Dataset:
        """Return ``input_ids``, ``labels`` (-100 on the context) and ``length``, cut at the end."""

        def row(example: dict[str, str]) -> dict[str, Any]:
            prompt = self._prompt(example["context"])
            text = [*self._ids(" " + example["text"]), self.tokenizer.eos_token_id]
            ids = (prompt + text)[: self.max_length]
            labels = ([IGNORED] * len(prompt) + text)[: self.max_length]
            return {"input_ids": ids, "labels": labels, "length": len(ids)}

        return data.map(row, remove_columns=data.column_names, keep_in_memory=True)

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

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the number of tokens of texts."""
        return (labels[:, 1:] != IGNORED).sum()

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the metrics of one text for each context, of all and by kind of category."""
        import torch

        from dylora_exp.objectives.torch_parts.decoding import decode

        name = "-".join(str(part).replace("/", "") for part in (cut.truncation, cut.scale) if part)
        file = f"{name}-rank-{cut.rank}.jsonl" if cut.rank else "whole.jsonl"
        device = next(model.parameters()).device.type
        # Said here, since the Trainer leaves some of the models it has trained in bf16 by itself.
        bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=self.config.trainer.bf16)
        with method.at_cut(model, cut):
            weights = _digest(model)  # of the cut, which may depend on training examples
            with self._merged_if_the_same(model), bf16:
                decoded = decode(
                    model,
                    self.tokenizer,
                    self.prompts,
                    self.decoding,
                    self.config.trainer.eval_batch_size,
                    folder / "predictions" / file,
                    weights,
                    f"rank {cut.rank}" if cut.rank else "decoding",
                )
        # One process starts Java.
        return base.CutScore(
            broadcast_from_main(lambda: self._metrics(decoded.texts)), decoded.seconds
        )

    def close(self) -> None:
        """End the metrics' Java process."""
        self.scorer.close()

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature, why some are missing, and how texts were decoded."""
        from dylora_exp.objectives.torch_parts.decoding import stop_tokens

        about = {
            "signature": self.scorer.signature,
            "missing": self.missing,
            "decoding": self.decoding.model_dump() | {"stop_tokens": stop_tokens(self.tokenizer)},
        }
        return super().scoring() | about

    def _merged_if_the_same(self, model: TrainedModel) -> AbstractContextManager[None]:
        """Return a context in which adapters are merged, unless that changes what is computed."""
        from dylora_exp.models import eager

        with eager(model):
            same = adapters.merging_keeps_outputs(model, self.prompts[0])
        if same:
            return adapters.merged(model)
        LOG.warning("merged adapters would compute something else: texts are decoded without")
        return nullcontext()

    def _metrics(self, texts: list[str]) -> dict[str, float | None]:
        """Score all texts, and those of seen and unseen categories where there are both."""
        seen = self.data["seen"][:]
        found = self._score(texts, range(len(texts)))
        if len(set(seen)) > 1:
            for kind, wanted in (("seen", True), ("unseen", False)):
                part = self._score(texts, [i for i, value in enumerate(seen) if value == wanted])
                found |= {f"{name}_{kind}": value for name, value in part.items()}
        return found

    def _score(self, texts: list[str], indices: Sequence[int]) -> dict[str, float | None]:
        references = self.data["references"][:]
        found = self.scorer.score(
            [texts[index] for index in indices], [references[index] for index in indices]
        )
        # The scorer forgets at each score; one rank's reason must outlive the next rank.
        self.missing |= self.scorer.missing
        return found

    def _prompt(self, context: str) -> list[int]:
        return [*self._ids(context), self.tokenizer.eos_token_id]

    def _ids(self, text: str) -> list[int]:
        # A special token that is written out is text.
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids


def _check_lengths(prompts: list[list[int]], setting: base.ObjectiveContext, longest: int) -> None:
    """Refuse contexts that leave no room for a text of so many tokens."""
    room = setting.window - longest
    if room < 1:
        raise RequestError(
            f"task.decode.max_new_tokens: found {longest}, expected fewer than the "
            f"{setting.window} tokens of the model's window."
        )
    for prompt, row in zip(prompts, setting.data.eval, strict=True):
        if len(prompt) > room:
            raise RequestError(
                f"{row['where']}: the context has {len(prompt)} tokens, expected at most {room}: "
                f"the model's window of {setting.window} less the text's {longest} "
                f"(task.decode.max_new_tokens)."
            )


def _digest(model: torch.nn.Module) -> str:
    """Return a digest of everything that was trained."""
    total = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            total.update(name.encode())
            total.update(parameter.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()[:16]
