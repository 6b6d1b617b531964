"""An adapter trained by the released LoRA or DyLoRA code: scored and exported, not trained."""

from __future__ import annotations

from dylora_exp.config import Config
from dylora_exp.methods.lora import LoRA, LoRASettings


class ImportedSettings(LoRASettings):
    """LoRA's settings; ``adapter`` names the file of the state dict and is needed."""

    kind: str = "imported"


class ImportedLoRA(LoRA):
    """Score a released state dict at every rank."""

    settings_class = ImportedSettings

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return what is missing, the file among it."""
        found = super().problems(config)
        assert isinstance(config.method, LoRASettings)
        if config.method.adapter is None:
            found.append("method.adapter: found nothing, expected the file of a state dict.")
        return found
