"""Times of day, dates and quantities of several units."""

from __future__ import annotations

from typing import Optional

import pytest

from common.scoring.same_answer import decide


@pytest.mark.parametrize(
    ("reference", "answer", "verdict"),
    [
        ("3:30 PM", "3:30 p.m.", True),
        ("3:30 PM", r"\boxed{\text{3:30pm}}", True),
        ("3:30 PM", "The train arrives at 3:30 PM.", True),
        ("3:30 PM", "15:30", True),
        ("3:30 PM", "3:30 AM", False),
        ("12:00 PM", "12:00 AM", False),
        ("3:30 PM", "3:30", None),
        ("March 5, 2024", "5 March 2024", True),
        ("March 5, 2024", "The answer is March 5th, 2024.", True),
        ("2024-03-05", "2024\u5e743\u67085\u65e5", True),
        ("March 5, 2024", "March 6, 2024", False),
        ("March 5, 2024", "March 5", None),
        ("March 5", "May 5", False),
        ("1 hour 30 minutes", "1 h 30 min", True),
        ("1 hour 30 minutes", "2 hours 30 minutes", False),
        ("1 hour 30 minutes", "90 minutes", None),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(reference: str, answer: str, verdict: Optional[bool]) -> None:
    assert decide("", reference, answer).value is verdict
