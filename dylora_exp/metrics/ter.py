"""Translation edit rate (Snover et al. 2006) by pyter, as GenerationEval takes it."""

from __future__ import annotations

from collections.abc import Sequence

# Below this many sentences for each process, starting one takes longer than its work.
_SHARE = 16


def ter(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    processes: int | None = None,
) -> float:
    """Return the mean over items of the lowest TER among an item's references; 0 and up.

    Args:
        predictions: The words of one text for each item; none at all is a TER of 1.
        references: The words of at least one text for each item; a text without words counts 1.
        processes: How many processes share the work; by default, as many as there are cores. The
            result does not depend on it.
    """
    from joblib import Parallel, cpu_count, delayed

    most = max(1, len(predictions) // _SHARE)
    workers = Parallel(n_jobs=min(most, processes or cpu_count()))
    pairs = zip(predictions, references, strict=True)
    scores = workers(delayed(_lowest)(ours, theirs) for ours, theirs in pairs)
    return sum(scores) / len(scores)


def _lowest(prediction: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    import pyter

    # References are filled up with copies to six, and pyter is slow.
    different = dict.fromkeys(tuple(words) for words in references)
    return min(pyter.ter(prediction, words) if words else 1.0 for words in different)
