"""Records as they are compared: without what differs from run to run."""

import dataclasses


def without_times(record):
    tree = dataclasses.asdict(record)
    for key in ("created_at", "timing", "memory"):
        del tree[key]
    for ranks in (tree["ranks"], *(epoch["ranks"] for epoch in tree["epochs"])):
        for entry in ranks:
            del entry["seconds"]
    return tree
