"""Which groups of records belong to the runs that a claim or a table is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from dylora_exp.reporting.analysis.groups import Group
from dylora_exp.reporting.analysis.plan import PlannedRun, Setup, records_of


def groups_by_setup(
    runs: Iterable[PlannedRun], groups: Sequence[Group]
) -> dict[Setup, list[Group]]:
    """Return the groups of each planned setup, as ``tables.plan.records_of`` matches records.

    One record of each group stands for all of it, its seed for the group's place: comparing every
    setting of thousands of records with every setup takes longer than all the rest of a report. It
    is the oldest one, which may lack options that came later, and these count as agreeing.
    """
    oldest = [min(group.records, key=lambda record: record.created_at) for group in groups]
    deputies = {
        record.run_id: dataclasses.replace(record, seed=place)
        for place, record in enumerate(oldest)
    }
    return {
        setup: [groups[place] for place in found]
        for setup, found in records_of(runs, deputies).items()
    }
