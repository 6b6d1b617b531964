"""An adapter trained elsewhere: scored and exported, not trained.

It is a LoRA that PEFT saved in a folder, or a state dict of the released LoRA or DyLoRA code.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, cast

from dylora_exp import adapters, models
from dylora_exp.config import Config, Mark, Scale
from dylora_exp.core import RequestError, commit_of, expand_user, repository_of
from dylora_exp.methods.base import TrainedModel
from dylora_exp.methods.lora import LoRA, LoRASettings
from dylora_exp.methods.peft_settings import completed, locate_adapter

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class ImportedSettings(LoRASettings):
    """LoRA's settings; ``adapter`` is needed: a folder, a name on the hub, or a state dict.

    What a folder's ``adapter_config.json`` says replaces alpha, ranks, targets, head and model.
    """

    kind: str = "imported"
    # An adapter has the scale at which it was trained.
    scale: Annotated[Scale, Mark.FROM_PROFILES] = "alpha/b"

    @property
    def trains(self) -> bool:
        """False: the run only scores."""
        return False


class ImportedLoRA(LoRA):
    """Score an adapter at every rank."""

    settings_class = ImportedSettings

    @classmethod
    def complete(cls, tree: Mapping[str, Any], overridden: Collection[str]) -> Mapping[str, Any]:
        """Return the tree with the settings of the PEFT adapter, if there is one."""
        folder = locate_adapter(tree)
        if folder is None:
            return super().complete(tree, overridden)
        try:
            source = adapters.read_peft_folder(folder)
            adapters.saved_modules(source)
        except RequestError as error:
            raise RequestError(f"method.adapter: {each}" for each in error.problems) from None
        return super().complete(completed(tree, source, overridden), overridden)

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing, the adapter among it, or wrong with its values."""
        assert isinstance(config.method, LoRASettings)
        if config.method.adapter is None:
            return [
                *super().problems(config),
                "method.adapter: found nothing, expected the folder of a PEFT adapter or the file "
                "of a state dict.",
            ]
        folder = expand_user(config.method.adapter)
        if config.method.adapter and not folder.exists():
            return [
                *cls.missing_settings(config),
                f"method.adapter: there is no folder or file '{folder}', expected what PEFT saved, "
                "or a released state dict.",
            ]
        if not folder.is_dir():
            return super().problems(config)
        found = cls.missing_settings(config)
        try:
            adapters.check_peft_folder(adapters.read_peft_folder(folder), config)
        except RequestError as error:
            prefix = "method.adapter: "
            found += [f"{prefix}{each.removeprefix(prefix)}" for each in error.problems]
        return found

    @property
    def is_untimed(self) -> bool:
        """Whether the record has no times of training: a PEFT folder never had any here."""
        return self._folder is not None

    @property
    def _folder(self) -> adapters.PeftFolder | None:
        folder = expand_user(self.settings.adapter or "")
        is_folder = self.settings.adapter is not None and folder.is_dir()
        return adapters.read_peft_folder(folder) if is_folder else None

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with adapters where, and of the ranks that, the folder has them."""
        if (folder := self._folder) is None:
            return super().attach(backbone)
        return adapters.attach_peft_folder(backbone, folder, self.config)

    def load_adapter(self, model: TrainedModel) -> list[str]:
        """Copy the adapter into the model and return warnings."""
        if (folder := self._folder) is None:
            return super().load_adapter(model)
        return adapters.import_peft_folder(cast("PeftModel", model), folder, self.config)

    def source(self) -> dict[str, Any]:
        """Return what the adapter was: names, checksums, its ranks and its base."""
        if (folder := self._folder) is None:
            return super().source()
        settings, place = folder.settings, folder.path.resolve()
        ranks = {name: layer.r for name, layer in folder.layers.items()}
        found = {
            "folder": repository_of(place) or place.name,
            "revision": commit_of(place),
            "files": folder.checksums(),
            "base_model": _without_path(settings.base_model_name_or_path),
            "peft_type": settings.peft_type,
            "r": settings.r,
            "lora_alpha": settings.lora_alpha,
            "use_rslora": bool(settings.use_rslora),
            "ranks": ranks if len(set(ranks.values())) > 1 else None,
            "saved_modules": adapters.saved_modules(folder),
        }
        return {key: value for key, value in found.items() if value is not None}


def _without_path(name: str | None) -> str | None:
    """Return a name on the hub as it is, and of a folder on some machine its own name."""
    return name if name is None or models.is_hub_name(name) else PurePath(name).name
