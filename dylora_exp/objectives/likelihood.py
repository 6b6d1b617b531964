"""Held-out texts, scored by how likely they are: the loss of a token, and the perplexity."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dylora_exp import metrics
from dylora_exp.config import TaskConfig
from dylora_exp.core import RequestError
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import base
from dylora_exp.objectives.completions import CompletionTask
from dylora_exp.objectives.language_modelling import IGNORED
from dylora_exp.objectives.templates import TemplateObjective


class LikelihoodTask(CompletionTask):
    """A task without right or wrong answers: prompts and completions, such as instructions."""

    objective: str = "likelihood"

    @property
    def scored(self) -> str:
        """Likelihood."""
        return "likelihood"

    def example(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``prompt`` and the ``completion`` of a row."""
        return {name: self.render(name, row) for name in ("prompt", "completion")}


class LikelihoodObjective(TemplateObjective):
    """The likelihood of completions, in training and in scoring."""

    settings_class = LikelihoodTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        self.rows = self.encode_once(setting.data.eval).to_list()
        self.tokens = [sum(label != IGNORED for label in row["labels"][1:]) for row in self.rows]
        for tokens, where in zip(self.tokens, setting.data.eval["where"], strict=True):
            if not tokens:
                raise RequestError(
                    f"{where}: the prompt leaves no room for the completion in the "
                    f"{self.max_length} tokens of task.max_length, or of the model's window."
                )

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the metrics of the completions of all examples."""
        from dylora_exp.objectives.torch_parts.likelihood import text_losses

        start, trainer = time.monotonic(), self.config.trainer
        with method.at_cut(model, cut):
            losses = text_losses(
                model, self.rows, self.collate, trainer.eval_batch_size, trainer.bf16
            )
        values = metrics.Scorer(metrics.ANY_TASK, self.config.task.metrics).score(
            losses, self.tokens
        )
        return base.CutScore(base.finite(values), time.monotonic() - start)

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of a prompt and a completion."""
        return cls.sized_pair(tokens, answer)

    def scored_lengths(self) -> list[int]:
        """Return the tokens of each example."""
        return [row["length"] for row in self.rows]

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature, and how many tokens and cut texts were scored."""
        end = self.tokenizer.eos_token_id
        return super().scoring() | {
            "signature": metrics.signature(self.config.task.metrics),
            "tokens": sum(self.tokens),
            "cut_texts": sum(row["input_ids"][-1] != end for row in self.rows),
        }
