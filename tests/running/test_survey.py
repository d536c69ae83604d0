"""The look at an input before a run: what it holds, with flat memory."""

from __future__ import annotations

import random

from common.running.survey import DistinctCount


def test_few_numbers_are_counted_exactly() -> None:
    count = DistinctCount(size=100)
    for number in [*range(99), *range(99)]:
        count.add(number << 100)
    assert count.number() == 99


def test_many_numbers_are_counted_within_a_few_percent_in_flat_memory() -> None:
    chance, count = random.Random(1), DistinctCount(size=4096)
    numbers = [chance.getrandbits(128) for _ in range(50_000)]
    for number in (*numbers, *numbers):
        count.add(number)
    assert abs(count.number() / 50_000 - 1) < 0.05
    assert len(count._smallest) == len(count._kept) == 4096


def test_an_empty_input_has_no_entries() -> None:
    assert DistinctCount().number() == 0
