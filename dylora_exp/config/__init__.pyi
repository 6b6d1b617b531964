from .choices import CONF_DIR as CONF_DIR
from .choices import CONFIG_GROUPS as CONFIG_GROUPS
from .choices import option_files as option_files
from .choices import options as options
from .composition import compose as compose
from .composition import from_hydra as from_hydra
from .composition import missing_config as missing_config
from .cuts import CALIBRATED as CALIBRATED
from .cuts import RANKS_PER_LAYER as RANKS_PER_LAYER
from .cuts import UNWEIGHTED as UNWEIGHTED
from .cuts import CutConfig as CutConfig
from .cuts import Scale as Scale
from .cuts import Truncation as Truncation
from .cuts import cut_name as cut_name
from .cuts import plain_alpha as plain_alpha
from .cuts import relative_factor as relative_factor
from .field_types import ClosedShare as ClosedShare
from .field_types import Count as Count
from .field_types import Mark as Mark
from .field_types import NotNegative as NotNegative
from .field_types import OpenShare as OpenShare
from .field_types import Positive as Positive
from .field_types import Share as Share
from .field_types import required_by as required_by
from .loading import default_tree as default_tree
from .loading import known_keys as known_keys
from .loading import load as load
from .loading import marked_keys as marked_keys
from .overrides import check_overrides as check_overrides
from .overrides import quote_value as quote_value
from .profile_differences import SettingDifference as SettingDifference
from .profile_differences import profile_differences as profile_differences
from .ranks import Ranks as Ranks
from .readers import READERS as READERS
from .readers import ReaderName as ReaderName
from .readers import reader_plugins as reader_plugins
from .registry import load_plugin as load_plugin
from .registry import method_class as method_class
from .registry import method_kinds as method_kinds
from .registry import objective_class as objective_class
from .run_identity import OF_SCORING as OF_SCORING
from .run_identity import configs_match as configs_match
from .run_identity import digest as digest
from .run_identity import distinguishing_settings as distinguishing_settings
from .run_identity import file_digest as file_digest
from .run_identity import identity as identity
from .run_identity import is_identity as is_identity
from .run_identity import recompute_run_id as recompute_run_id
from .run_identity import run_id as run_id
from .run_identity import setup_id as setup_id
from .schema import DRAWING as DRAWING
from .schema import WEIGHTS as WEIGHTS
from .schema import Config as Config
from .schema import MethodSettings as MethodSettings
from .schema import ModelConfig as ModelConfig
from .schema import RanksConfig as RanksConfig
from .schema import has_ranks as has_ranks
from .schema import powers_of_two as powers_of_two
from .schema import without_targets as without_targets
from .search_path import named_search_path as named_search_path
from .search_path import quoted_folder as quoted_folder
from .targets import ALL_LINEAR as ALL_LINEAR
from .targets import AUTO as AUTO
from .task_schema import SIZE_PERCENTILES as SIZE_PERCENTILES
from .task_schema import DataFiles as DataFiles
from .task_schema import HubDataset as HubDataset
from .task_schema import HubSource as HubSource
from .task_schema import PublishedFile as PublishedFile
from .task_schema import RowFiles as RowFiles
from .task_schema import TaskConfig as TaskConfig
from .task_schema import TsvSource as TsvSource
from .task_schema import TypicalSizes as TypicalSizes

__all__ = [
    "ALL_LINEAR",
    "AUTO",
    "CALIBRATED",
    "CONFIG_GROUPS",
    "CONF_DIR",
    "DRAWING",
    "OF_SCORING",
    "RANKS_PER_LAYER",
    "READERS",
    "SIZE_PERCENTILES",
    "UNWEIGHTED",
    "WEIGHTS",
    "ClosedShare",
    "Config",
    "Count",
    "CutConfig",
    "DataFiles",
    "HubDataset",
    "HubSource",
    "Mark",
    "MethodSettings",
    "ModelConfig",
    "NotNegative",
    "OpenShare",
    "Positive",
    "PublishedFile",
    "Ranks",
    "RanksConfig",
    "ReaderName",
    "RowFiles",
    "Scale",
    "SettingDifference",
    "Share",
    "TaskConfig",
    "Truncation",
    "TsvSource",
    "TypicalSizes",
    "check_overrides",
    "compose",
    "configs_match",
    "cut_name",
    "default_tree",
    "digest",
    "distinguishing_settings",
    "file_digest",
    "from_hydra",
    "has_ranks",
    "identity",
    "is_identity",
    "known_keys",
    "load",
    "load_plugin",
    "marked_keys",
    "method_class",
    "method_kinds",
    "missing_config",
    "named_search_path",
    "objective_class",
    "option_files",
    "options",
    "plain_alpha",
    "powers_of_two",
    "profile_differences",
    "quote_value",
    "quoted_folder",
    "reader_plugins",
    "recompute_run_id",
    "relative_factor",
    "required_by",
    "run_id",
    "setup_id",
    "without_targets",
]
