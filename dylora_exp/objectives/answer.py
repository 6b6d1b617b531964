"""Worked solutions, scored by the answers that generated texts end with: GSM8K."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, field_validator

from dylora_exp import metrics
from dylora_exp.config import Count, TaskConfig
from dylora_exp.core import RequestError, broadcast_from_main
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.metrics import MARKED, Answer, check_rule, read_answers
from dylora_exp.objectives import base
from dylora_exp.objectives.completions import CompletionTask
from dylora_exp.objectives.decode_config import DecodeConfig, Stop
from dylora_exp.objectives.decoder import Decoder
from dylora_exp.objectives.templates import TemplateObjective


def _check_rule(rule: str) -> str:
    check_rule(rule)
    return rule


class AnswerDecodeConfig(DecodeConfig):
    """How solutions are generated: greedily, and whole."""

    beams: Count = 1
    max_new_tokens: Count = 300
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    length_penalty: float = 1.0
    stop: Stop = "end"


class AnswerTask(CompletionTask):
    """A task whose completions are solutions, each of which says an answer.

    ``extract``: how the answer is found in a text, ``marked``, ``last_number`` or a regular
    expression whose one group is the answer. ``reference``: a template of the right answer or of a
    text that says it; the completion says it where there is none.
    """

    templates: ClassVar[tuple[str, ...]] = ("prompt", "completion", "reference")

    objective: str = "answer"
    decode: AnswerDecodeConfig = Field(default=None, validate_default=True)
    extract: Annotated[str, AfterValidator(_check_rule)] = MARKED
    reference: str | None = None

    @field_validator("decode", mode="before")
    @classmethod
    def _or_default(cls, value: Any) -> Any:
        return {} if value is None else value

    @property
    def scored(self) -> str:
        """Answers."""
        return "answers"

    def example(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``prompt``, the ``completion`` and the ``reference`` of a row."""
        found = {name: self.render(name, row) for name in ("prompt", "completion")}
        named = "completion" if self.reference is None else "reference"
        return found | {"reference": self.render(named, row)}


class AnswerObjective(TemplateObjective):
    """The likelihood of solutions; scored by the answers of those that a model generates."""

    settings_class = AnswerTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        task = setting.config.task
        assert isinstance(task, AnswerTask)
        self.extract = task.extract
        self.references = _references(task, setting)
        self.prompts = [self.encoder.prompt(prompt) for prompt in setting.data.eval["prompt"]]
        self.decoder = Decoder(setting, task.decode, self.prompts, setting.data.eval["where"])
        self.scorer = metrics.Scorer(metrics.ANY_TASK, task.metrics)

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the metrics of the answer to each prompt."""
        decoded = self.decoder.decode(model, method, cut, folder)
        return base.CutScore(
            broadcast_from_main(lambda: self._metrics(decoded.texts)), decoded.seconds
        )

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of a prompt and a solution."""
        return {**cls.sized_pair(tokens, answer), "reference": "1"}

    def scored_lengths(self) -> list[int]:
        """Return the tokens of each prompt."""
        return list(map(len, self.prompts))

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature, and how texts were decoded and answers found."""
        about = {"signature": self.scorer.signature, "decoding": self.decoder.about()}
        return super().scoring() | about | {"extract": self.extract}

    def _metrics(self, texts: list[str]) -> dict[str, float | None]:
        answers = read_answers(texts, self.extract)
        return self.scorer.score(answers, [[each] for each in self.references])


def _references(task: AnswerTask, setting: base.ObjectiveContext) -> list[Answer]:
    """Return the right answers; one that is said by no rule is the whole text, if that is a line.

    Raises:
        RequestError: For the first text that has none, naming its place.
    """
    data = setting.data.eval
    found = read_answers(data["reference"][:], task.extract)
    for answer, where in zip(found, data["where"], strict=True):
        if answer.answer is None and (not answer.text.strip() or "\n" in answer.text.strip()):
            raise RequestError(
                f"{where}: found no answer in the solution by task.extract={task.extract}; a "
                "template of the answer alone may replace it: task.reference='{{ COLUMN }}'."
            )
    return found
