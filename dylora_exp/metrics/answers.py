"""The answer at the end of a worked solution, as a number, and how many of them are right.

A text may say its answer in several ways. The one that counts is that of PEFT's comparison on
MetaMathQA: what follows the last of the first marker that the text has, in the order of
``PEFT_MARKERS``. A text without any may still have one in other letters or spacing (``MARKERS``),
in a LaTeX box, or be nothing but a number.

GSM8K's answers have no unit: ``$4 million`` and ``4 %`` are 4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from dylora_exp.core import unknown_name

# In this order, those of MetaMathQA before GSM8K's.
PEFT_MARKERS = (
    "The answer is: ",
    "The answer is ",
    "The final answer is: ",
    "The final answer is ",
    "#### ",
)
# The same in any letters and spacing, with LaTeX's or Markdown's emphasis; whole words.
MARKERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bthe\s+answer\s+is\s*\*{0,2}:",
        r"\bthe\s+answer\s+is\b",
        r"\b(?:the\s+|my\s+)?final\s+answer\s+is\s*\*{0,2}:",
        r"\b(?:the\s+|my\s+)?final\s+answer\s+is\b",
        r"#{4}",
        r"(?m)^\W*(?:final\s+)?answer\s*\*{0,2}:",
    )
)
MARKED, LAST_NUMBER = RULES = ("marked", "last_number")

_THOUSANDS = r"(?:\{,\}|,\\!|\\,|[,_'’\u00a0\u2009\u202f])"
_DIGITS = rf"(?:\d{{1,3}}(?:{_THOUSANDS}\d{{3}})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|(?<![^\W_])\.\d+)(?:[eE][+-]?\d{{1,3}}(?!\w))?"
_SPACE = r"[ \u00a0]?"
# A sign belongs to a number where no other number, letter or bracket ends before it.
_SIGN = r"(?:(?<![\w)\]}])(?P<sign>[-+\u2212\u2012\u2013]|minus\s|negative\s))?"
_CURRENCY = r"\s?(?:\\?[$€£¥₹]\s?(?P<inner>[-\u2212])?)?"
_NUMBER = re.compile(
    rf"{_SIGN}{_CURRENCY}(?:"
    rf"(?:(?P<mixed>\d+)\s?)?\\[dtc]?frac\s*(?:"
    rf"\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>{_DECIMAL})\s*\}}|"
    rf"(?P<top1>\d)\s*(?P<bottom1>\d))|"
    rf"(?:(?P<whole>\d+)[ \u00a0])?(?P<over>{_DECIMAL}){_SPACE}/{_SPACE}(?P<under>{_DECIMAL})|"
    rf"(?P<plain>{_DECIMAL}))",
    re.IGNORECASE,
)
# Groups of three digits at the beginning of an answer, by spaces.
_GROUPS = re.compile(r"^\W*\d{1,3}(?: \d{3})+(?![\d-])")
_BOX = re.compile(r"\\(?:f?boxed)\s*\{")
# What is no decimal number, though it has digits in it.
_SYMBOLS = re.compile(r"\\(?:sqrt|pi|infty)|[√π∞]")
# Of more digits Python reads no number, and a float holds none.
_MOST_DIGITS, _BIGGEST = 300, 10**300


def check_rule(rule: str) -> re.Pattern[str] | None:
    """Return the regular expression of a rule, None for one of ``RULES``.

    Args:
        rule: ``marked``, ``last_number`` (as ``marked``, and where that finds nothing the last
            number of the text) or a regular expression whose one group is the answer.

    Raises:
        ValueError: When it is none of these: the message ends a sentence.
    """
    if rule in RULES:
        return None
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ValueError(f"found '{rule}', which is no regular expression ({error})") from None
    if pattern.groups != 1:
        message = unknown_name("", rule, RULES).removeprefix(": ").removesuffix(".")
        raise ValueError(f"{message}, nor a regular expression with one group")
    return pattern


def extract_answer(text: str, rule: str = MARKED) -> str | None:
    """Return the answer that a text gives, as it is written there; None where it gives none.

    Args:
        text: A generated text, or a solution of a data set.
        rule: See ``check_rule``; of a regular expression's matches the last counts.
    """
    pattern = check_rule(rule)
    if pattern is not None:
        found = [match[1] for match in pattern.finditer(text) if match[1]]
        return found[-1].strip() or None if found else None
    marked = _after_marker(text)
    if marked is not None:
        return _trimmed(_first_line(marked))
    if boxed := _boxed(text):
        return boxed
    if _is_number(text):
        return text.strip()
    if rule == LAST_NUMBER:
        numbers = [match[0].strip() for match in _NUMBER.finditer(_plain(text))]
        return numbers[-1] if numbers else None
    return None


def peft_answer(text: str) -> str | None:
    """Return the answer as PEFT's comparison takes it from a text; None without its markers."""
    marked = _after_peft_marker(text.strip().rstrip(".!?"))
    return None if marked is None else _first_line(marked).strip(" .!?$%")


def parse_number(text: str) -> Fraction | None:
    """Return the number that an answer is, exactly; None where it has none.

    It is the first number after the last ``=``, unless a lone number stands before it. A comma,
    an underscore, an apostrophe or a space that does not break parts groups of three digits; units,
    currencies and percent signs are left out; ``3/4`` and ``\\frac{3}{4}`` are fractions.
    """
    text = _GROUPS.sub(lambda match: match[0].replace(" ", ""), _plain(text))
    if _SYMBOLS.search(text):
        return None
    before, is_equation, after = text.rpartition("=")
    if is_equation and after.strip() and not _is_number(before):
        text = after
    elif is_equation:
        text = before
    matches = list(_NUMBER.finditer(text))
    apart = [match for match in matches if not _follows_letter(text, match)]
    return next((_value(match) for match in apart or matches), None)


@dataclass(frozen=True)
class Answer:
    """A text and the answer that a rule found in it."""

    text: str
    answer: str | None

    @property
    def expected(self) -> str:
        """The answer of a reference, which may be the answer alone."""
        return self.answer or self.text


def read_answers(texts: Sequence[str | Answer], rule: str = MARKED) -> list[Answer]:
    """Return the answer of each text; one that was read already, by another rule, stays."""
    return [
        each if isinstance(each, Answer) else Answer(each, extract_answer(each, rule))
        for each in texts
    ]


def is_same(answer: str | None, reference: str) -> bool:
    """Return whether an answer is the reference: the same number, or the same words without one."""
    if answer is None:
        return False
    expected = parse_number(reference)
    if expected is None:
        return _words(answer) == _words(reference)
    found = parse_number(answer)
    if found is None or found.denominator == expected.denominator:
        return found == expected
    return float(found) == float(expected)  # 0.5714285714285714 is 20/35


def has_answer(answer: str | None, reference: str) -> bool:
    """Return whether there is an answer, with a number where the reference is one."""
    if answer is None:
        return False
    return parse_number(reference) is None or parse_number(answer) is not None


def exact_match(predictions: Sequence[Answer], references: Sequence[Sequence[Answer]]) -> float:
    """Return the share of answers that are right, 0..1: the same as one of an item's references."""
    right = [
        any(is_same(ours.answer, each.expected) for each in theirs)
        for ours, theirs in zip(predictions, references, strict=True)
    ]
    return sum(right) / len(right)


def no_answer(predictions: Sequence[Answer], references: Sequence[Sequence[Answer]]) -> float:
    """Return the share of texts without an answer, 0..1; see ``has_answer``."""
    without = [
        not any(has_answer(ours.answer, each.expected) for each in theirs)
        for ours, theirs in zip(predictions, references, strict=True)
    ]
    return sum(without) / len(without)


def peft_match(predictions: Sequence[Answer], references: Sequence[Sequence[Answer]]) -> float:
    """Return the share of answers that PEFT's comparison on MetaMathQA counts as right, 0..1.

    It takes what follows its own markers, and reads no units and no thousands separators: what is
    no decimal number or fraction to it has to be written as the reference is.
    """
    right = []
    for ours, theirs in zip(predictions, references, strict=True):
        found = _peft_value(peft_answer(ours.text))
        right.append(
            found is not None
            and any(found == _peft_value(peft_answer(each.text) or each.text) for each in theirs)
        )
    return sum(right) / len(right)


def _peft_value(answer: str | None) -> float | str | None:
    """Return an answer as PEFT compares it: a float where it can be read as one, else its text."""
    if answer is None:
        return None
    try:
        over, *under = (Decimal(part.strip()) for part in answer.split("/"))
        if len(under) > 1 or 0 in under:
            return answer
        return float(over / under[0] if under else over)
    except (ArithmeticError, ValueError):
        return answer


def _after_peft_marker(text: str) -> str | None:
    marker = next((each for each in PEFT_MARKERS if each in text), None)
    return None if marker is None else text.rpartition(marker)[2]


def _after_marker(text: str) -> str | None:
    """Return what follows the marker that counts; None in a text without any."""
    found = _after_peft_marker(text)
    if found is not None and found.strip():
        return found
    for marker in MARKERS:
        if matches := list(marker.finditer(text)):
            return text[matches[-1].end() :]
    return None


def _boxed(text: str) -> str | None:
    """Return the contents of the last ``\\boxed{...}`` of a text."""
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts:
        return None
    depth, start = 1, starts[-1]
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start:index].strip() or None
    return None  # the text ends before its box does


def _trimmed(text: str) -> str | None:
    """Return an answer without the marks and the emphasis around it; None if it is no more."""
    return text.strip(" \t*:").rstrip(" .!?*") or None


def _first_line(text: str) -> str:
    """Return the first line of a text that has anything on it."""
    return text.strip().split("\n", 1)[0]


def _is_number(text: str) -> bool:
    """Return whether a text is a number and nothing else but its currency or percent sign."""
    return _NUMBER.fullmatch(_plain(text).strip().strip(" .$%*\\")) is not None


def _plain(text: str) -> str:
    """Return a text with ``½`` as ``1/2``."""
    return "".join(
        " " + unicodedata.normalize("NFKC", char).replace("\u2044", "/")
        if unicodedata.decomposition(char).startswith("<fraction>")
        else char
        for char in text
    )


def _follows_letter(text: str, match: re.Match[str]) -> bool:
    """Return whether a number is part of a name, such as that of ``x2``."""
    return not match[0][0].isspace() and text[: match.start()][-1:].isalpha()


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the value of a match of ``_NUMBER``; None where it is too big, or over 0."""
    part = match.groupdict()
    over = part["top"] or part["top1"] or part["over"] or part["plain"]
    under = part["bottom"] or part["bottom1"] or part["under"] or "1"
    whole = part["mixed"] or part["whole"] or "0"
    if max(map(len, (over, under, whole))) > _MOST_DIGITS:
        return None
    numerator, denominator = _decimal(over), _decimal(under)
    if denominator == 0 or max(abs(numerator), denominator) > _BIGGEST:
        return None
    value = Fraction(whole) + numerator / denominator
    is_negative = (part["sign"] or "+") != "+" or part["inner"]
    return -value if is_negative else value


def _decimal(digits: str) -> Fraction:
    return Fraction(re.sub(_THOUSANDS, "", digits))


def _words(text: str) -> str:
    """Return a text as words are compared: in small letters, without marks around it."""
    return " ".join(text.casefold().strip(" .!?*$\"'").split())
