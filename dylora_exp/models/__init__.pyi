from . import backbone as backbone
from .backbone import load as load
from .backbone import local_folders as local_folders
from .backbone import longest_input as longest_input
from .backbone import revision as revision
from .compiling import compile_where_asked as compile_where_asked
from .compiling import eager as eager
from .compiling import eager_for_one as eager_for_one
from .fused import Part as Part
from .fused import fused_part as fused_part
from .fused import has_transposed_weights as has_transposed_weights
from .fused import name_matches as name_matches
from .fused import split_fused as split_fused

__all__ = [
    "Part",
    "backbone",
    "compile_where_asked",
    "eager",
    "eager_for_one",
    "fused_part",
    "has_transposed_weights",
    "load",
    "local_folders",
    "longest_input",
    "name_matches",
    "revision",
    "split_fused",
]
