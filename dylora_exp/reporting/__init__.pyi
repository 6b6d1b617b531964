from .analysis.plan import PlannedRun as PlannedRun
from .analysis.plan import missing_runs as missing_runs
from .analysis.plan import records_of as records_of
from .analysis.trials import TunedTraining as TunedTraining
from .analysis.trials import has_diverged as has_diverged
from .analysis.trials import untuned as untuned
from .analysis.tuning_rule import edges as edges
from .make_report import show_report as show_report
from .make_report import write_report as write_report
from .make_tables import choose_table_values as choose_table_values
from .make_tables import make_tables as make_tables
from .make_tables import table_names as table_names
from .make_tables import table_runs as table_runs
from .make_tables import table_trainings as table_trainings
from .render.brief import pivot_lines as pivot_lines
from .render.spectrum import check_figure as check_figure
from .render.spectrum import draw_spectrum as draw_spectrum
from .specs.tables import asks_for_tuning as asks_for_tuning
from .specs.tables import profiles_of as profiles_of
from .specs.tuning import TunedSpec as TunedSpec
from .specs.tuning import tuned_path as tuned_path
from .specs.tuning import value_overrides as value_overrides
from .specs.tuning import write_tuned as write_tuned

__all__ = [
    "PlannedRun",
    "TunedSpec",
    "TunedTraining",
    "asks_for_tuning",
    "check_figure",
    "choose_table_values",
    "draw_spectrum",
    "edges",
    "has_diverged",
    "make_tables",
    "missing_runs",
    "pivot_lines",
    "profiles_of",
    "records_of",
    "show_report",
    "table_names",
    "table_runs",
    "table_trainings",
    "tuned_path",
    "untuned",
    "value_overrides",
    "write_report",
    "write_tuned",
]
