"""The final answer of a text: which mark counts, and where it ends."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given, settings

from common.scoring.final_answer import FinalAnswer, find_final_answer
from tests.texts import REPLIES


def text_of(text: str) -> Optional[str]:
    """Only the final answer itself."""
    final = find_final_answer(text)
    return None if final is None else final.text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{4} or rather \\boxed{5}", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("3 + 4 = 7\n#### 7", "7"),
        ("The answer is 7", "7"),
        ("**Answer:**\n\n7", "7"),
        ("First.\n\nSo it is 7.\n\n", "So it is 7."),
        ("", None),
        (" \n ", None),
    ],
)
def test_the_final_answer_is_the_last_marked_one_or_the_last_line(text: str, answer: Optional[str]) -> None:
    assert text_of(text) == answer


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{4}", "4"),
        (r"\boxed {4}", "4"),
        ("\\boxed\n{4}", "4"),
        (r"\fboxed{4}", "4"),
        (r"\boxed{}", ""),
        (r"\boxed{{4}}", "{4}"),
        (r"\boxed{\frac{\sqrt{2}}{3}}", r"\frac{\sqrt{2}}{3}"),
        (r"\boxed{\sqrt{\frac{\sqrt{2}}{3}}}", r"\sqrt{\frac{\sqrt{2}}{3}}"),
        (r"\boxed{a_{b_{c_{d_{e}}}}}", "a_{b_{c_{d_{e}}}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{[0, 1\}}", r"[0, 1\}"),
        (r"\boxed{1 \\ 2}", r"1 \\ 2"),
        (r"\boxed{\boxed{4}}", r"\boxed{4}"),
        ("\\boxed{\\begin{cases} 1 \\\\\n 2 \\end{cases}}", "\\begin{cases} 1 \\\\\n 2 \\end{cases}"),
    ],
)
def test_a_box_ends_at_the_brace_that_closes_it(text: str, content: str) -> None:
    assert find_final_answer(f"First \\boxed{{3}}. Then {text} is it.") == FinalAnswer(content, " is it.", "mark")


@pytest.mark.parametrize("last", [r"\boxed{5", r"\boxed{\frac{1}{2}", r"\boxed{5\}", r"\boxed 5", r"\boxed\frac12"])
def test_a_last_box_that_cannot_be_read_leaves_no_final_answer(last: str) -> None:
    assert find_final_answer(rf"First \boxed{{4}}. Then {last}") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{3} and \boxed{4}", "3, 4"),
        (r"$\boxed{3}$, $\boxed{4}$ or $\boxed{5}$", "3, 4, 5"),
        (r"\boxed{4}, \boxed{4}", "4"),
        (r"\boxed{2}. Then \boxed{3}, \boxed{4}", "3, 4"),
        ("\\boxed{3}\n#### 4", "3, 4"),
        ("#### 3\nNo: \\boxed{4}", "4"),
        ("\\boxed{3}. No:\n#### 4", "4"),
        ("The answer is 5. Now \\boxed{4}", "4"),
        ("Now \\boxed 5. No: \\boxed{4}", "4"),
        ("\\boxed{4}. The answer is 5.", "4"),
    ],
)
def test_of_several_marks_the_last_counts_with_those_that_are_joined_to_it(text: str, answer: str) -> None:
    assert text_of(text) == answer


@pytest.mark.parametrize(
    ("text", "keep_options", "final"),
    [
        ("Answer: B. Paris. Yes", False, FinalAnswer("B.", "Paris. Yes", "statement")),
        ("Answer: B. Paris. Yes", True, FinalAnswer("B. Paris.", "Yes", "statement")),
        ("Well.\nB. Paris", False, FinalAnswer("Paris", "", "last sentence")),
        ("Well.\nB. Paris", True, FinalAnswer("B. Paris", "", "last sentence")),
        ("The wrong answer is 5. It is 4.", False, FinalAnswer("It is 4.", "", "last sentence")),
        ("The answer is 5. The answer is 4.\nBye.", False, FinalAnswer("5.", "The answer is 4.\nBye.", "statement")),
    ],
)
def test_without_a_mark_it_is_the_statement_or_the_last_sentence(
    text: str, keep_options: bool, final: FinalAnswer
) -> None:
    assert find_final_answer(text, keep_options) == final


@settings(max_examples=200, deadline=None)
@given(REPLIES)
def test_any_text_has_a_final_answer_that_stands_in_it_or_none(text: str) -> None:
    final = find_final_answer(text)
    assert final is None or final.after in text or final.found_by == "statement"
