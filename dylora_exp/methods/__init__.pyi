from .base import Batch as Batch
from .base import Cut as Cut
from .base import Method as Method
from .base import TrainedModel as TrainedModel
from .base import count_parameters as count_parameters
from .base import make_method as make_method

__all__ = [
    "Batch",
    "Cut",
    "Method",
    "TrainedModel",
    "count_parameters",
    "make_method",
]
