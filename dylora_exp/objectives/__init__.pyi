from .base import Objective as Objective
from .base import ObjectiveContext as ObjectiveContext
from .base import make_objective as make_objective
from .classification import ClassificationTask as ClassificationTask
from .decode_config import DecodeConfig as DecodeConfig
from .generation import GenerationObjective as GenerationObjective
from .generation import GenerationTask as GenerationTask
from .templates import TemplateObjective as TemplateObjective
from .templates import TemplateTask as TemplateTask
from .torch_parts.batches import SharedBatches as SharedBatches
from .torch_parts.batches import batch_part as batch_part
from .torch_parts.decoding import decode as decode

__all__ = [
    "ClassificationTask",
    "DecodeConfig",
    "GenerationObjective",
    "GenerationTask",
    "Objective",
    "ObjectiveContext",
    "SharedBatches",
    "TemplateObjective",
    "TemplateTask",
    "batch_part",
    "decode",
    "make_objective",
]
