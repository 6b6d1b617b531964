from .base import Batch as Batch
from .base import Cut as Cut
from .base import Method as Method
from .base import TrainedModel as TrainedModel
from .base import count_parameters as count_parameters
from .base import make_method as make_method
from .base import method_class as method_class
from .kinds import method_kinds as method_kinds

__all__ = [
    "Batch",
    "Cut",
    "Method",
    "TrainedModel",
    "count_parameters",
    "make_method",
    "method_class",
    "method_kinds",
]
