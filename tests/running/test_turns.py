"""Whose turn it is: the shares of each part of the sequence."""

from __future__ import annotations

from typing import List

from hypothesis import given, settings
from hypothesis import strategies as st

from common.running.turns import turns, whole_weights

WEIGHTS = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS)
def test_each_beginning_is_within_one_turn_of_the_shares(weights: List[int]) -> None:
    found, whole = turns(weights), sum(weights)
    had = [0] * len(weights)
    for number, place in enumerate(found if len(weights) > 1 else [], 1):
        had[place] += 1
        assert all(abs(one - weight * number / whole) < 1 for one, weight in zip(had, weights))
    assert len(weights) == 1 or had == weights


def test_equal_weights_take_turns() -> None:
    assert turns(whole_weights([2.5, 2.5, 2.5])) == [0, 1, 2]
