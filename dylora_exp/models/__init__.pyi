from .architecture import hub_repositories as hub_repositories
from .architecture import local_folders as local_folders
from .architecture import model_problems as model_problems
from .architecture import resolve as resolve
from .bases import find_base as find_base
from .bases import is_hub_name as is_hub_name
from .compiling import compile_where_asked as compile_where_asked
from .compiling import eager as eager
from .compiling import eager_for_one as eager_for_one
from .depths import Depth as Depth
from .depths import depth_of as depth_of
from .depths import with_layers as with_layers
from .depths import without_weights as without_weights
from .fused import fused_layouts as fused_layouts
from .fused import has_transposed_weights as has_transposed_weights
from .fused import split_fused as split_fused
from .guessing import complete_model as complete_model
from .layer_names import Part as Part
from .layer_names import fused_part as fused_part
from .layer_names import name_matches as name_matches
from .layouts import Layout as Layout
from .loading import check_checkpointing as check_checkpointing
from .loading import load as load
from .loading import load_tokenizer as load_tokenizer
from .loading import longest_input as longest_input
from .loading import revision as revision
from .loading import skeleton as skeleton
from .probes import computes_exactly as computes_exactly
from .probes import differs as differs
from .probes import equal_texts as equal_texts
from .probes import is_probed as is_probed
from .probes import probing as probing
from .quantised import packed_layers as packed_layers
from .quantised import unpacked as unpacked
from .quantised import weight_size as weight_size
from .targets import target_names as target_names
from .weights import weight_users as weight_users

__all__ = [
    "Depth",
    "Layout",
    "Part",
    "check_checkpointing",
    "compile_where_asked",
    "complete_model",
    "computes_exactly",
    "depth_of",
    "differs",
    "eager",
    "eager_for_one",
    "equal_texts",
    "find_base",
    "fused_layouts",
    "fused_part",
    "has_transposed_weights",
    "hub_repositories",
    "is_hub_name",
    "is_probed",
    "load",
    "load_tokenizer",
    "local_folders",
    "longest_input",
    "model_problems",
    "name_matches",
    "packed_layers",
    "probing",
    "resolve",
    "revision",
    "skeleton",
    "split_fused",
    "target_names",
    "unpacked",
    "weight_size",
    "weight_users",
    "with_layers",
    "without_weights",
]
