"""What every method offers to training and to the rank sweep, and the choice of the method.

A method is a class with a ``settings_class`` in a module of this folder, which must import neither
torch nor transformers nor peft: configs are checked without them. Import them inside functions;
helper classes that need them lie in ``torch_parts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from dylora_exp import adapters
from dylora_exp.adapters import Cut as Cut
from dylora_exp.config import Config, MethodSettings, Ranks, method_class

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel, TrainerCallback

TrainedModel: TypeAlias = "PreTrainedModel | PeftModel"
MeanLoss: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class Batch:
    """The position of a (micro-)batch in training.

    Attributes:
        step: The 0-based optimizer step.
        index: The 0-based index among the micro-batches of the step.
        first: The index of its first example among all examples of the step.
        size: The number of its examples, over all processes.
        rows: Which of them this process has; None for all.
    """

    step: int
    index: int
    first: int
    size: int
    rows: range | None = None

    @property
    def own(self) -> range:
        """The indices of this process's examples in the batch."""
        return range(self.size) if self.rows is None else self.rows


@dataclass(frozen=True)
class ForwardPass:
    """One forward and backward pass over a batch."""

    is_last: bool


class Method:
    """A method trains a backbone and can show the trained model at any rank.

    Args:
        config: The checked config of the run.
    """

    settings_class: ClassVar[type[MethodSettings]]
    settings: MethodSettings
    # At which rank the model is, where training changes it from pass to pass.
    mask: adapters.RankMask | None = None
    # The share of the configured optimizer steps that the method takes.
    steps_share: float = 1.0

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings = config.method
        self.ranks = Ranks.from_config(config.ranks)
        self.drawn: Counter[int] = Counter()
        # Seconds of what is neither training nor scoring, for the record.
        self.timing: dict[str, float] = {}

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return a sentence for each setting that this method cannot work with."""
        return []

    @classmethod
    def complete(cls, tree: Mapping[str, Any], overridden: Collection[str]) -> Mapping[str, Any]:
        """Return a composed config tree with what the files that it names say, such as an adapter.

        Args:
            tree: Not checked yet.
            overridden: The keys that the user gave; they must not be changed.

        Raises:
            RequestError: When a file is wrong, or the user gave something else than it says.
        """
        return tree

    @property
    def max_grad_norm(self) -> float:
        """The norm to which the Trainer clips the gradients of all parameters together; 0: none."""
        return self.config.trainer.max_grad_norm

    @property
    def is_trained_elsewhere(self) -> bool:
        """Whether the run scores a model that others have trained, instead of training."""
        return False

    @property
    def is_untimed(self) -> bool:
        """Whether the record leaves out the times of training, since there was none."""
        return False

    def check_steps(self, steps: int) -> None:
        """Refuse a number of optimizer steps that the method cannot work with.

        Args:
            steps: Of the whole training.

        Raises:
            RequestError: When they are too few.
        """
        return

    def load_adapter(self, model: TrainedModel) -> list[str]:
        """Put what was trained elsewhere, if anything, into the model and return warnings."""
        return []

    def source(self) -> dict[str, Any]:
        """Return where that comes from, for the record; empty where there is nothing."""
        return {}

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the model to train, with ``requires_grad`` set where the method trains."""
        raise NotImplementedError

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return the method's callbacks for the Trainer."""
        return []

    def optimizer_groups(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups, given those of stock AdamW."""
        return groups

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield each forward and backward pass over a batch, once the model is ready for it.

        The gradients of the passes add up.
        """
        yield ForwardPass(is_last=True)

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the loss of one pass.

        Args:
            model: The model, which may be wrapped for several processes.
            inputs: A batch, ``labels`` among it.
            mean_loss: Of logits and labels.
        """
        texts = {name: value for name, value in inputs.items() if name != "labels"}
        return mean_loss(model(**texts).logits, inputs["labels"])

    def finish(self, model: TrainedModel) -> TrainedModel:
        """Return the model to score and save, once training is over."""
        return model

    def training_stats(self, model: TrainedModel) -> dict[str, Any]:
        """Return the record's statistics of training: plain data, by name."""
        if not self.drawn:
            return {}
        return {"drawn_ranks": {str(rank): self.drawn[rank] for rank in sorted(self.drawn)}}

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save what was trained."""
        model.save_pretrained(str(folder))

    def cuts(self) -> Sequence[Cut]:
        """Return every cut at which the rank sweep scores the model."""
        return [Cut()]

    def prepare_cuts(
        self, model: TrainedModel, calibrate: Callable[[int], adapters.Calibration]
    ) -> None:
        """Work out what all cuts of a trained model share, before it is scored at them.

        Args:
            model: The trained model.
            calibrate: Returns a number of batches for cuts that are measured on some.
        """
        return

    def layer_ranks(self, cut: Cut) -> dict[str, int] | None:
        """Return the ranks of the layers at a cut; None where all have the cut's, or their own."""
        return None

    def cut_remark(self, truncation: str | None) -> str | None:
        """Return what users of a truncation have to know of it, as a sentence; None for nothing."""
        return None

    def row_scale(self) -> torch.Tensor | None:
        """Return fixed factors of A's rows, shape (r_max,), None where the method has none."""
        return None

    def at_cut(self, model: TrainedModel, cut: Cut) -> AbstractContextManager[None]:
        """Return a context in which the model works at one cut."""
        return nullcontext()


def make_method(config: Config) -> Method:
    """Return the method that the config names."""
    method: Method = method_class(config.method.kind)(config)
    return method


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the numbers of trainable and of all parameters.

    PEFT keeps the untrained original of a trained head beside it; that copy is not counted.
    ``adapter`` counts the factors A and B of all layers.
    """
    counted = {n: p for n, p in model.named_parameters() if ".original_module." not in n}
    return {
        "adapter": sum(
            f.numel() for layer in adapters.lora_layers(model) for f in adapters.factors(layer)
        ),
        "trainable": sum(p.numel() for p in counted.values() if p.requires_grad),
        "total": sum(p.numel() for p in counted.values()),
    }
