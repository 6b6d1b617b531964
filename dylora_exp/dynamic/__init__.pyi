from .callback import DynamicRanks as DynamicRanks
from .handle import DynamicLoRA as DynamicLoRA
from .handle import make_dynamic as make_dynamic
from .inference import at_rank as at_rank
from .inference import rank_curve as rank_curve
from .inference import set_rank as set_rank
from .saving import save_rank as save_rank

__all__ = [
    "DynamicLoRA",
    "DynamicRanks",
    "at_rank",
    "make_dynamic",
    "rank_curve",
    "save_rank",
    "set_rank",
]
