"""The registry of metrics: what each one scores, which direction is better, and its scale.

A new metric is a new entry of ``METRICS`` and the module with its function. Such a module imports
the libraries behind its function when that is called, so that importing the registry is cheap.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from typing import Any, Literal

from dylora_exp.core import RequestError, unknown_name
from dylora_exp.metrics import glue, java, words
from dylora_exp.metrics.bleu import bleu
from dylora_exp.metrics.coco import cider, rouge_l
from dylora_exp.metrics.nist import nist
from dylora_exp.metrics.ter import ter

# The protocol of metrics that are the same for all tasks.
ANY_TASK = None
# How many references of an item count by protocol, as in the published numbers; elsewhere, all.
OFFICIAL_REFERENCES = {"webnlg": 6, "dart": 6}
# A task's examples may be scored in parts as well, as "ter_seen" and "ter_unseen".
PARTS = ("seen", "unseen")

# In the words of ``TaskConfig.scored``: what a task's answers are.
Scored = Literal["labels", "numbers", "texts", "choices", "answers", "likelihood"]
Function = Callable[..., float] | type


@dataclass(frozen=True)
class Computation:
    """How a metric is computed: as the official scripts of some task do it.

    Attributes:
        function: Takes predictions and references and returns a number; or a class whose instances
            are such functions and have a ``close`` method.
        settings: The signature; ``{package}`` stands for a package and its installed version.
        prepare: Maps texts to what ``function`` takes instead, one for each.
        range: The lowest and the highest possible value.
    """

    function: Function
    settings: str
    prepare: Callable[[tuple[str, ...]], Sequence[Any]] | None = None
    range: tuple[float, float] = (0, 1)

    @property
    def is_fraction(self) -> bool:
        """Whether 1 is the highest value, so that tables show it in percent."""
        return self.range[1] == 1

    @property
    def signature(self) -> str:
        """The settings with the versions of the packages behind the value."""
        return re.sub(r"{([\w-]+)}", lambda match: f"{match[1]}:{version(match[1])}", self.settings)

    def make_function(self) -> Callable[..., float]:
        """Return the function, an instance of its own where it is a class."""
        return self.function() if isinstance(self.function, type) else self.function


Computations = dict[str | None, Computation]


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        name: Its name in configs and records.
        title: Its name in print.
        scores: What the predictions are.
        computations: By protocol, the name of a task's reader, or for ``ANY_TASK``.
        higher_is_better: Whether the highest value is the best one.
        two_labels_only: Whether it is undefined for more than two labels.
        needs_java: Whether it has no value without Java.
        on_hub: Its name among the hub's metrics; empty where it is the same.
        also_scores: What else the predictions may be.
    """

    name: str
    title: str
    scores: Scored
    computations: Computations
    higher_is_better: bool = True
    two_labels_only: bool = False
    needs_java: bool = False
    on_hub: str = ""
    also_scores: tuple[Scored, ...] = ()

    @property
    def kinds(self) -> tuple[Scored, ...]:
        """What the predictions may be."""
        return (self.scores, *self.also_scores)

    @property
    def factor(self) -> int:
        """What ``format_value`` multiplies a value with; texts are shown on their own scales."""
        return 1 if self.scores == "texts" else 100


def _webnlg_dart(computation: Computation) -> Computations:
    return {"webnlg": computation, "dart": computation}


_ENTRIES = [
    Metric(
        "accuracy",
        "Accuracy",
        "labels",
        {ANY_TASK: Computation(glue.accuracy, "{scikit-learn}")},
        also_scores=("choices",),
    ),
    Metric(
        "accuracy_norm",
        "Accuracy (by length)",
        "choices",
        {ANY_TASK: Computation(glue.accuracy, "norm:characters|{scikit-learn}")},
        on_hub="accuracy",
    ),
    Metric(
        "accuracy_bytes",
        "Accuracy (by bytes)",
        "choices",
        {ANY_TASK: Computation(glue.accuracy, "norm:bytes|{scikit-learn}")},
        on_hub="accuracy",
    ),
    Metric(
        "f1",
        "F1",
        "labels",
        {ANY_TASK: Computation(glue.f1, "{scikit-learn}")},
        two_labels_only=True,
    ),
    Metric(
        "matthews_correlation",
        "Matthews correlation",
        "labels",
        {ANY_TASK: Computation(glue.matthews_correlation, "{scikit-learn}", range=(-1, 1))},
    ),
    Metric(
        "pearson",
        "Pearson",
        "numbers",
        {ANY_TASK: Computation(glue.pearson, "{scipy}", range=(-1, 1))},
        on_hub="pearsonr",
    ),
    Metric(
        "spearmanr",
        "Spearman",
        "numbers",
        {ANY_TASK: Computation(glue.spearmanr, "{scipy}", range=(-1, 1))},
    ),
    Metric(
        "bleu",
        "BLEU",
        "texts",
        {
            "e2e": Computation(
                partial(bleu, lowercase=True, high=1),
                "case:lc|eff:no|tok:13a|smooth:exp|scale:1|{sacrebleu}",
            ),
            **_webnlg_dart(
                Computation(
                    bleu,
                    "case:lc|eff:no|format:words|tok:13a|smooth:exp|scale:100|{sacrebleu}",
                    words.formatted_texts,
                    range=(0, 100),
                )
            ),
        },
    ),
    Metric(
        "nist",
        "NIST",
        "texts",
        {
            "e2e": Computation(
                nist, "case:lc|n:5|tok:13a|reflen:mean|{sacrebleu}", range=(0, math.inf)
            )
        },
        on_hub="nist_mt",
    ),
    Metric(
        "meteor",
        "METEOR",
        "texts",
        {
            "e2e": Computation(
                java.Meteor,
                "case:lc|lang:en|norm:yes|tok:ptb|version:1.5|{pycocoevalcap}",
                java.ptb_tokenize,
            ),
            **_webnlg_dart(
                Computation(
                    java.Meteor,
                    "case:lc|format:words|lang:en|norm:yes|tok:word_tokenize|{nltk}|version:1.5|"
                    "{pycocoevalcap}",
                    words.formatted_sentences,
                )
            ),
        },
        needs_java=True,
    ),
    Metric(
        "rouge_l",
        "ROUGE-L",
        "texts",
        {
            "e2e": Computation(
                rouge_l, "case:lc|beta:1.2|tok:ptb|{pycocoevalcap}", java.ptb_tokenize
            )
        },
        needs_java=True,
        on_hub="rouge",
    ),
    Metric(
        "cider",
        "CIDEr",
        "texts",
        {
            "e2e": Computation(
                cider,
                "case:lc|n:4|sigma:6|idf:references|tok:ptb|{pycocoevalcap}",
                java.ptb_tokenize,
                range=(0, 10),
            )
        },
        needs_java=True,
    ),
    Metric(
        "ter",
        "TER",
        "texts",
        _webnlg_dart(
            Computation(
                ter,
                "case:lc|format:words|tok:word_tokenize|{nltk}|refs:min|{pyter3}",
                words.formatted_words,
                range=(0, math.inf),
            )
        ),
        higher_is_better=False,
    ),
]
METRICS = {metric.name: metric for metric in _ENTRIES}


def names(scores: str | None = None) -> list[str]:
    """Return the names of all metrics, or of those that score labels, numbers, texts, ..."""
    return [name for name, metric in METRICS.items() if scores in (None, *metric.kinds)]


def protocol_metrics(protocol: str | None) -> list[str]:
    """Return the names of a protocol's metrics; none for a protocol that is not known."""
    return [name for name, metric in METRICS.items() if protocol in metric.computations]


def protocols() -> list[str]:
    """Return the protocols of which metrics are known: the tasks of ``dylora score``."""
    keys = (key for metric in METRICS.values() for key in metric.computations)
    return [*dict.fromkeys(key for key in keys if key is not ANY_TASK)]


def get(name: str, field: str = "metric") -> Metric:
    """Return a metric by its name, or by the name of one of its parts such as ``ter_seen``.

    Args:
        name: The name.
        field: What the error message calls it.

    Raises:
        RequestError: For a name that is not known.
    """
    base = base_name(name)
    if base not in METRICS:
        raise RequestError(unknown_name(field, name, METRICS))
    return METRICS[base]


def base_name(name: str) -> str:
    """Return ``ter`` for ``ter``, ``ter_seen`` and ``ter_unseen``; an unknown name as it is."""
    base, _, part = name.rpartition("_")
    return base if part in PARTS and base in METRICS else name


def sign(name: str) -> int:
    """Return 1 where a higher value is better, -1 where a lower one is."""
    return 1 if get(name).higher_is_better else -1


@lru_cache(maxsize=1024)
def score_range(name: str, protocol: str | None = ANY_TASK) -> tuple[float, float]:
    """Return the lowest and the highest possible value of a metric.

    Args:
        name: Its name, or that of one of its parts; infinite where it is not registered.
        protocol: The name of the task's reader; of another one than is known, all values count.
    """
    metric = METRICS.get(base_name(name))
    if metric is None:
        return -math.inf, math.inf
    own = metric.computations.get(protocol)
    known = [own] if own else list(metric.computations.values())
    return min(each.range[0] for each in known), max(each.range[1] for each in known)


def metric_sign(name: str) -> int:
    """Return ``sign`` of a metric of a record, which need not be registered.

    Of a metric that is not, the higher value is the better.
    """
    return sign(name) if base_name(name) in METRICS else 1


def display_factor(name: str, protocol: str | None = ANY_TASK) -> int:
    """Return what tables multiply a value with: 100 for percent, 1 for a scale of its own.

    Args:
        name: The name of a metric or of one of its parts; percent where it is not registered.
        protocol: The name of the task's reader, which decides how the metric is computed.
    """
    metric = METRICS.get(base_name(name))
    computations = metric.computations if metric else {}
    found = computations.get(protocol) or computations.get(ANY_TASK)
    return 100 if found is None or found.is_fraction else 1


def title(name: str) -> str:
    """Return the name of a metric in print; that of a part ends with it, as ``TER (seen)``."""
    base = base_name(name)
    if base not in METRICS:
        return name
    part = name.removeprefix(base).lstrip("_")
    return METRICS[base].title + (f" ({part})" if part else "")


def hub_name(name: str) -> str:
    """Return the name of a metric, or of the one whose part it is, among the hub's metrics."""
    base = base_name(name)
    return (METRICS[base].on_hub if base in METRICS else "") or base


def is_better(name: str, value: float, other: float) -> bool:
    """Return whether the first value of a metric is the better one; equal values are not."""
    return sign(name) * (value - other) > 0


def output_factor(name: str) -> int:
    """Return what a run's own output multiplies a value with; 100 where it is not registered."""
    return get(name).factor if base_name(name) in METRICS else 100


def format_value(name: str, value: float | None) -> str:
    """Return a value in a run's own output: percent with 2 digits, a text's score with 4."""
    factor = output_factor(name)
    if value is None:
        return "undefined"
    return f"{factor * value:.{2 if factor == 100 else 4}f}"


def signature(metrics: Iterable[str], protocol: str | None = ANY_TASK) -> str:
    """Return the settings and package versions behind each metric, in one line."""
    return "; ".join(f"{n}|{METRICS[n].computations[protocol].signature}" for n in metrics)
