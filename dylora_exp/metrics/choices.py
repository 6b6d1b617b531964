"""Which option a model chooses: that of the highest log-likelihood, as it is or for its length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# By metric, what a log-likelihood is divided by: as lm-evaluation-harness 0.4 has acc, acc_norm and
# acc_bytes. The length is that of the option's own text, without what stands before it.
_LENGTHS: dict[str, Callable[[str], int]] = {
    "accuracy": lambda text: 1,
    "accuracy_norm": len,
    "accuracy_bytes": lambda text: len(text.encode()),
}


def chosen_option(metric: str, log_likelihoods: Sequence[float], options: Sequence[str]) -> int:
    """Return the index of the option that a metric counts as chosen; the first of equal ones.

    Args:
        metric: ``accuracy``, ``accuracy_norm`` (by characters) or ``accuracy_bytes`` (UTF-8).
        log_likelihoods: Of each option, the sum over its tokens.
        options: Their texts.
    """
    length = _LENGTHS[metric]
    values = [value / length(text) for value, text in zip(log_likelihoods, options, strict=True)]
    return max(range(len(values)), key=values.__getitem__)
