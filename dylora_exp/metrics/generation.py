"""The way in to the metrics of generated text: BLEU, NIST, METEOR, ROUGE-L, CIDEr and TER.

Neither this module nor what it imports loads torch, so files are scored without waiting for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Self, TypeVar

from dylora_exp.core import RequestError, unknown_name
from dylora_exp.metrics.bleu import bleu
from dylora_exp.metrics.coco import cider, ptb_words, rouge_l
from dylora_exp.metrics.java import JavaError, Meteor
from dylora_exp.metrics.nist import nist
from dylora_exp.metrics.ter import ter
from dylora_exp.metrics.words import format_text, words_nltk

_T = TypeVar("_T")
Texts = Sequence[str]
Metric = Callable[[Texts, Sequence[Texts]], float]

TASKS = {
    "e2e": ("bleu", "nist", "meteor", "rouge_l", "cider"),
    "webnlg": ("bleu", "meteor", "ter"),
    "dart": ("bleu", "meteor", "ter"),
}


class Scorer:
    """A task's metrics as its official scripts count them, for one score or for a whole sweep.

    E2E is scored as e2e-metrics does: BLEU 0..1, NIST, METEOR 0..1, ROUGE-L 0..1, CIDEr 0..10.
    WebNLG and DART are scored as GenerationEval does, on formatted text (``words.format_text``;
    formatted input stays as it is): BLEU 0..100, METEOR 0..1, TER 0 and up, lower is better.

    METEOR's Java process starts with the first score and serves all later ones; ``close``, the end
    of a ``with`` block or the end of Python ends it.

    Args:
        task: A key of ``TASKS``.
        names: Some of the task's metrics; by default, all.

    Attributes:
        names: The metrics, in the order of ``TASKS``.
        signatures: The settings and versions behind each metric, by name.
        missing: Why a metric of the last score has no value, by name.

    Raises:
        RequestError: For a task or a metric that is not known.
    """

    def __init__(self, task: str, names: Sequence[str] | None = None) -> None:
        if task not in TASKS:
            raise RequestError(unknown_name("task", task, TASKS))
        if wrong := [name for name in names or () if name not in TASKS[task]]:
            raise RequestError([unknown_name("metrics", name, TASKS[task]) for name in wrong])
        self.names = [name for name in TASKS[task] if names is None or name in names]
        self.missing: dict[str, str] = {}
        self._meteor = Meteor()
        self._metrics = _e2e(self._meteor) if task == "e2e" else _data_to_text(self._meteor)
        settings = _e2e_settings() if task == "e2e" else _data_to_text_settings()
        self.signatures = {name: settings[name] for name in self.names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def signature(self) -> str:
        """All signatures in one line."""
        return "; ".join(f"{name}|{settings}" for name, settings in self.signatures.items())

    def score(self, predictions: Texts, references: Sequence[Texts]) -> dict[str, float | None]:
        """Return each metric's value; None with a reason in ``missing`` where Java fails.

        Args:
            predictions: One text for each item; it may be empty.
            references: At least one text for each item.

        Raises:
            RequestError: Without items, with another number of references, or with an item that
                has none.
        """
        _check(predictions, references)
        values: dict[str, float | None] = {}
        self.missing = {}
        for name in self.names:
            try:
                values[name] = self._metrics[name](predictions, references)
            except JavaError as error:
                values[name] = None
                self.missing[name] = str(error)
        return values

    def close(self) -> None:
        """End the Java process; a later score starts another."""
        self._meteor.close()


def _check(predictions: Texts, references: Sequence[Texts]) -> None:
    if len(predictions) != len(references):
        raise RequestError(
            f"predictions: found {len(predictions)}, but there are references for "
            f"{len(references)} items."
        )
    if not predictions:
        raise RequestError("predictions: found none.")
    for number, texts in enumerate(references, 1):
        if not texts:
            raise RequestError(f"references: item {number} has none.")


def _e2e(meteor: Meteor) -> dict[str, Metric]:
    return {
        "bleu": lambda ours, theirs: bleu(ours, theirs, lowercase=True) / 100,
        "nist": nist,
        "meteor": lambda ours, theirs: meteor.score(*ptb_words(ours, theirs)),
        "rouge_l": lambda ours, theirs: rouge_l(*ptb_words(ours, theirs)),
        "cider": lambda ours, theirs: cider(*ptb_words(ours, theirs)),
    }


def _e2e_settings() -> dict[str, str]:
    sacrebleu, coco = _version("sacrebleu"), _version("pycocoevalcap")
    return {
        "bleu": f"case:lc|eff:no|tok:13a|smooth:exp|scale:1|{sacrebleu}",
        "nist": f"case:lc|n:5|tok:13a|reflen:mean|{sacrebleu}",
        "meteor": f"case:lc|lang:en|norm:yes|tok:ptb|version:1.5|{coco}",
        "rouge_l": f"case:lc|beta:1.2|tok:ptb|{coco}",
        "cider": f"case:lc|n:4|sigma:6|idf:references|tok:ptb|{coco}",
    }


def _data_to_text(meteor: Meteor) -> dict[str, Metric]:
    return {
        "bleu": lambda ours, theirs: bleu(*_each(format_text, ours, theirs), lowercase=False),
        "meteor": lambda ours, theirs: meteor.score(*_each(_sentence, ours, theirs)),
        "ter": lambda ours, theirs: ter(*_each(_words, ours, theirs)),
    }


def _data_to_text_settings() -> dict[str, str]:
    nltk = _version("nltk")
    return {
        "bleu": f"case:lc|eff:no|format:words|tok:13a|smooth:exp|scale:100|{_version('sacrebleu')}",
        "meteor": f"case:lc|format:words|lang:en|norm:yes|tok:word_tokenize|{nltk}|version:1.5|"
        f"{_version('pycocoevalcap')}",
        "ter": f"case:lc|format:words|tok:word_tokenize|{nltk}|refs:min|{_version('pyter3')}",
    }


def _version(package: str) -> str:
    return f"{package}:{version(package)}"


def _words(text: str) -> list[str]:
    return words_nltk(format_text(text))


def _sentence(text: str) -> str:
    return " ".join(_words(text))


def _each(
    change: Callable[[str], _T], predictions: Texts, references: Sequence[Texts]
) -> tuple[list[_T], list[list[_T]]]:
    """Return predictions and references with every text changed."""
    return list(map(change, predictions)), [list(map(change, texts)) for texts in references]
