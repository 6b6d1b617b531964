"""LoRA trained at r_max (PEFT's own, Eq. 4), then truncated to every rank for scoring."""

from __future__ import annotations

import time
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from dylora_exp import adapters
from dylora_exp.config import (
    CALIBRATED,
    DRAWING,
    RANKS_PER_LAYER,
    UNWEIGHTED,
    Config,
    Count,
    CutConfig,
    Mark,
    MethodSettings,
    NotNegative,
    Positive,
    Scale,
    Share,
    Truncation,
    file_digest,
)
from dylora_exp.core import expand_user
from dylora_exp.methods.base import Cut, Method, TrainedModel

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


class LoRASettings(MethodSettings):
    """An adapter's scale, dropout and start, and how lower ranks are made from it.

    ``scale`` is that of training: of the drawn rank, or of r_max where no other is trained;
    ``alpha/sqrt(b)`` is rsLoRA's. ``adapter`` names a file of a released state dict to score
    instead of training. ``calibration_batches`` is the number of training batches on which the
    truncations ``activation`` and ``gradient`` are measured. ``nuclear_norm`` is the
    weight of a term of the loss (see ``LoRA.penalty``).
    """

    kind: str = "lora"
    alpha: Positive = 16.0
    scale: Scale = "alpha/b"
    dropout: Share = 0.0
    init: Literal["kaiming_uniform", "gaussian"] = "kaiming_uniform"
    score: list[CutConfig] = Field(default_factory=list)
    adapter: Annotated[str | None, Mark.FILE] = None
    calibration_batches: Count = 8
    nuclear_norm: NotNegative = 0.0

    @property
    def cuts(self) -> list[CutConfig]:
        """How ranks are made to be scored."""
        return self.score

    @property
    def step_cost(self) -> str:
        """That of one rank a step, whichever it is: the mask multiplies an output of r_max."""
        return "one rank" + (" and a norm" if self.nuclear_norm else "")

    @property
    def rslora(self) -> bool:
        """Whether the adapter's own factor, at r_max, is alpha/sqrt(r)."""
        return self.scale == "alpha/sqrt(b)"

    @property
    def trains_ranks(self) -> bool:
        """False: it trains at r_max."""
        return False

    @property
    def unused_ranks(self) -> frozenset[str]:
        """How ranks are drawn: none are."""
        return DRAWING

    @property
    def unused(self) -> dict[str, str]:
        """The size of a calibration that does not take place, and a term of no training."""
        found = {}
        if not any(cut.truncation in CALIBRATED for cut in self.score):
            reason = f"method.score has no truncation {' or '.join(sorted(CALIBRATED))}"
            found["calibration_batches"] = reason
        if self.adapter is not None:
            found["nuclear_norm"] = "method.adapter is scored, not trained"
        return found


class LoRA(Method):
    """Train PEFT's LoRA untouched; the mask comes in only when ranks are scored."""

    settings_class: ClassVar[type[MethodSettings]] = LoRASettings
    settings: LoRASettings
    # The ways in which ranks may be cut from what the method trains.
    truncations: ClassVar[tuple[str, ...]] = tuple(
        name for name in typing.get_args(Truncation) if name != UNWEIGHTED
    )
    # The scales at which it may be trained; at r_max alone, alpha/r would be alpha/b again.
    scales: ClassVar[tuple[str, ...]] = ("alpha/b", "alpha/sqrt(b)")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.plans: dict[str, adapters.CutPlan] = {}
        self.calibration: dict[str, int] = {}

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
        found += cls.cut_problems(method)
        if method.scale not in cls.scales:
            found.append(
                f"method.scale: found {method.scale}, method '{method.name}' trains rank r_max "
                f"alone, where that is alpha/b; expected one of {', '.join(cls.scales)}."
            )
        if not config.model.targets:
            found.append("model.targets: found an empty list, expected the modules to adapt.")
        return found

    @classmethod
    def cut_problems(cls, method: LoRASettings) -> list[str]:
        """Return a sentence for each cut that the method's model cannot be shown at."""
        found = []
        for number, cut in enumerate(method.score):
            key = f"method.score[{number}]"
            if cut.truncation not in cls.truncations:
                found.append(
                    f"{key}.truncation: found {cut.truncation}, method '{method.name}' "
                    f"{cls.why_truncations(cut)}, expected one of {', '.join(cls.truncations)}."
                )
            elif cut.truncation in RANKS_PER_LAYER and cut.scale != "alpha/r":
                found.append(
                    f"{key}.scale: found {cut.scale} with truncation {cut.truncation}, which gives "
                    "each layer a rank of its own at the scale it was trained at, expected alpha/r."
                )
        return found + cls.repeated_cuts(method)

    @staticmethod
    def repeated_cuts(method: LoRASettings) -> list[str]:
        """Return a sentence for each cut that is named more than once."""
        cuts = Counter(map(str, method.score))
        return [
            f"method.score: found '{cut}' more than once, expected different cuts."
            for cut, count in cuts.items()
            if count > 1
        ]

    @classmethod
    def why_truncations(cls, cut: CutConfig) -> str:
        """Return why a cut's truncation is none of the method's, as the end of a sentence."""
        if cut.truncation == UNWEIGHTED:
            return "has no weights between its factors"
        return "trains its rows for their order"

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
        file = expand_user(self.settings.adapter)
        return {"file": file.name, "sha256": file_digest(file)}

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the backbone with LoRA at rank r_max."""
        model = adapters.attach_lora(backbone, self.config, self.settings.init)
        adapters.check_adapters(model)
        return model

    def penalty(self, model: TrainedModel) -> torch.Tensor | None:
        """Return ``mu (||A||_F^2 + ||B||_F^2) / 2`` over all layers, mu ``method.nuclear_norm``.

        Of all factors with the same product W, the least of it is ``mu ||W||_*``, mu times the sum
        of the singular values (Srebro, Rennie and Jaakkola 2004, lemma 1), so that it draws small
        singular values to zero before the cut. Its gradient is ``mu A`` and ``mu B`` and goes
        through the clip and AdamW's moments like the loss's; decoupled weight decay is subtracted
        from the factors beside them, is scaled by the learning rate alone, and so does not
        minimise this sum.
        """
        if not self.settings.nuclear_norm:
            return None
        from dylora_exp.methods.torch_parts.penalties import half_squared_norms

        return self.settings.nuclear_norm * half_squared_norms(model)

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save the adapter at r_max with the head, as PEFT does, and what data have decided."""
        adapters.save_adapter(cast("PeftModel", model), folder, self.config.model.name_or_path)
        for truncation, plan in self.plans.items():
            if truncation in CALIBRATED:
                adapters.write_basis(folder, truncation, plan.factors)

    def training_stats(self, model: TrainedModel) -> dict[str, Any]:
        """Return the statistics of training, and on how much cuts were calibrated."""
        stats = super().training_stats(model)
        return stats | ({"calibration": self.calibration} if self.calibration else {})

    def cuts(self) -> Sequence[Cut]:
        """Return every rank to score, by each cut of ``method.score``."""
        return [
            Cut(rank, each.truncation, each.scale)
            for each in self.settings.score
            for rank in self.ranks.score
        ]

    def prepare_cuts(
        self, model: TrainedModel, calibrate: Callable[[int], adapters.Calibration]
    ) -> None:
        """Find the basis of each truncation, on training examples where it depends on data."""
        mask = adapters.install_mask(model, self.ranks.r_max)
        truncations = dict.fromkeys(cut.truncation for cut in self.settings.score)
        calibration, start = None, time.monotonic()
        if CALIBRATED & set(truncations):
            mask.select(self.ranks.r_max, "alpha/r")
            calibration = calibrate(self.settings.calibration_batches)
        for truncation in truncations:
            if truncation not in ("leading", UNWEIGHTED):  # the factors as they are
                self.plans[truncation] = adapters.plan_model_cuts(model, truncation, calibration)
        if calibration is not None:
            self.calibration = {"examples": calibration.examples}
            seconds = self.timing.get("calibration_seconds", 0.0) + time.monotonic() - start
            self.timing["calibration_seconds"] = seconds

    def layer_ranks(self, cut: Cut) -> dict[str, int] | None:
        """Return the ranks of the layers where the cut gives each its own."""
        if cut.truncation not in RANKS_PER_LAYER:
            return None
        assert cut.rank is not None
        return self.plans[cut.truncation].layer_ranks(cut.rank)

    @contextmanager
    def at_cut(self, model: TrainedModel, cut: Cut) -> Iterator[None]:
        """Show the model at a rank, or at the ranks that its layers have within the same size."""
        assert cut.rank is not None
        assert cut.truncation is not None
        assert cut.scale is not None
        mask = adapters.install_mask(model, self.ranks.r_max)
        plan = None
        if cut.truncation != "leading":
            plan = self.plans.get(cut.truncation) or adapters.plan_model_cuts(model, cut.truncation)
        ranks = plan.layer_ranks(cut.rank) if plan else None
        try:
            # Rows beyond the rank of a layer are zero where the mask leaves all of them.
            mask.select(cut.rank if ranks is None else self.ranks.r_max, cut.scale)
            with nullcontext() if plan is None else adapters.shown(model, plan.factors, ranks):
                yield
        finally:
            mask.select(self.ranks.r_max, "alpha/r")
