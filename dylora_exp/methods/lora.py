"""LoRA trained at r_max (PEFT's own, Eq. 4), then truncated to every rank for scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from dylora_exp import adapters
from dylora_exp.config import (
    Config,
    CutConfig,
    Mark,
    MethodSettings,
    Positive,
    Share,
    file_digest,
)
from dylora_exp.methods.base import Cut, Method, TrainedModel

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class LoRASettings(MethodSettings):
    """An adapter's scale, dropout and start, and how lower ranks are made from it.

    ``adapter`` names a file of a released state dict to score instead of training.
    """

    kind: str = "lora"
    alpha: Positive = 16.0
    dropout: Share = 0.0
    init: Literal["kaiming_uniform", "gaussian"] = "kaiming_uniform"
    score: list[CutConfig] = Field(default_factory=list)
    adapter: Annotated[str | None, Mark.FILE] = None

    @property
    def cuts(self) -> list[CutConfig]:
        """How ranks are made to be scored."""
        return self.score


class LoRA(Method):
    """Train PEFT's LoRA untouched; the mask comes in only when ranks are scored."""

    settings_class: ClassVar[type[MethodSettings]] = LoRASettings
    settings: LoRASettings

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing, cuts to score or modules to adapt, or wrong with the file."""
        found, method = cls.missing_settings(config), config.method
        assert isinstance(method, LoRASettings)
        if method.adapter is not None:
            found += adapters.import_problems(method.adapter)
        return found

    @classmethod
    def missing_settings(cls, config: Config) -> list[str]:
        """Return a sentence where there are no cuts to score or no modules to adapt."""
        found, method = [], config.method
        assert isinstance(method, LoRASettings)
        if not method.score:
            found.append("method.score: found an empty list, expected at least one cut.")
        if not config.model.targets:
            found.append("model.targets: found an empty list, expected the modules to adapt.")
        return found

    @property
    def is_trained_elsewhere(self) -> bool:
        """Whether ``method.adapter`` names an adapter to score instead of training."""
        return self.settings.adapter is not None

    def load_adapter(self, model: TrainedModel) -> list[str]:
        """Copy the adapter of the file into the model and return warnings.

        Raises:
            RequestError: When the file and the adapted layers do not match, with all problems.
        """
        if self.settings.adapter is None:
            return []
        return adapters.import_adapter(cast("PeftModel", model), self.config, self.settings.adapter)

    def source(self) -> dict[str, Any]:
        """Return the name and the digest of the adapter's file, empty where there is none."""
        if self.settings.adapter is None:
            return {}
        file = Path(self.settings.adapter).expanduser()
        return {"file": file.name, "sha256": file_digest(file)}

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with LoRA at rank r_max."""
        model = adapters.attach_lora(backbone, self.config, self.settings.init)
        adapters.check_adapters(model)
        return model

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save the adapter at r_max with the head, as PEFT does."""
        adapters.save_adapter(cast("PeftModel", model), folder, self.config.model.name_or_path)

    def cuts(self) -> Sequence[Cut]:
        """Return every rank to score, by each cut of ``method.score``."""
        return [
            Cut(rank, each.truncation, each.scale)
            for each in self.settings.score
            for rank in self.ranks.score
        ]

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model at a rank: leading rows and columns, or those of the singular basis."""
        assert cut.rank is not None
        assert cut.scale is not None
        mask = adapters.install_mask(model, self.ranks.r_max)
        try:
            mask.select(cut.rank, cut.scale)
            with adapters.rotated(model) if cut.truncation == "svd" else nullcontext():
                yield
        finally:
            mask.select(self.ranks.r_max, cut.scale)
