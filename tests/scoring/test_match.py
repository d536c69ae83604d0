"""The match rule: what counts as the reference, and what does not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.input.conversations import entry_from_conversation
from common.records import Entry, Score
from common.scoring.match import Match, matches
from tests.helpers import conversation
from tests.texts import REPLIES


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("4", "4"),
        ("4", "4.0"),
        ("4", "**4**"),
        ("4", "2 + 2 = 4."),
        ("4", "The answer is 4, since 2 + 2 = 4"),
        ("4", "Answer:\n4"),
        ("4", "Final answer: 4 apples"),
        ("4", "There are four."),
        ("4", "\u7b54\u6848\u662f4\u3002"),
        ("4", "<think>5</think>4"),
        ("4", "\\boxed{4}"),
        ("1,000", "It is 1000"),
        ("1000", "It is 1,000."),
        ("-5", "x = -5"),
        ("0.50", "0.5"),
        ("$5", "$5.00"),
        ("1/2", "\\boxed{1/2}"),
        ("Half of 144 is 72.\n#### 72", "so 72"),
        ("Paris", "The capital of France is **Paris**."),
        ("Paris", "Paris is the capital"),
        ("paris", "PARIS!"),
        ("B", "The correct option is (B)."),
        ("The Hague", "It is the Hague."),
        ("x^2", "\\boxed{x^2}"),
        ("A", "The answer is A"),
        ("A", "(A)"),
        ("B", "Answer: **B**"),
        ("B", "B. Paris"),
        ("B", "The correct answer is **B) Paris**."),
        ("4", "Two and two is equal to four."),
        ("7", "A week is 7 days."),
        ("7", "There are seven days in a week."),
        ("8", "so she has $8."),
        ("5", "$x=5$"),
        ("-5", "x = \u22125"),
        ("4", "The answer is 4!"),
        ("12", "The answer is 3 * 4 = 12."),
        ("12", "15 minus 3 is equal to 12."),
        ("12", "\\[ 3 \\times 4 = 12 \\]"),
        ("18", "\\boxed{\\$18}"),
        ("18", "\\boxed{18 \\text{ dollars}}"),
        ("90", "\\boxed{90^\\circ}"),
        ("42", "$$\\boxed{42}$$\n\nLet me know if you have any questions!"),
        ("72", "She sold 48+24 = <<48+24=72>>72 clips.\n#### 72"),
        ("540", "James runs 60*9=540 meters a week."),
        ("22", "twenty-two"),
        ("50%", "The answer is 50%."),
        ("50%", "50%"),
        ("\\frac{1}{2}", "\\boxed{\\frac{1}{2}}"),
        ("5 cm", "It is 5 cm."),
        ("5", "\u6240\u4ee5\uff0c\u4e00\u5171\u67095\u4e2a\u82f9\u679c\u3002"),
        ("true", "The statement is true."),
        ("yes", "Yes, it is."),
        ("100", "Water boils at 100\xb0C."),
        ("1990", "It was released in 1990."),
        ("4", r"First \boxed{\frac{\sqrt{2}}{3}}, then \boxed {4}"),
        ("\\frac{\\sqrt{2}}{3}", r"So it is \boxed{\frac{\sqrt{2}}{3}}."),
        ("\\{1, 2\\}", r"\boxed{\{1, 2\}}"),
    ],
)
def test_an_answer_that_ends_in_the_reference_matches(reference: str, answer: str) -> None:
    assert matches(reference, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("4", ""),
        ("4", "14"),
        ("4", "40"),
        ("4", "4.5"),
        ("4", "0.4"),
        ("4", "-4"),
        ("-1", "1"),
        ("4", "4 + 1 = 5"),
        ("4", "4 cats and 5 dogs"),
        ("4", "The answer is 5, not 4"),
        ("4", "The answer is 1/4"),
        ("4", "\\boxed{5} (I had 4 before)"),
        ("4", "<think>4</think>5"),
        ("4", "<think>4"),
        ("#### 72", "#### 720"),
        ("1/2", "\\boxed{1/3}"),
        ("1000", "10,000"),
        ("Paris", "London"),
        ("Paris", "Parisian"),
        ("Paris", "Comparis"),
        ("Paris", "It is London; Paris was my first thought but it is London"),
        ("no", "I know"),
        ("no", "There is no doubt: yes"),
        ("cat", "concatenate"),
        ("C", "The answer is C++"),
        ("H2O", "CO2"),
        ("True", "The statement is not true."),
        ("Paris", "It is not Paris"),
        ("4", "The answer is not 4"),
        ("B", "Neither A nor B"),
        ("B", "A or B"),
        ("no", "No, wait: yes"),
        ("5", "The answer is 5 or 6"),
        ("5", "5-6"),
        ("3", "\\boxed{3\\sqrt{2}}"),
        ("3", "\\boxed{(3, 4)}"),
        ("3", "\\boxed{3\\pi}"),
        ("1", "\\boxed{\\frac{1}{2}}"),
        ("4", "$\\frac{1}{4}$"),
        ("2", "\\boxed{2x+1}"),
        ("10", "The answer is 10^6"),
        ("50", "50%"),
        ("50", "50 million"),
        ("4", "4:30"),
        ("5", "x = \u22125"),
        ("1234567890123", "1234567890124"),
        ("12", "\\boxed{1,2}"),
        ("15", "1,5"),
        ("2", "twenty two"),
        ("2", "two hundred"),
        ("4", "The answer is 4. Let me check. No, it is 5."),
        ("5", "The answer is 4, 5."),
        ("5", "x = 4 and y = 5"),
        ("5", "\\boxed{x=4, y=5}"),
        ("4", "\\boxed{3} and \\boxed{4}"),
        ("5", "\\boxed{\\pm 5}"),
        ("5", "\\boxed{\\sqrt 5}"),
        ("5", "\u221a5"),
        ("2", "\\boxed{\\log 2}"),
        ("5", "x \u2265 5"),
        ("5", "The answer is less than 5."),
        ("5", "The answer is between 4 and 5."),
        ("3", "2 \xd7 3"),
        ("3", "\\boxed{2 \\cdot 3}"),
        ("2", "The answer is 5 divided by 2."),
        ("2", "The answer is the square root of 2."),
        ("1", "1\xbd"),
        ("10", "10\xb2"),
        ("5", "5 %"),
        ("5", "5 per cent"),
        ("5", "$5 M"),
        ("4", "4 dozen"),
        ("4", "It's 4 AM"),
        ("6", "5 feet 6 inches"),
        ("30", "4 hours 30 minutes"),
        ("2020", "May 15, 2020"),
        ("15", "2020-05-15"),
        ("0", "2 000"),
        ("5", "two point five"),
        ("2", "two thirds"),
        ("2", "two and a half"),
        ("2", "minus two"),
        ("2", "\u20132"),
        ("1", "4 remainder 1"),
        ("16", "Kylar needs to pay $64 for 16 glasses."),
        ("2", "It isn\u2019t 2."),
        ("2", "It couldn't be 2."),
        ("2", "Is it 2?"),
        ("2", "3 rather than 2"),
        ("2", "The answer is 3; I first thought 2."),
        ("2", "The wrong answer is 2."),
        ("4", "\\boxed{4}. Wait, that is wrong. It is 5."),
        ("4", "#### 4\nHmm, no, it is 5."),
        ("2", "2\u4e07"),
        ("2", "\u8d1f2"),
        ("2", "3\u5206\u4e4b2"),
        ("3", "\u7b54\u6848\u662f2\u62163"),
        ("2", "\u7b54\u6848\u4e0d\u662f2"),
        ("2", "\u7b54\u6848\uff1a2\u3002\u4e0d\u5bf9\uff0c\u5e94\u8be5\u662f3\u3002"),
        ("B", "A, B"),
        ("B", "B and C"),
        ("C", "The answer is (B) Vitamin C."),
        ("B", "Option A is better than B."),
        ("B", "B is wrong."),
        ("no", "Yes, there is no"),
        ("true", "It is false that it is true"),
        ("Paris", "Paris and Lyon"),
        ("Paris", "Is it Paris?"),
        ("x^2", "\\boxed{x^2 + 1}"),
        # the last box counts, however deep its braces are nested, and an earlier box does not stand in for it
        ("4", r"First $x = \boxed{4}$. Checking, the result is \boxed{\frac{\sqrt{2}}{3}}."),
        ("4", r"\boxed{4}, then \boxed{\sqrt{\frac{\sqrt{2}}{3}}}"),
        ("4", r"\boxed{4}, then \boxed{\sqrt{1 + \sqrt{1 + \sqrt{1 + \sqrt{1 + \sqrt{2}}}}}}"),
        ("4", r"\boxed{4}, then \boxed{\{ 5 \}}"),
        ("4", r"\boxed{4}, then \boxed{\left\{ x : 0 < x \right.}"),
        ("4", r"\boxed{4}, then \boxed {5}"),
        ("4", r"\boxed{4}, then \boxed 5"),
        ("4", r"\boxed{4}, then \fbox{it is}: \fboxed{5}"),
        ("4", r"\boxed{4}, then \boxed{5"),
        ("4", r"\boxed{4}, then \boxed{\frac{1}{2"),
        ("4", "#### 4\nSo it is \\boxed{\\frac{\\sqrt{2}}{3}}."),
        ("4", "\\boxed{4}\n#### \\frac{\\sqrt{2}}{3}"),
        ("2, 3", r"\boxed{1}, \boxed{2} and \boxed{3}"),
        ("5 cm", "- 5 cm"),
        ("2/3", "1 2/3"),
        ("50%", "20% to 50%"),
        ("[1,2)", "(1,2]"),
        ("1, 2", "1, 2, 3"),
    ],
)
def test_an_answer_that_does_not_end_in_the_reference_is_no_match(reference: str, answer: str) -> None:
    assert matches(reference, answer) is not True


@pytest.mark.parametrize("reference", ["", "  \n", "...", "**", "\\boxed{}", '""'])
@pytest.mark.parametrize("answer", ["", "4", "..."])
def test_a_reference_that_says_nothing_is_neither_met_nor_missed(reference: str, answer: str) -> None:
    assert matches(reference, answer) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_two_numbers_match_only_if_they_are_equal(wanted: int, said: int) -> None:
    assert matches(str(wanted), f"The answer is {said}.") == (wanted == said)
    assert matches(f"{wanted:,}", f"That makes {wanted}.")


@settings(max_examples=200, deadline=None)
@given(REPLIES, REPLIES)
def test_matching_any_two_texts_gives_a_plain_yes_or_no(reference: str, answer: str) -> None:
    assert matches(reference, answer) in (True, False, None)


# --- the scorer -------------------------------------------------------------------------------------------------------

ENTRY = entry_from_conversation(conversation("What is 2+2?", "4"))
OPEN_ENTRY = entry_from_conversation(conversation("Tell me a joke."))


def matched(low: float, high: float, entry: Entry, text: str) -> Score:
    """The rule's score of one text."""
    return asyncio.run(Match(low, high).score(entry, [], text))


@pytest.mark.parametrize(("text", "value"), [("2 + 2 = 4", 5.0), ("It is 5.", -5.0), ("", None), ("<think>4", None)])
def test_the_match_rule_gives_the_top_or_the_bottom_of_the_range(text: str, value: Optional[float]) -> None:
    score = matched(-5, 5, ENTRY, text)
    assert score.value == value
    assert (score.unscored is None) == (value is not None)


def test_without_a_reference_the_match_rule_has_no_score() -> None:
    score = matched(0, 10, OPEN_ENTRY, "4")
    assert score.value is None
    assert score.unscored == "no reference to match"


@pytest.mark.parametrize("reference", ["", "  ", "**", "..."])
def test_a_reference_that_says_nothing_gives_no_score(reference: str) -> None:
    entry = replace(ENTRY, reference_turn={"from": "gpt", "value": reference})
    score = matched(0, 10, entry, "4")
    assert (score.value, score.unscored) == (None, "no reference to match")


@pytest.mark.parametrize(
    ("question", "answer", "verdict"),
    [
        ("What is the capital of France?", "The capital of France is Paris, France.", True),
        ("What is the capital of France?", "It is Paris, the capital of France.", True),
        ("What is the capital of France?", "Paris, France", True),
        ("What is the capital of France?", "The capital of France is Paris, Texas.", None),
        ("What is the capital of France?", "The capital of France is Paris and France.", None),
        ("What is the capital of France?", "The capital of France is not Paris, France.", None),
        ("Which of Paris and London is in France?", "They are Paris, London.", None),
        ("Name a capital other than London.", "It is Paris, London.", None),
    ],
)
def test_words_of_the_question_may_follow_the_final_answer(question: str, answer: str, verdict: bool | None) -> None:
    assert matches("Paris", answer, question) is verdict
