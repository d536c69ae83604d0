"""Which answers are compared, and what the comparisons are worth as scores."""

from __future__ import annotations

import itertools
import random
from typing import Dict, FrozenSet, List, Optional

import pytest

from common.scoring.compare_schedule import chances, next_windows, windows_for


def played(players: List[str], size: int, strength: Dict[str, float]) -> Dict[FrozenSet[str], Optional[str]]:
    """The winners of the whole schedule if the strongest of each window wins; equals have no winner."""
    winners: Dict[FrozenSet[str], Optional[str]] = {}
    while True:
        windows = next_windows(players, size, winners)
        if not windows:
            return winners
        for window in windows:
            best = sorted(window, key=lambda player: -strength[player])
            is_tie = strength[best[0]] == strength[best[1]]
            assert frozenset(window) not in winners, "compared twice"
            winners[frozenset(window)] = None if is_tie else best[0]


@pytest.mark.parametrize("size", [2, 3, 4, 7])
@pytest.mark.parametrize("count", range(1, 34))
def test_the_schedule_ends_after_the_windows_that_were_announced_with_the_strongest_first(
    count: int, size: int
) -> None:
    players = [f"p{number}" for number in range(count)]
    random.Random(count).shuffle(players)
    strength = {player: float(player[1:]) for player in players}
    winners = played(players, size, strength)
    assert len(winners) == windows_for(count, size) <= count - 1 + size * (size - 1) // 2
    found = chances(players, winners)
    assert max(found, key=lambda player: found[player]) == f"p{count - 1}"


def test_ties_everywhere_end_too_and_leave_all_equal() -> None:
    players = list("abcdefg")
    winners = played(players, 2, dict.fromkeys(players, 1.0))
    assert len(winners) == 6
    assert all(abs(chance - 0.5) < 1e-4 for chance in chances(players, winners).values())


def test_a_known_comparison_is_not_asked_for_again() -> None:
    before = played(list("abcd"), 2, dict(zip("abcd", (1.0, 2.0, 3.0, 4.0))))
    assert next_windows(list("abcdefgh"), 2, before) == [("e", "f"), ("g", "h")]


def test_the_chances_are_those_of_the_most_likely_strengths() -> None:
    """At the maximum, each player's wins are those that the strengths make expected (Hunter 2004)."""
    chance = random.Random(3)
    players = list("abcdef")
    pairs = itertools.combinations(players, 2)
    winners = {frozenset(pair): chance.choice([*pair, None]) for pair in pairs}
    found = chances(players, winners)
    strength = {player: found[player] / (1 - found[player]) for player in players}
    for one in players:
        won = 0.1 + sum(0.5 if winner is None else winner == one for pair, winner in winners.items() if one in pair)
        expected = 0.2 * found[one]
        for pair in winners:
            if one in pair:
                (other,) = pair - {one}
                expected += strength[one] / (strength[one] + strength[other])
        assert abs(won - expected) < 1e-4


def test_a_later_round_does_not_wait_for_the_others_of_its_round() -> None:
    known: Dict[FrozenSet[str], Optional[str]] = {frozenset("ef"): "e", frozenset("gh"): None}
    assert next_windows(list("abcdefgh"), 2, known) == [("a", "b"), ("c", "d"), ("e", "g")]
