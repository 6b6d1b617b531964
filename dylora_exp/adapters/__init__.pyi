from . import released as released
from .masked import RankMask as RankMask
from .masked import attach_lora as attach_lora
from .masked import factors as factors
from .masked import install_mask as install_mask
from .masked import lora_layers as lora_layers
from .masked import merged as merged
from .masked import move_mask_to_model as move_mask_to_model
from .masked import rotate as rotate
from .masked import save_adapter as save_adapter
from .masked import singular_factors as singular_factors
from .saved import A_KEY as A_KEY
from .saved import B_KEY as B_KEY
from .saved import SETTINGS as SETTINGS
from .saved import WEIGHTS as WEIGHTS
from .saved import Factors as Factors
from .saved import SavedAdapter as SavedAdapter
from .saved import read_adapter as read_adapter

__all__ = [
    "A_KEY",
    "B_KEY",
    "SETTINGS",
    "WEIGHTS",
    "Factors",
    "RankMask",
    "SavedAdapter",
    "attach_lora",
    "factors",
    "install_mask",
    "lora_layers",
    "merged",
    "move_mask_to_model",
    "read_adapter",
    "released",
    "rotate",
    "save_adapter",
    "singular_factors",
]
