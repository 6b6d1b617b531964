from .answers import MARKED as MARKED
from .answers import Answer as Answer
from .answers import check_rule as check_rule
from .answers import extract_answer as extract_answer
from .answers import parse_number as parse_number
from .answers import read_answers as read_answers
from .choices import chosen_option as chosen_option
from .evaluate_modules import compute as compute
from .evaluate_modules import load_metric as load_metric
from .metric import Computation as Computation
from .metric import Metric as Metric
from .registry import ANY_TASK as ANY_TASK
from .registry import MEAN_OF_PARTS as MEAN_OF_PARTS
from .registry import METRICS as METRICS
from .registry import PARTS as PARTS
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
    "MARKED",
    "MEAN_OF_PARTS",
    "METRICS",
    "PARTS",
    "Answer",
    "Computation",
    "Metric",
    "Scorer",
    "base_name",
    "check_rule",
    "chosen_option",
    "compute",
    "display_factor",
    "extract_answer",
    "format_value",
    "get",
    "hub_name",
    "is_better",
    "load_metric",
    "metric_sign",
    "names",
    "output_factor",
    "parse_number",
    "protocol_metrics",
    "protocols",
    "read_answers",
    "score_range",
    "sign",
    "signature",
    "title",
]
