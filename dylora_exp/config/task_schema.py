"""The typed schema of a task: what is learned, where its data are and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from dylora_exp.config.field_types import Count, Language, Mark
from dylora_exp.config.readers import READERS, ReaderName
from dylora_exp.core import StrictModel, unknown_name
from dylora_exp.metrics import METRICS

# Of the lengths of examples, those that a plan keeps.
SIZE_PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 99, 100)


class HubDataset(StrictModel):
    """A dataset of the hub, its configuration where it has several, and two of its splits."""

    path: str = ""
    name: str | None = None
    train: str = "train"
    eval: str = "validation"

    @property
    def splits(self) -> tuple[tuple[str, str | None, str], ...]:
        """The data set, the configuration and the split of the training and the scored examples."""
        return (self.path, self.name, self.train), (self.path, self.name, self.eval)


class HubSource(HubDataset):
    """Where a task lies on the hub, and the columns that hold its texts."""

    text: list[str] = Field(default_factory=list)
    label: str = "label"


class TsvSource(StrictModel):
    """The official GLUE layout of a task: its folder, files and columns.

    ``columns`` names the columns of a file without a header.
    """

    folder: str = ""
    train: str = "train.tsv"
    eval: str = "dev.tsv"
    columns: list[str] | None = None
    text: list[str] = Field(default_factory=list)
    label: str = "label"


class RowFiles(StrictModel):
    """The files of a task of the reader ``rows`` in ``task.data_dir``.

    ``folder`` is looked for there. A name may leave out its ending, such as ``.json`` or ``.csv``,
    and may be that of a folder of ``save_to_disk``.
    """

    folder: str = ""
    train: list[str] = Field(default_factory=lambda: ["train"])
    eval: list[str] = Field(default_factory=lambda: ["test"])


class DataFiles(StrictModel):
    """The files of a task of one's own, or folders of ``save_to_disk``."""

    train: Annotated[str, Mark.FOLDER, Mark.FILE]
    eval: Annotated[str, Mark.FOLDER, Mark.FILE]


class PublishedFile(StrictModel):
    """A file of a task as its publisher has it.

    ``sha256`` is None where it is not known, and so is the number of its texts, by which a file
    without a digest is told from another version.
    """

    name: str = ""
    url: str = ""
    sha256: str | None = None
    texts: int | None = None


class TypicalSizes(StrictModel):
    """How many examples a task has, and how long they are, for a plan made without its data.

    Lengths are in tokens of the vocabulary that GPT-2 and RoBERTa share, special tokens included:
    those that ``SIZE_PERCENTILES`` per cent of the examples do not exceed, in that order. They are
    of ``train_tokens``, what is trained of an example, ``eval_tokens``, what is read of a scored
    one, and ``new_tokens``, the texts that are generated. ``source`` says where they are from.
    """

    train: Count
    eval: Count
    train_tokens: list[Count]
    eval_tokens: list[Count]
    new_tokens: list[Count] = Field(default_factory=list)
    source: str = ""

    @field_validator("train_tokens", "eval_tokens", "new_tokens")
    @classmethod
    def _are_percentiles(cls, value: list[int], info: ValidationInfo) -> list[int]:
        empty_allowed = info.field_name == "new_tokens"
        if (value or not empty_allowed) and len(value) != len(SIZE_PERCENTILES):
            raise ValueError(f"found {len(value)} numbers, expected {len(SIZE_PERCENTILES)}")
        if value != sorted(value):
            raise ValueError(f"found {value}, expected them in ascending order")
        return value


class TaskConfig(StrictModel):
    """What is learned, where its data are and how it is scored.

    ``labels`` are in id order; none means a number; ``language`` is for model cards. A subclass
    beside each objective adds the settings that it alone has, marks those without effect as unused,
    and describes the objective:

    Attributes:
        auto_model_class: The class of transformers that loads a model for it.
        peft_task_type: PEFT's name for it.
        trains_head: Whether the modules of ``model.head`` are trained beside an adapter.
        pipeline_tag: The hub's name for it.
    """

    auto_model_class: ClassVar[str]
    peft_task_type: ClassVar[str]
    trains_head: ClassVar[bool]
    pipeline_tag: ClassVar[str]

    name: str = ""
    objective: str
    reader: ReaderName = "glue"
    data_dir: Annotated[str | None, Mark.NOT_IDENTITY, Mark.FOLDER] = None
    labels: list[str] = Field(default_factory=list)
    label_range: list[float] | None = None
    metrics: list[str] = Field(default_factory=list)
    headline: str = ""
    hub: HubSource | None = None
    tsv: TsvSource | None = None
    files: RowFiles | None = None
    data_files: DataFiles | None = None
    broken_lines: Literal["error", "skip"] = "error"
    max_length: Annotated[int, Field(ge=2)] = 512
    max_train_samples: Count | None = None
    max_eval_samples: Count | None = None
    held_out: Annotated[float, Field(gt=0, lt=1)] | None = None
    eval_split: Literal["dev", "test"] | None = None
    published: Annotated[list[PublishedFile], Mark.NOT_IDENTITY] = Field(default_factory=list)
    language: Annotated[Language | None, Mark.NOT_IDENTITY] = None
    typical: Annotated[TypicalSizes | None, Mark.NOT_IDENTITY] = None

    @property
    def scored(self) -> str:
        """What the metrics compare: a word of ``metrics.Scored``."""
        raise NotImplementedError

    @property
    def reads_files(self) -> bool:
        """Whether the task is read from files, and not from the hub, where it is there, too."""
        return self.data_dir is not None or self.data_files is not None or self.hub is None

    @property
    def of_rows(self) -> tuple[str, ...]:
        """The settings that say which example a row is."""
        return ()

    @property
    def of_hub(self) -> dict[str, Any]:
        """What the hub's data set has in the place of some of ``of_rows``, by their names."""
        return {}

    @property
    def on_hub(self) -> Self:
        """The task with what is different where it is read from the hub."""
        return self.model_copy(update=self.of_hub)

    def with_fetched_files(self, hub_cache: str | None) -> Self:
        """Return the task with its published files where ``dylora data fetch`` puts them.

        Args:
            hub_cache: The folder of fetched data; without one the task is as it was.
        """
        if hub_cache is None or self.data_dir is not None or not self.published:
            return self
        return self.model_copy(update={"data_dir": hub_cache})

    @property
    def unused(self) -> dict[str, str]:
        """The settings of its own that change nothing, with the reason."""
        return {}

    @property
    def number_of_outputs(self) -> int | None:
        """The width of the model's head: one for each label, 1 for a number, None for texts."""
        raise NotImplementedError

    def example(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the example that a row of the reader ``rows`` is, in the columns of ``TaskData``.

        Args:
            row: Its values by column.

        Raises:
            TemplateFlaw: When the row is none.
        """
        raise NotImplementedError

    def is_trained(self, row: Mapping[str, Any]) -> bool:
        """Return whether a row of the training data of the reader ``rows`` is used.

        Args:
            row: Its values by column.

        Raises:
            TemplateFlaw: When that cannot be said.
        """
        return True

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        found = []
        if not self.metrics:
            found.append("task.metrics: found an empty list, expected at least one metric.")
        elif self.headline not in self.metrics:
            found.append(unknown_name("task.headline", self.headline, self.metrics))
        if len(self.labels) == 1:
            found.append("task.labels: found one label, expected several, or none for a number.")
        reader = READERS.get(self.reader)
        if reader is not None and self.scored not in reader.answers:
            *others, last = reader.answers
            kinds = " or ".join(filter(None, (", ".join(others), last)))
            found.append(
                f"task.reader: found {self.reader}, which reads {kinds}, but the answers of task "
                f"'{self.name}' are {self.scored}."
            )
        for index, name in enumerate(self.metrics):
            if name not in METRICS:
                found.append(unknown_name(f"task.metrics[{index}]", name, METRICS))
            elif self.scored not in METRICS[name].kinds:
                scored = METRICS[name].scores
                found.append(f"task.metrics: '{name}' scores {scored}, which this task has not.")
            elif METRICS[name].two_labels_only and len(self.labels) > 2:
                found.append(f"task.metrics: '{name}' is of two labels, this task has more.")
        if self.reader == "glue" and self.tsv is None and self.hub is None:
            found.append("task: a glue task needs 'hub' or 'tsv' to say where its data lie.")
        if self.data_dir == "":
            found.append("task.data_dir: found an empty text, expected a folder.")
        return found

    def foreign_settings(self) -> dict[str, str]:
        """Return a sentence for each setting that only tasks of other answers or readers have."""
        found = {
            f"task.{name}": f"task.{name}: task '{self.name}' has no such setting, its answers are "
            f"{self.scored}."
            for name, field in type(self).model_fields.items()
            if Mark.UNUSED in field.metadata and getattr(self, name)
        }
        reader = READERS.get(self.reader)
        for name in ("files", "data_files"):  # a run on other data than these must not begin
            if reader and name not in reader.settings and getattr(self, name) is not None:
                found.setdefault(
                    f"task.{name}",
                    f"task.{name}: the reader {self.reader} has its own files, the reader rows "
                    "reads those of one's own.",
                )
        return found
