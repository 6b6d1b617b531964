"""Contexts to texts: GPT-2 on E2E, DART and WebNLG.

A training sequence is ``context <end> " " text <end>``; the loss counts the tokens of the text, its
end token among them, and nothing of the context. A context is decoded once, however many
references it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from dylora_exp import metrics
from dylora_exp.config import (
    Count,
    DataFiles,
    HubSource,
    Mark,
    RowFiles,
    TaskConfig,
    required_by,
)
from dylora_exp.core import RequestError, broadcast_from_main
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import base
from dylora_exp.objectives.decode_config import DecodeConfig
from dylora_exp.objectives.decoder import Decoder
from dylora_exp.objectives.language_modelling import (
    IGNORED,
    LanguageModelObjective,
    LanguageModelTask,
)

if TYPE_CHECKING:
    from datasets import Dataset


_REQUIRED = required_by("a task whose answers are texts")


class GenerationTask(LanguageModelTask):
    """A task whose answers are texts: the split that is scored, and how they are decoded.

    ``max_references``: how many of a context's references count, or ``all``; nothing stands for as
    many as in the task's published numbers, which is six for DART and WebNLG and all for E2E.
    """

    objective: str = "generation"
    hub: Annotated[HubSource | None, Mark.UNUSED] = None
    files: Annotated[RowFiles | None, Mark.UNUSED] = None
    data_files: Annotated[DataFiles | None, Mark.UNUSED] = None
    eval_split: Annotated[Literal["dev", "test"], _REQUIRED] = Field(
        default=None, validate_default=True
    )
    decode: Annotated[DecodeConfig, _REQUIRED] = Field(default=None, validate_default=True)
    max_references: Count | Literal["all"] | None = None

    @property
    def scored(self) -> str:
        """Texts."""
        return "texts"

    @property
    def unused(self) -> dict[str, str]:
        """What decides between beams, where there is one."""
        return {"decode.length_penalty": "task.decode.beams is 1"} if self.decode.beams == 1 else {}


class GenerationObjective(LanguageModelObjective):
    """Label-smoothed likelihood of texts, scored by decoding."""

    settings_class = GenerationTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        assert isinstance(setting.config.task, GenerationTask)
        self.data = setting.data.eval
        self.prompts = self._prompts(self.data["context"])
        if not any(label != IGNORED for row in self.train_set["labels"] for label in row):
            raise RequestError(
                f"task.max_length: found {setting.config.task.max_length}, which leaves no room "
                "for a text after any context of the training data, so that nothing would be "
                "learned."
            )
        task = setting.config.task
        self.decoder = Decoder(setting, task.decode, self.prompts, self.data["where"])
        self.scorer = metrics.Scorer(task.reader, task.metrics, task.max_references)
        self.missing: dict[str, str] = {}

    def encode(self, data: Dataset) -> Dataset:
        """Return ``input_ids``, ``labels`` (-100 on the context) and ``length``, cut at the end."""

        def rows(examples: dict[str, list[str]]) -> dict[str, list[Any]]:
            prompts = self._prompts(examples["context"])
            texts = self._ids([f" {text}" for text in examples["text"]])
            found: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": []}
            for prompt, text in zip(prompts, texts, strict=True):
                text = [*text, self.tokenizer.eos_token_id]
                ids = (prompt + text)[: self.max_length]
                found["input_ids"].append(ids)
                found["labels"].append(([IGNORED] * len(prompt) + text)[: self.max_length])
                found["length"].append(len(ids))
            return found

        return data.map(rows, batched=True, remove_columns=data.column_names, keep_in_memory=True)

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the metrics of one text for each context, of all and by kind of category."""
        decoded = self.decoder.decode(model, method, cut, folder)
        # One process starts Java.
        return base.CutScore(
            broadcast_from_main(lambda: self._metrics(decoded.texts)), decoded.seconds
        )

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of a context and a text, for training and for scoring alike."""
        text = "q" * max(1, answer - 2)
        about = {"references": [text], "category": "", "seen": True, "where": "a row"}
        return {"context": "q" * max(1, tokens - answer - 2), "text": text, **about}

    def scored_lengths(self) -> list[int]:
        """Return the tokens of each context."""
        return list(map(len, self.prompts))

    def close(self) -> None:
        """End the metrics' Java process."""
        self.scorer.close()

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature, why some are missing, and how texts were decoded."""
        about = {
            "signature": self.scorer.signature,
            "missing": self.missing,
            "decoding": self.decoder.about(),
        }
        return super().scoring() | about

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

    def _prompts(self, contexts: Sequence[str]) -> list[list[int]]:
        return [[*ids, self.tokenizer.eos_token_id] for ids in self._ids(contexts)]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        # A special token that is written out is text.
        ids: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return ids
