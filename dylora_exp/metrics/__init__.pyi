from .choices import chosen_option as chosen_option
from .evaluate_modules import compute as compute
from .evaluate_modules import load_metric as load_metric
from .registry import ANY_TASK as ANY_TASK
from .registry import METRICS as METRICS
from .registry import PARTS as PARTS
from .registry import Computation as Computation
from .registry import Metric as Metric
from .registry import base_name as base_name
from .registry import display_factor as display_factor
from .registry import format_value as format_value
from .registry import get as get
from .registry import hub_name as hub_name
from .registry import is_better as is_better
from .registry import metric_sign as metric_sign
from .registry import names as names
from .registry import output_factor as output_factor
from .registry import protocol_metrics as protocol_metrics
from .registry import protocols as protocols
from .registry import score_range as score_range
from .registry import sign as sign
from .registry import signature as signature
from .registry import title as title
from .scorer import Scorer as Scorer

__all__ = [
    "ANY_TASK",
    "METRICS",
    "PARTS",
    "Computation",
    "Metric",
    "Scorer",
    "base_name",
    "chosen_option",
    "compute",
    "display_factor",
    "format_value",
    "get",
    "hub_name",
    "is_better",
    "load_metric",
    "metric_sign",
    "names",
    "output_factor",
    "protocol_metrics",
    "protocols",
    "score_range",
    "sign",
    "signature",
    "title",
]
