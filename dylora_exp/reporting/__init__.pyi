from .analysis.plan import PlannedRun as PlannedRun
from .analysis.plan import missing_runs as missing_runs
from .analysis.plan import records_of as records_of
from .make_report import show_report as show_report
from .make_report import write_report as write_report
from .make_tables import make_tables as make_tables
from .make_tables import table_names as table_names
from .make_tables import table_runs as table_runs
from .render.spectrum import check_figure as check_figure
from .render.spectrum import draw_spectrum as draw_spectrum
from .specs.tables import profiles_of as profiles_of

__all__ = [
    "PlannedRun",
    "check_figure",
    "draw_spectrum",
    "make_tables",
    "missing_runs",
    "profiles_of",
    "records_of",
    "show_report",
    "table_names",
    "table_runs",
    "write_report",
]
