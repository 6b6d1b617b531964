from .attach import attach_lora as attach_lora
from .attach import save_adapter as save_adapter
from .calibration import Calibration as Calibration
from .cuts import Cut as Cut
from .cutting import CutPlan as CutPlan
from .cutting import layer_sizes as layer_sizes
from .cutting import plan_model_cuts as plan_model_cuts
from .cutting import shown as shown
from .exporting import export_rank as export_rank
from .importing import import_adapter as import_adapter
from .importing import import_problems as import_problems
from .layers import factors as factors
from .layers import lora_layers as lora_layers
from .layers import trained_digest as trained_digest
from .layers import trained_restored as trained_restored
from .mask import RankMask as RankMask
from .mask import find_mask as find_mask
from .mask import install_mask as install_mask
from .mask import move_mask_to_model as move_mask_to_model
from .mask import remove_mask as remove_mask
from .merging import masked_factors as masked_factors
from .merging import merged as merged
from .merging import merging_keeps_outputs as merging_keeps_outputs
from .merging import product as product
from .peft_config import AdapterSettings as AdapterSettings
from .peft_config import read_peft_settings as read_peft_settings
from .peft_folder import PeftFolder as PeftFolder
from .peft_folder import PeftLayer as PeftLayer
from .peft_folder import read_peft_folder as read_peft_folder
from .peft_import import attach_peft_folder as attach_peft_folder
from .peft_import import check_peft_folder as check_peft_folder
from .peft_import import import_peft_folder as import_peft_folder
from .peft_import import saved_modules as saved_modules
from .probes import check_adapters as check_adapters
from .probes import check_example_ranks as check_example_ranks
from .rank_choice import budget_ranks as budget_ranks
from .rank_choice import energies as energies
from .rank_choice import energy_ranks as energy_ranks
from .resized import Resized as Resized
from .resized import ResizedLayer as ResizedLayer
from .resizing import resize as resize
from .resizing import spectra_of as spectra_of
from .rotation import rotate as rotate
from .rotation import rotated as rotated
from .saved import SavedAdapter as SavedAdapter
from .saved import read_adapter as read_adapter
from .saved import read_continued as read_continued
from .saved import write_adapter as write_adapter
from .saved import write_basis as write_basis
from .saved import write_continued as write_continued
from .truncation import singular_factors as singular_factors
from .truncation import truncate as truncate

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
    "attach_peft_folder",
    "budget_ranks",
    "check_adapters",
    "check_example_ranks",
    "check_peft_folder",
    "energies",
    "energy_ranks",
    "export_rank",
    "factors",
    "find_mask",
    "import_adapter",
    "import_peft_folder",
    "import_problems",
    "install_mask",
    "layer_sizes",
    "lora_layers",
    "masked_factors",
    "merged",
    "merging_keeps_outputs",
    "move_mask_to_model",
    "plan_model_cuts",
    "product",
    "read_adapter",
    "read_continued",
    "read_peft_folder",
    "read_peft_settings",
    "remove_mask",
    "resize",
    "rotate",
    "rotated",
    "save_adapter",
    "saved_modules",
    "shown",
    "singular_factors",
    "spectra_of",
    "trained_digest",
    "trained_restored",
    "truncate",
    "write_adapter",
    "write_basis",
    "write_continued",
]
