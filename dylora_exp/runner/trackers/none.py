"""No tracker: the record is all."""

from dylora_exp.runner.trackers.base import Tracker


class NoTracker(Tracker):
    """Sends nothing anywhere."""
