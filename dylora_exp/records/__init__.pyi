from .digests import changed_file as changed_file
from .digests import saved_files as saved_files
from .frame import load_records as load_records
from .rank_verdicts import CutName as CutName
from .rank_verdicts import RankVerdict as RankVerdict
from .rank_verdicts import cut_text as cut_text
from .rank_verdicts import deciding_metric as deciding_metric
from .rank_verdicts import rank_verdict as rank_verdict
from .rank_verdicts import run_tolerance as run_tolerance
from .record import EpochScores as EpochScores
from .record import LayerSize as LayerSize
from .record import RankScore as RankScore
from .record import Record as Record
from .store import RecordStore as RecordStore
from .store import check_results as check_results
from .summary import DEFAULT_SHARE as DEFAULT_SHARE
from .summary import allowed_loss as allowed_loss
from .summary import aurac as aurac
from .summary import best_rank as best_rank
from .summary import recommended_rank as recommended_rank
from .summary import search_score as search_score
from .summary import summarise as summarise

__all__ = [
    "DEFAULT_SHARE",
    "CutName",
    "EpochScores",
    "LayerSize",
    "RankScore",
    "RankVerdict",
    "Record",
    "RecordStore",
    "allowed_loss",
    "aurac",
    "best_rank",
    "changed_file",
    "check_results",
    "cut_text",
    "deciding_metric",
    "load_records",
    "rank_verdict",
    "recommended_rank",
    "run_tolerance",
    "saved_files",
    "search_score",
    "summarise",
]
