from .base import Objective as Objective
from .base import ObjectiveContext as ObjectiveContext
from .base import make_objective as make_objective
from .batches import SharedBatches as SharedBatches
from .batches import batch_part as batch_part
from .decoding import decode as decode
from .generation import GenerationObjective as GenerationObjective

__all__ = [
    "GenerationObjective",
    "Objective",
    "ObjectiveContext",
    "SharedBatches",
    "batch_part",
    "decode",
    "make_objective",
]
