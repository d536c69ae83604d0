"""Whether an answer is the reference's: kinds of references, forms of answers, and what stays undecided."""

from __future__ import annotations

import random
import re
import time
from typing import Optional

import pytest

from common.scoring.final_answer import SECOND_THOUGHTS, STATEMENTS
from common.scoring.same_answer import FREE_TEXT, decide
from common.scoring.sentence_number import TAILS, TIE_RULES
from tests.scoring.identity import FORMS, references

CHOICES = "Which one? A) iron B) helium C) 12 cm D) both of them"
EGGS = "A hen lays 3 eggs per day. How many eggs does it lay in 6 days?"


@pytest.mark.parametrize(
    ("question", "reference", "answer", "verdict"),
    [
        # numbers
        (EGGS, "18", "It lays 18 eggs in 6 days.", True),
        (EGGS, "18", "In 6 days it lays 18.", True),
        (EGGS, "18", "It lays eighteen eggs.", True),
        (EGGS, "18", "It had laid 18 eggs before it laid 3 eggs.", None),
        (EGGS, "18", "It lays 18 dozens.", None),
        (EGGS, "18", "It lays 18 pairs.", None),
        (EGGS, "18", "It lays 12 of the 18 eggs.", None),
        (EGGS, "18", "It lays 12 out of 18.", None),
        (EGGS, "18", "It lays 18 crore.", None),
        (EGGS, "18", "So it lays 3 * 6 = 17 eggs.", False),
        (EGGS, "18", r"\boxed{18} lakh", False),
        ("", "1450000", "The answer is $1.45 million.", True),
        ("", "1450000", "The answer is 1.45M.", None),
        ("", "70000", "Profit = $70K", True),
        ("", "70000", "The answer is 70,00.", None),
        ("", "1234567", "12,34,567", True),
        ("", "1234567", "1 234 567", True),
        ("", "1234567", "1.234.567", True),
        ("", "1.234", "1,234", False),
        ("", "0.0015", r"\boxed{1.5 \times 10^{-3}}", True),
        ("", "-10", "The final answer is negative 10.", True),
        ("", "5", "five", True),
        ("", "205", "two hundred and five", True),
        ("How long is it in metres?", "5", "5 cm", None),
        ("How long is it?", "5", "5 cm", True),
        ("", "5 cm", "5 mm", None),
        ("What percentage is left?", "50", "50%", True),
        ("Half of it is left.", "50", "50%", None),
        ("", "50%", "0.5", True),
        ("", "0.667", "2/3", None),
        ("", "0.667", "0.6", False),
        ("", "1.6", "s = 1.57 cm \u2248 1.6 cm", True),
        ("", "$5", "\u20ac5", None),
        ("", "5 cents", "$5", None),
        ("", "4", "$x > \\boxed{4}$", None),
        ("", "4", r"\boxed{4} \times 10^3", False),
        ("", "4", r"\cancel{\boxed{4}} 5", None),
        ("", "4", "The answer might be 4.", None),
        ("", "4", "La respuesta no es 4.", None),
        ("", "4", "\u7b54\u3048\u306f4\u3067\u3059\u3002", True),
        ("", "4", r"So we get \underline{4}.", True),
        ("", "4", "The answer is <b>4</b>", True),
        ("", "4", "Final answer:\n- 4", None),
        ("", "Apollo 11", "Gemini 11", False),
        # lists and formulas
        ("", "x^2-3x+2", "x**2 - 3*x + 2", None),
        ("", "1, 2", "x = 2 or x = 1", True),
        ("", "(1, 2)", "(2, 1)", False),
        ("", r"\{x|-2\leq x < 1\}", r"\boxed{[-2, 1)}", True),
        ("", "[1, 2)", "[1, 2]", False),
        ("", "x^2", "y^2", None),
        ("", "x = 3", r"\boxed{y = 3}", False),
        # options
        (CHOICES, "B", "The answer is B. because it is light", True),
        (CHOICES, "B", "(B)", True),
        (CHOICES, "B", "B) helium", True),
        (CHOICES, "B", r"\boxed{B: helium}", True),
        (CHOICES, "B", "It must be helium.", True),
        (CHOICES, "B", "**B. helium**\n\nIt is a gas.", True),
        (CHOICES, "helium", "The answer is B.", True),
        (CHOICES, "C", "12 cm", True),
        (CHOICES, "B", "The answer is A, not B.", None),
        (CHOICES, "B", "A) iron", False),
        (CHOICES, "B", "B) iron", None),
        (CHOICES, "B", "Option B can be eliminated.", None),
        (CHOICES, "B", "\u4e0d\u9009B", None),
        (CHOICES, "B", "It could be A or B.", None),
        (CHOICES, "B", "Both A and B are right.", None),
        ("", "A", "A good answer is 5", None),
        # words
        ("", "Yes", "Yes, it is not below 38.", True),
        ("", "Yes", "No, it is not.", False),
        ("", "Yes", "Yes and no.", None),
        ("", "True", "Yes", None),
        ("", "The Hague", "It is in the Hague.", True),
        ("", "York", "The answer is New York.", None),
        ("", "Paris", "London", False),
        ("What kind of condition?", "a necessary condition", "The condition is necessary.", True),
        ("", "open, closed", "The states are open and closed.", True),
        # what cannot be told
        ("", "4", "", None),
        ("", "4", "<seed:think>4", None),
        ("", "4", "Perhaps 4.", None),
        ("", "4", "The answer is 4. Wait, no.", None),
        ("", "4", r"\boxed{4}\sqrt{2}", None),
    ],
)
def test_the_verdict_on_an_answer(question: str, reference: str, answer: str, verdict: Optional[bool]) -> None:
    assert decide(question, reference, answer).value is verdict


def test_words_that_differ_are_an_unsure_miss() -> None:
    assert decide("", "Paris", "London").unsure
    assert not decide("", "4", "5").unsure


@pytest.mark.parametrize("answer", ["Enjoy!", "I don't know.", "Mix flour and milk."])
def test_a_free_text_as_a_reference_is_undecided(answer: str) -> None:
    recipe = "Mix flour, milk and eggs until they are smooth.\nBake both sides in a hot pan. Enjoy!"
    assert decide("How are crepes made?", recipe, answer).why == FREE_TEXT
    assert decide("How are crepes made?", recipe, recipe + "\n").value


def test_the_tolerance_is_for_numbers_that_are_not_both_whole() -> None:
    assert decide("", "0.66667", "2/3").value is None
    assert decide("", "0.66667", "2/3", tolerance=1e-4).value
    assert decide("", "0.66667", "0.7", tolerance=1e-4).value is False
    assert decide("", "1000001", "1000000", tolerance=1e-4).value is False


def test_the_users_pattern_finds_the_final_answer_of_both_sides() -> None:
    own = [re.compile("RESULT (.*?);")]
    assert decide("", "RESULT 4;", "RESULT 4; out of 7", own).value
    assert decide("", "RESULT 4;", "RESULT 5; out of 4", own).value is False


def test_generated_right_answers_are_accepted_in_each_form_and_neighbours_are_not() -> None:
    missed, false_accepts = [], []
    for item in references(seed=3, count=46):
        for form, write in FORMS.items():
            if decide("", item.reference, write(item.same)).value is not True:
                missed.append((item.reference, write(item.same), form))
            if decide("", item.reference, write(item.other)).value:
                false_accepts.append((item.reference, write(item.other), form))
    assert (missed, false_accepts) == ([], [])


def test_changed_bytes_never_raise() -> None:
    chance = random.Random(5)
    for item in references(seed=4, count=500):
        answer = bytearray(chance.choice(list(FORMS.values()))(item.same).encode())
        answer[chance.randrange(len(answer))] = chance.randrange(256)
        assert decide("", item.reference, answer.decode(errors="replace")).value in (True, False, None)


FRAGMENTS = [rule.example for rules in (STATEMENTS, SECOND_THOUGHTS, TIE_RULES, TAILS) for rule in rules]
FRAGMENTS += [
    r"\boxed{",
    r"-\boxed{4} and ",
    "{",
    "####",
    "#### 4\n",
    "<answer>",
    "</answer>",
    "[THINK",
    "<think>",
    "<",
]
FRAGMENTS += ['{"answer": "', "answer to ", "A: ", "**", "$4$", "\\(", "(1,", "1,", "1 ", "12", "a ", "(A) ", "\n", " "]
FRAGMENTS += [
    "= ",
    "x = ",
    r"\frac{1}{2}",
    r"\frac{",
    r"\text{",
    "&",
    "\\\\",
    "million ",
    "two ",
    "and ",
    "- ",
    "..",
    "?",
]


def work(text: str) -> float:
    """The CPU time of a decision on a text."""
    start = time.process_time()
    decide("How many? A) 3 B) 4", "4", text)
    return time.process_time() - start


def test_the_work_grows_no_faster_than_the_text() -> None:
    """Twice the text is at most thrice the work, apart from the work of a hundredth of a second; tried three times."""
    slow = []
    for number, fragment in enumerate(FRAGMENTS):
        before = ("", "The answer is ", "\\boxed{", "<answer>")[number % 4]
        short, long = (before + fragment * (size // len(fragment)) for size in (10_000, 20_000))
        if all(work(long) > 3 * work(short) + 0.01 for _ in range(3)):
            slow.append(fragment)
    assert slow == []


@pytest.mark.parametrize("said", ["B", "The answer is (B).", r"So \boxed{b}"])
def test_a_letter_beside_a_number_asks_whether_the_reference_is_an_index(said: str) -> None:
    decision = decide("Which?\nA. x\nB. y", "1", said)
    assert decision.value is None
    assert "is the reference the index of a choice?" in str(decision.why)
