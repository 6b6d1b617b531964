"""How text is cut into words before it is compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache


def format_text(text: str) -> str:
    """Return text as WebNLG and DART score it: lower-cased, words and marks apart.

    ``"Aarhus' runway: 2702.0"`` becomes ``"aarhus ' runway : 2702 . 0"``. Every character that is
    not a letter, a digit or ``_`` stands alone. Formatting formatted text changes nothing.
    """
    return " ".join(" ".join(re.split(r"(\W)", text.lower())).split())


def words_13a(text: str) -> list[str]:
    """Return the lower-cased words of the WMT tokenizer 13a.

    Text without a word is one empty word, as e2e-metrics counts it.
    """
    return _tokenizer_13a()(text.lower().rstrip()).split(" ")


@cache
def _tokenizer_13a() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def formatted_texts(texts: Sequence[str]) -> list[str]:
    """Return the texts, formatted."""
    return [format_text(text) for text in texts]


def formatted_words(texts: Sequence[str]) -> list[list[str]]:
    """Return the words of each text, formatted, as nltk finds them without its downloads."""
    from nltk.tokenize import word_tokenize

    return [list(word_tokenize(format_text(text), preserve_line=True)) for text in texts]


def formatted_sentences(texts: Sequence[str]) -> list[str]:
    """Return the words of each text, formatted, joined by spaces."""
    return [" ".join(found) for found in formatted_words(texts)]
