from .base import Batch as Batch
from .base import Cut as Cut
from .base import Method as Method
from .base import TrainedModel as TrainedModel
from .base import count_parameters as count_parameters
from .base import make_method as make_method
from .dylora import DyLoRA as DyLoRA
from .dylora import DyLoRASettings as DyLoRASettings
from .lora import LoRA as LoRA
from .lora import LoRASettings as LoRASettings

__all__ = [
    "Batch",
    "Cut",
    "DyLoRA",
    "DyLoRASettings",
    "LoRA",
    "LoRASettings",
    "Method",
    "TrainedModel",
    "count_parameters",
    "make_method",
]
