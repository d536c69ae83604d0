"""Loops are found whatever their period and place, as simple code finds them, and not in tables and code."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.results.cleaning.repetition import LEAST, Loop, longest_loop
from tests.helpers import ROOT

SIGNS = "abcdefghijklmnopqrstuvwxyz    .,"


def written(seed: int, length: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice(SIGNS) for _ in range(length))


def longest_by_definition(text: str) -> int:
    """The length of the longest part that holds its period twice at least, by trying each period."""
    best = 0
    for period in range(1, len(text) // 2 + 1):
        run = 0
        for place in range(len(text) - period):
            run = run + 1 if text[place] == text[place + period] else 0
            if run >= period:
                best = max(best, run + period)
    return best


@pytest.mark.parametrize("place", [0, 700, 1400])
def test_loops_of_period_1_to_400_are_found(place: int) -> None:
    text = written(0, 1400)
    for period in range(1, 401):
        unit = written(period, period)
        looped = text[:place] + unit * max(3, -(-1600 // period)) + text[place:]
        loop = longest_loop(looped, 0.5)
        assert loop is not None, period
        assert loop.start <= place
        assert loop.period <= period
        part = looped[loop.start : loop.start + loop.length]
        assert part[loop.period :] == part[: -loop.period]


@settings(max_examples=150, deadline=None)
@given(
    st.text("ab", max_size=40), st.text("abc", min_size=1, max_size=40), st.integers(1, 9), st.text("ab", max_size=90)
)
def test_the_longest_loop_is_that_of_the_definition(before: str, unit: str, times: int, after: str) -> None:
    text = before + unit * times + after
    longest, needed = longest_by_definition(text), max(LEAST, int(0.3 * len(text)) + 1)
    loop = longest_loop(text, 0.3)
    assert (0 if loop is None else loop.length) == (longest if longest >= needed else 0)


def test_a_share_is_a_limit_and_not_what_is_removed() -> None:
    text = "x" * 100 + written(1, 100)
    assert longest_loop(text, 0.5) is None
    assert longest_loop("x" + text, 0.5) == Loop(0, 101, 1)
    assert longest_loop("ab" * 100, 1.0) is None


def test_tables_and_code_hold_no_loops() -> None:
    rng = random.Random(0)
    rule = "|" + "|".join(["-" * 42] * 6) + "|"
    row = "| " + " | ".join(str(rng.randint(0, 10**6)).ljust(40) for _ in range(6)) + " |"
    assert longest_loop("\n".join([row, rule, row[::-1]]), 0.3) is None
    assert [path for path in Path(ROOT / "common").rglob("*.py") if longest_loop(path.read_text(), 0.3)] == []


def test_a_loop_of_signs_that_fills_a_text_is_one() -> None:
    assert longest_loop("Yes. " + "-" * 500, 0.5) == Loop(5, 500, 1)


def test_text_that_no_probe_suits_takes_little_time() -> None:
    for text in ("ab" * 50_000 + "c", "a" * 100_000, ("a" * 300 + "b") * 300, written(2, 100_000)):
        longest_loop(text, 0.1)


def test_short_texts_hold_no_loops() -> None:
    for text in ("", "a", "ha " * 20, "0" * (LEAST - 1)):
        assert longest_loop(text, 0.1) is None
