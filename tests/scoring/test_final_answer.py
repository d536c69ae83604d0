"""The final answer of a text: which mark counts, and where it ends."""

from __future__ import annotations

import re
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
        ("First.\n\nSo it is 7.\n\n", "7."),
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
        (r"\boxed{\boxed{4}}", "4"),
        (r"\fbox{4}", "4"),
        ("\\boxed{\\begin{cases} 1 \\\\\n 2 \\end{cases}}", "\\begin{cases} 1 \\\\\n 2 \\end{cases}"),
    ],
)
def test_a_box_ends_at_the_brace_that_closes_it(text: str, content: str) -> None:
    assert find_final_answer(f"First \\boxed{{3}}. Then {text} is it.") == FinalAnswer(content, " is it.", "mark")


@pytest.mark.parametrize(
    ("last", "content"),
    [
        (r"\boxed{5", "5"),
        (r"$\boxed{5$ units", "5 units"),
        (r"\boxed 5", "5"),
        (r"\boxed{\frac{1}{2}", r"\frac{1}{2}"),
        (r"\boxed{\frac{1}{2", None),
        (r"\boxed{New York", "New York"),
    ],
)
def test_a_box_that_no_brace_closes_ends_with_its_formula_or_its_line(last: str, content: Optional[str]) -> None:
    final = find_final_answer(rf"First \boxed{{4}}. Then {last}")
    assert final is not None
    assert (final.text if final.doubt is None else None) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"$-\boxed{5}$", "-5"),
        (r"-$\boxed{5}$", "-5"),
        (r"It is minus \boxed{5}", "-5"),
        (r"\boxed{5}\sqrt2", r"5\sqrt2"),
        (r"\boxed{5} million", "5 million"),
        (r"$\boxed{5}$ dozen.", "5 dozen"),
        (r"$\boxed{5}\%$", r"5\%"),
        (r"\boxed{5}^2", "5^2"),
        (r"\boxed{5}/2", "5/2"),
        (r"\boxed{5} \mathrm{~cm}", "5 cm"),
        (r"\boxed{5} or 6", "5 or 6"),
        (r"2\boxed{5}", None),
        (r"$x\boxed{5}$", None),
        (r"$7 - \boxed{5}$", None),
        (r"$\frac{1}{\boxed{5}}$", None),
        (r"\sqrt{\boxed{5}}", None),
        (r"It is not \boxed{5}", None),
        (r"- \boxed{5}", "5"),
        (r"2. \boxed{5}", "5"),
        (r"**\boxed{5}**", "5"),
        (r"$x = \boxed{5}$, and that is it", "5"),
        (r"Total - \boxed{5}", "5"),
        (r"\boxed{5} is less than 7", "5"),
    ],
)
def test_text_that_touches_a_box_belongs_to_it(text: str, content: Optional[str]) -> None:
    final = find_final_answer(text)
    assert final is not None
    assert (final.text if final.doubt is None else None) == content


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
        ("\\boxed{4}. The answer is 5.", "5."),
        ("\\boxed{4}. The answer is in dollars.", "4"),
    ],
)
def test_of_several_marks_the_last_counts_with_those_that_are_joined_to_it(text: str, answer: str) -> None:
    assert text_of(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: B. Paris. Yes", "B. Paris."),
        ("Well.\nB. Paris", "B. Paris"),
        ("The wrong answer is 5. It is 4.", "4."),
        ("The answer is 5. The answer is 4.\nBye.", "4."),
        ("It is 4.\n\nI hope this helps! Let me know if you have questions.", "4."),
        ("Answer\n======\n4", "4"),
        ("> It is 4.", "4."),
        ('The answer is "4".', "4"),
        ("4 is the answer.", "4"),
        ("<answer>4", "4"),
        ("<answer>\n4\n</answer>\nBye", "4"),
        ("<answer>4</answer> No, \\boxed{5}", "5"),
        ("<answer>We get \\boxed{4}.</answer>", "4"),
        ('{"answer": "4"}', "4"),
        ("{'final_answer': 4}", "4"),
        ('{"answer": [1, 2]}', "[1, 2]"),
        ('{"answer": true}', "true"),
        ("x\n\\[\nx = 4\n\\]", "x = 4"),
        ("4<|endoftext|>", "4"),
    ],
)
def test_tags_json_headings_statements_and_the_last_line_are_read(text: str, answer: str) -> None:
    assert text_of(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{4}. Wait, that is wrong.",
        "The answer is 4.\nLet me check that again.",
        "#### 4\nHmm, no, it is 5.",
        "Answer: 4 per day.\nSo in total 35.",
        "<answer>4</answer>\nActually, it is 5.",
    ],
)
def test_second_thoughts_are_a_doubt(text: str) -> None:
    final = find_final_answer(text)
    assert final is not None
    assert final.doubt


def test_the_users_own_pattern_is_a_mark() -> None:
    own = [re.compile(r"RESULT (.*?);")]
    final = find_final_answer("\\boxed{3} RESULT 4; RESULT 5; bye", own)
    assert final is not None
    assert final.text == "5"


@settings(max_examples=200, deadline=None)
@given(REPLIES)
def test_any_text_has_a_final_answer_that_stands_in_it_or_none(text: str) -> None:
    final = find_final_answer(text)
    assert final is None or final.after in text
