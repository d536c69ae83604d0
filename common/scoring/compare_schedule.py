"""Which answers are compared next, and what scores the comparisons give: pure functions, without requests.

The schedule is a knock-out by windows of ``size`` answers, until one window is left, and then a round robin of pairs in
that window. So the comparisons grow with the number of answers, and not with its square.

>>> next_windows(["a", "b", "c"], 2, {})
[('a', 'b')]
>>> next_windows(["a", "b", "c"], 2, {frozenset("ab"): "b"})
[('b', 'c')]
>>> next_windows(["a", "b", "c"], 2, {frozenset("ab"): "b", frozenset("bc"): None})
[]
"""

from __future__ import annotations

import itertools
import math
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

Window = Tuple[str, ...]  # the names of answers, in the order in which they stand
Winners = Mapping[FrozenSet[str], Optional[str]]  # by the names in a window: the winner, None if there is none

PRIOR = 0.1  # wins, and losses, of each answer against an average one
ROUNDS = 1000  # of Newton steps, at most
PRECISE = 1e-6  # the largest step at which it ends


def next_windows(players: Sequence[str], size: int, winners: Winners) -> List[Window]:
    """The windows that can be compared now, also those of later rounds whose players are known; none if all are.

    A window without a winner sends its first answer on.
    """
    found: List[Window] = []
    left: List[Optional[str]] = list(players)  # None: not known yet
    while len(left) > size:
        windows = [left[start : start + size] for start in range(0, len(left), size)]
        left = [_goes_on(window, winners, found) for window in windows]
    known = [player for player in left if player is not None]
    return found + [pair for pair in itertools.combinations(known, 2) if frozenset(pair) not in winners]


def _goes_on(window: Sequence[Optional[str]], winners: Winners, found: List[Window]) -> Optional[str]:
    """Who goes on from a window, if that is known. A window that can be compared now is added to ``found``."""
    players = tuple(player for player in window if player is not None)
    if len(players) < len(window):
        return None
    if len(players) > 1 and frozenset(players) not in winners:
        found.append(players)
        return None
    return winners.get(frozenset(players)) or players[0]


def windows_for(players: int, size: int) -> int:
    """How many windows the schedule compares.

    >>> [windows_for(players, 2) for players in (1, 2, 4, 8, 16)], windows_for(16, 4)
    ([0, 1, 3, 7, 15], 10)
    """
    windows = 0
    while players > size:
        windows += players // size + (players % size > 1)
        players = -(-players // size)
    return windows + players * (players - 1) // 2


def chances(players: Sequence[str], winners: Winners) -> Dict[str, float]:
    """Each player's chance, from 0 to 1, to win against an average one, in the model of Bradley and Terry.

    The winner of a window won against each other player in it, and a window without a winner is half a win for each.
    ``PRIOR`` makes the result finite and unique, however few the comparisons are (Caron and Doucet 2012). The maximum
    of the likelihood is the one that the MM algorithm finds (Hunter 2004, "MM algorithms for generalized Bradley-Terry
    models", section 2). Newton steps, one player at a time, reach it in a tenth of the rounds.

    >>> {name: round(chance, 2) for name, chance in chances("ab", {frozenset("ab"): "a"}).items()}
    {'a': 0.8, 'b': 0.2}
    """
    games: Dict[str, List[Tuple[str, float]]] = {player: [] for player in players}
    for one, other, won in _games(winners):
        games[one].append((other, won))
    levels = dict.fromkeys(players, 0.0)  # logarithms of the strengths; the average is 0
    for _ in range(ROUNDS):
        steps = []
        for one in players:
            steps.append(_step(levels[one], games[one], levels))
            levels[one] += steps[-1]
        if max(map(abs, steps)) <= PRECISE:
            break
    return {one: _logistic(level) for one, level in levels.items()}


def _step(level: float, games: Sequence[Tuple[str, float]], levels: Mapping[str, float]) -> float:
    """How far a player's level is to move: the slope of the likelihood over its bend, at most 1."""
    chance = _logistic(level)
    slope, bend = PRIOR * (1 - 2 * chance), 2 * PRIOR * chance * (1 - chance)
    for other, won in games:
        chance = _logistic(level - levels[other])
        slope += won - chance
        bend += chance * (1 - chance)
    return max(-1.0, min(1.0, slope / bend))


def _logistic(level: float) -> float:
    return 1 / (1 + math.exp(-level))


def _games(winners: Winners) -> Iterator[Tuple[str, str, float]]:
    """(player, other, the part of a win that the player has) of each game, from both sides."""
    for window, winner in winners.items():
        for one, other in itertools.permutations(sorted(window), 2):
            if winner is None:
                yield one, other, 0.5
            elif winner in (one, other):  # two losers were not compared
                yield one, other, float(one == winner)
