"""Whose turn it is: a sequence in which several have their shares, and have nearly their shares of each part of it.

>>> "".join("ab"[place] for place in turns([3, 1]))
'aaba'
>>> "".join("ab"[place] for place in turns([1, 1]))
'ab'
"""

from __future__ import annotations

import functools
import math
from typing import List, Sequence

PARTS = 100  # a weight counts in hundredths


def whole_weights(weights: Sequence[float]) -> List[int]:
    """The least whole numbers in the proportion of the weights, which count in hundredths.

    >>> whole_weights([0.5, 0.25]), whole_weights([3, 3]), whole_weights([0.7, 0.3])
    ([2, 1], [1, 1], [7, 3])
    """
    parts = [max(1, round(weight * PARTS)) for weight in weights]
    divisor = functools.reduce(math.gcd, parts)
    return [part // divisor for part in parts]


def turns(weights: Sequence[int]) -> List[int]:
    """The places (from 0) whose turn it is, for one period: as many turns as the sum of the weights.

    After each k turns, a place had its share of k turns, to less than one turn. This is the solution of the chairman
    assignment problem (Tijdeman 1980): of those who are behind by enough, the one whose turn is due first.
    """
    count, whole, product = len(weights), sum(weights), math.prod(weights)
    if count == 1:
        return [0]
    spread = 2 * count - 2
    had = [0] * count
    found: List[int] = []
    for turn in range(1, whole + 1):
        behind = [weight * turn - whole * before for weight, before in zip(weights, had)]  # in parts of a turn
        ready = [place for place in range(count) if spread * behind[place] >= whole]
        due = {place: ((spread - 1) * whole - spread * behind[place]) * (product // weights[place]) for place in ready}
        found.append(min(due, key=due.__getitem__))
        had[found[-1]] += 1
    return found
