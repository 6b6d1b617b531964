"""The answer that a text gives, however it is written, and whether it is right."""

import random
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dylora_exp.metrics import METRICS
from dylora_exp.metrics.answers import (
    PEFT_MARKERS,
    check_rule,
    exact_match,
    extract_answer,
    has_answer,
    is_same,
    no_answer,
    parse_number,
    peft_answer,
    peft_match,
    read_answers,
)

SOLUTION = "He buys 3 boxes of 24.\nSo 3 * 24 = <<3*24=72>>72 apples.\n\n"
# Each is a whole text or what follows the solution, and the value of its answer.
CASES = {
    # The markers of MetaMathQA and of GSM8K.
    "The answer is: 72": "72",
    "The answer is 72": "72",
    "The final answer is: 72": "72",
    "The final answer is 72": "72",
    "#### 72": "72",
    "####72": "72",
    "#### 72\n": "72",
    "the answer is:72": "72",
    "THE ANSWER IS 72": "72",
    "**The answer is:** **72**": "72",
    "The answer is:\n\n72": "72",
    "The answer is: \n#### 72": "72",
    "Answer: 72": "72",
    # Thousands separators.
    "#### 1,080": "1080",
    "The answer is: 109,200,000": "109200000",
    "The answer is: 1{,}234{,}567": "1234567",
    "The answer is: 1,\\!000": "1000",
    "The answer is: 1_000": "1000",
    "The answer is: 1'000": "1000",
    "The answer is: 1\u202f000\u202f000": "1000000",
    "The answer is: 1 000 000 people": "1000000",
    "The answer is: 1,234.5": "1234.5",
    "The answer is: 3,4": "3",
    # Currencies and percent.
    "The answer is: $18": "18",
    "The answer is: \\$18": "18",
    "The answer is: $18$": "18",
    "The answer is: $1,234.50.": "1234.5",
    "The answer is: 18€": "18",
    "The answer is: £ 18": "18",
    "The answer is: Rs. 18": "18",
    "The answer is: Rs.18": "18",
    "The answer is: USD 18": "18",
    "The answer is: 50%": "50",
    "The answer is: 50 \\%": "50",
    # Decimals.
    "The answer is: 0.25": "0.25",
    "The answer is: .5": "0.5",
    "The answer is: 72.00": "72",
    "The answer is: 1e3": "1000",
    "The answer is: 72.": "72",
    # Negative numbers.
    "#### -10": "-10",
    "The answer is: \u221210": "-10",
    "The answer is: -$5.50": "-5.5",
    "The answer is: $-5.50": "-5.5",
    "The answer is: minus 3": "-3",
    "The answer is: 10-5": "10",
    "The answer is: - 5": "-5",
    "The answer is: (-4)": "-4",
    # Fractions and LaTeX.
    "The answer is: 3/4": "3/4",
    "The answer is: 1 1/2 cups": "3/2",
    "The answer is: 1½": "3/2",
    "The answer is: \\frac{3}{4}": "3/4",
    "The answer is: $-\\dfrac{3}{4}$.": "-3/4",
    "The answer is: \\frac12": "1/2",
    "So it is $\\boxed{\\frac{3}{4}}$.": "3/4",
    "So it is $\\boxed{16}$, not $\\boxed{17}$.\n\nThe answer is: 16": "16",
    "So it is \\boxed{1} or \\boxed{2}.": "2",
    # Units and words around it.
    "The answer is: 72 apples": "72",
    "The answer is: he has 72 apples left": "72",
    "The answer is: 12 km/h": "12",
    "The answer is: $5/hour": "5",
    "The answer is: 90^\\circ": "90",
    "The answer is: 4 million": "4",
    "The answer is: x = 5": "5",
    "The answer is: x2 is 8": "8",
    "The answer is: 3 + 4 = 7 dollars": "7",
    "The answer is: 72 = 8 * 9": "72",
    # Trailing text.
    "The answer is: 72. I hope that this helps you with 3 others!": "72",
    "The answer is: 72\n\nQuestion: How many are 2 boxes?": "72",
    "The answer is 72!!": "72",
    # Two answers: the last of the first marker in PEFT's order; in one line the first number.
    "The answer is: 5. No, wait.\nThe answer is: 7": "7",
    "The answer is: 5\n#### 7": "5",
    "#### 5\n#### 7": "7",
    "The final answer is 9\nThe answer is 8": "8",
    "The answer is 72 or 73": "72",
    # None.
    "So there are many.": None,
    "The answer is: unknown": None,
    "The answer is:": None,
    "#### ": None,
    "The answer is: 3/0": None,
    "The answer is: \\sqrt{2}": None,
    "The answer is: \\boxed{7": "7",
    "So it is \\boxed{7": None,
}


def value_of(text):
    answer = extract_answer(text)
    return None if answer is None else parse_number(answer)


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_the_answer_of_a_written_case_is_its_value(text, expected):
    expected = None if expected is None else Fraction(expected)
    assert value_of(text) == expected
    assert value_of(SOLUTION + text) == expected
    prediction, reference = read_answers([SOLUTION + text, f"#### {expected or 72}"])
    assert exact_match([prediction], [[reference]]) == (expected is not None)
    assert no_answer([prediction], [[reference]]) == (expected is None)


def test_a_text_that_is_a_number_is_an_answer():
    for text in ("72", " $72.00 ", "72%", "-3", "1,080\n"):
        assert value_of(text) == Fraction(text.strip(" $%\n").replace(",", ""))
    assert value_of("") is value_of("seventy-two") is value_of("72 apples") is None


def grouped(number, separator):
    return f"{number:,}".replace(",", separator)


@settings(max_examples=50)
@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 99),
    st.sampled_from([",", "", "_", "\u00a0", "{,}"]),
    st.sampled_from(["", "$", "€", "\\$"]),
    st.sampled_from(["", ".", " dollars", "%", " apples.", "\nNext: 5", "$"]),
    st.sampled_from(PEFT_MARKERS),
)
def test_a_number_is_read_back(number, cents, separator, currency, trailing, marker):
    sign = "-" if number < 0 else ""
    text = f"{sign}{currency}{grouped(abs(number), separator)}.{cents:02}"
    expected = Fraction(f"{sign}{abs(number)}.{cents:02}")
    assert value_of(f"One is 1.\n{marker}{text}{trailing}") == expected


@settings(max_examples=40)
@given(st.text(max_size=80), st.sampled_from(["", *PEFT_MARKERS, "\\boxed{", "####"]))
@example("9" * 5000, "#### ")
@example("1e999", "#### ")
@example("1/1e-400", "#### ")
@example("٣", "#### ")
def test_any_text_is_read_and_compared_without_an_error(text, marker):
    for rule in ("marked", "last_number"):
        answer = extract_answer(marker + text, rule)
        assert answer is None or parse_number(answer) is None or has_answer(answer, "#### 1")
        is_same(answer, "72"), is_same("72", answer or "")
    peft_match(*([each] for each in (read_answers([text])[0], read_answers(["#### 1"]))))


@pytest.mark.parametrize(
    "piece", ["1", "1,", "1,111", "{", "\\boxed{", "the answer is ", "- ", " ", "1 ", "1/", "####"]
)
def test_reading_takes_time_in_proportion_to_a_text(piece):
    extract_answer("The answer is: " + piece * (20_000 // len(piece)), "last_number")
    parse_number(piece * (20_000 // len(piece)))


def reference_peft(text):
    """Return what PEFT's protocol says of a text, by splitting: its answer as written."""
    text = text.strip().rstrip(".!?")
    for marker in PEFT_MARKERS:
        pieces = text.split(marker)
        if len(pieces) > 1:
            return pieces[-1].strip().split("\n")[0].strip(" .!?$%")
    return None


PARTS = st.sampled_from(
    [*PEFT_MARKERS, "7", "1,080", " ", "\n", ".", "$", "%", "apples", "3/4", "-", "0.5", "The"]
)


@settings(max_examples=50)
@given(st.lists(PARTS, max_size=8).map("".join))
def test_pefts_answer_is_that_of_its_protocol(text):
    assert peft_answer(text) == reference_peft(text)


@pytest.mark.parametrize(
    ("prediction", "reference", "ours", "pefts"),
    [
        ("The answer is: 72", "#### 72", 1, 1),
        ("The answer is: 72.0", "#### 72", 1, 1),
        ("The answer is: 72%", "#### 72", 1, 1),
        ("The answer is: 20/35", "#### 0.5714285714285714", 1, 1),
        ("The answer is: 1080", "#### 1,080", 1, 0),
        ("The answer is: 1,080", "#### 1,080", 1, 1),
        ("The answer is: 72 apples", "#### 72", 1, 0),
        ("The answer is: 72. Well done", "#### 72", 1, 0),
        ("####72", "#### 72", 1, 0),
        ("The answer is: 73", "#### 72", 0, 0),
        ("The answer is: 1/0", "#### 72", 0, 0),
        ("The answer is: NaN", "#### NaN", 1, 0),
        ("It is 72", "#### 72", 0, 0),
        ("The answer is: blue", "The answer is: blue", 1, 1),
        ("The answer is: Blue.", "blue", 1, 0),
        ("The answer is: ", "#### 72", 0, 0),
    ],
)
def test_how_answers_are_compared(prediction, reference, ours, pefts):
    answers = read_answers([prediction]), [read_answers([reference])]
    assert exact_match(*answers) == ours
    assert peft_match(*answers) == pefts


def test_the_shares_of_several_items_of_which_some_have_several_references():
    texts = ["#### 1", "#### 2", "none", "The answer is: many"]
    references = [["#### 1"], ["#### 3", "2"], ["#### 4"], ["#### 5"]]
    answers = read_answers(texts), [read_answers(each) for each in references]
    assert exact_match(*answers) == peft_match(*answers) == 0.5
    assert no_answer(*answers) == 0.5
    assert METRICS["no_answer"].higher_is_better is False


def test_other_rules():
    text = "First 5.\nThen 1,200 or so, and the rest."
    assert extract_answer(text) is None
    assert extract_answer(text, "last_number") == "1,200"
    assert extract_answer("I say: A=5; A=-7.", r"A=(-?\d+)") == "-7"
    assert extract_answer("I say nothing.", r"A=(-?\d+)") is None
    assert check_rule("marked") is None
    for rule, message in {
        "markd": r"'markd' is not one of .*'marked'\?, nor a regular expression with one group",
        r"(a)(b)": "nor a regular expression with one group",
        "(a": "no regular expression",
    }.items():
        with pytest.raises(ValueError, match=message):
            check_rule(rule)


def test_gsm8ks_answers_are_those_without_their_commas(shared_data):
    import json

    for split in ("train", "test"):
        for line in list((shared_data / f"llm/gsm8k/{split}.jsonl").open(encoding="utf-8"))[::4]:
            solution = json.loads(line)["answer"]
            expected = Fraction(solution.rpartition("#### ")[2].replace(",", ""))
            assert value_of(solution) == expected


def test_python_reads_as_many_digits_as_are_tried():
    digits = str(random.Random(0).getrandbits(900))
    assert parse_number(digits) == int(digits) == Decimal(digits)
    assert parse_number("9" * 301) is None
    assert sys.get_int_max_str_digits() > 301
