from .attach import attach_lora as attach_lora
from .attach import save_adapter as save_adapter
from .calibration import Calibration as Calibration
from .cuts import Cut as Cut
from .cutting import CutPlan as CutPlan
from .cutting import layer_sizes as layer_sizes
from .cutting import plan_cuts as plan_cuts
from .cutting import plan_model_cuts as plan_model_cuts
from .cutting import shown as shown
from .example_ranks import check_example_ranks as check_example_ranks
from .exporting import export_rank as export_rank
from .importing import import_adapter as import_adapter
from .importing import import_problems as import_problems
from .layers import factors as factors
from .layers import lora_layers as lora_layers
from .mask import RankMask as RankMask
from .mask import install_mask as install_mask
from .mask import move_mask_to_model as move_mask_to_model
from .merging import merged as merged
from .merging import merging_keeps_outputs as merging_keeps_outputs
from .peft_config import AdapterSettings as AdapterSettings
from .peft_config import read_peft_settings as read_peft_settings
from .peft_folder import PeftFolder as PeftFolder
from .peft_folder import PeftLayer as PeftLayer
from .peft_folder import read_peft_folder as read_peft_folder
from .rank_choice import budget_ranks as budget_ranks
from .rank_choice import energies as energies
from .rank_choice import energy_ranks as energy_ranks
from .resizing import Resized as Resized
from .resizing import ResizedLayer as ResizedLayer
from .resizing import resize as resize
from .resizing import spectra_of as spectra_of
from .saved import SavedAdapter as SavedAdapter
from .saved import read_adapter as read_adapter
from .saved import write_adapter as write_adapter
from .saved import write_basis as write_basis
from .truncation import rotate as rotate
from .truncation import singular_factors as singular_factors

__all__ = [
    "AdapterSettings",
    "Calibration",
    "Cut",
    "CutPlan",
    "PeftFolder",
    "PeftLayer",
    "RankMask",
    "Resized",
    "ResizedLayer",
    "SavedAdapter",
    "attach_lora",
    "budget_ranks",
    "check_example_ranks",
    "energies",
    "energy_ranks",
    "export_rank",
    "factors",
    "import_adapter",
    "import_problems",
    "install_mask",
    "layer_sizes",
    "lora_layers",
    "merged",
    "merging_keeps_outputs",
    "move_mask_to_model",
    "plan_cuts",
    "plan_model_cuts",
    "read_adapter",
    "read_peft_folder",
    "read_peft_settings",
    "resize",
    "rotate",
    "save_adapter",
    "shown",
    "singular_factors",
    "spectra_of",
    "write_adapter",
    "write_basis",
]
