from .composition import CONF_DIR as CONF_DIR
from .composition import check_overrides as check_overrides
from .composition import compose as compose
from .composition import from_hydra as from_hydra
from .composition import options as options
from .composition import quote_path as quote_path
from .ranks import Ranks as Ranks
from .run_identity import NOT_IDENTITY as NOT_IDENTITY
from .run_identity import configs_match as configs_match
from .run_identity import identity as identity
from .run_identity import run_id as run_id
from .run_identity import setup_id as setup_id
from .schema import Config as Config
from .schema import DecodeConfig as DecodeConfig
from .schema import HubSource as HubSource
from .schema import ModelConfig as ModelConfig
from .schema import PublishedFile as PublishedFile
from .schema import Scale as Scale
from .schema import TaskConfig as TaskConfig
from .schema import Truncation as Truncation
from .schema import TsvSource as TsvSource
from .schema import generates as generates
from .schema import has_ranks as has_ranks
from .schema import known_keys as known_keys
from .schema import load as load
from .schema import outputs as outputs

__all__ = [
    "CONF_DIR",
    "NOT_IDENTITY",
    "Config",
    "DecodeConfig",
    "HubSource",
    "ModelConfig",
    "PublishedFile",
    "Ranks",
    "Scale",
    "TaskConfig",
    "Truncation",
    "TsvSource",
    "check_overrides",
    "compose",
    "configs_match",
    "from_hydra",
    "generates",
    "has_ranks",
    "identity",
    "known_keys",
    "load",
    "options",
    "outputs",
    "quote_path",
    "run_id",
    "setup_id",
]
