"""Estimates from a few samples: best-of-k curves, their intervals, rank correlation. Pure numbers, no files.

The chance that 5 of 10 answers include one of the 3 accepted ones:

>>> round(pass_at_k(10, 3, 5), 3)
0.917
"""

from __future__ import annotations

import math
import random
from functools import lru_cache
from operator import mul
from typing import Generic, NamedTuple, Sequence, TypeVar

Z95 = 1.959963984540054  # standard normal quantile of 0.975
PSEUDO = 2  # observations added at either end of the range by mean_interval
T = TypeVar("T")


class Estimate(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance (0 to 1) that k of n answers, sampled without replacement, include one of the c accepted ones.

    1 - C(n-c, k) / C(n, k) as a product, which neither overflows nor cancels: the unbiased estimator of pass@k
    (Chen et al. 2021, arXiv 2107.03374). Raises ValueError unless 0 <= c <= n and 1 <= k <= n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    _check_sample_size(n, k)
    if not 0 <= c <= n:
        raise ValueError(f"{c} accepted of {n} answers")
    if n - c < k:
        return 1.0
    chance_of_none = 1.0
    for index in range(n - c + 1, n + 1):
        chance_of_none *= 1 - k / index
    return 1 - chance_of_none


@lru_cache(maxsize=4096)
def best_of_k_weights(n: int, k: int) -> tuple[float, ...]:
    """The chance that each of n values, in ascending order, is the largest of k sampled without replacement.

    C(i-1, k-1) / C(n, k) for i = 1..n, by recurrence from the top; they sum to 1. Raises ValueError unless 1 <= k <= n.

    >>> best_of_k_weights(3, 3)
    (0.0, 0.0, 1.0)
    """
    _check_sample_size(n, k)
    weights = [0.0] * n
    weight = k / n
    for place in range(n, k - 1, -1):
        weights[place - 1] = weight
        weight *= (place - k) / max(place - 1, 1)
    return tuple(weights)


def expected_best(ascending: Sequence[float], k: int) -> float:
    """The mean of the largest of k values sampled without replacement from ``ascending`` (sorted, in their own unit).

    Order statistics: the unbiased estimator of the best of k samples. ValueError unless 1 <= k <= its length.

    >>> expected_best([0, 5, 10], 1), expected_best([0, 5, 10], 3)
    (5.0, 10.0)
    """
    return float(sum(map(mul, best_of_k_weights(len(ascending), k), ascending)))


def _check_sample_size(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"cannot sample {k} of {n}")


def curve_steps(most: int, points: int = 32) -> list[int]:
    """Ascending k from 1 to ``most`` (1 or more): all if they are at most ``points`` (4 or more), else about ``points``
    of them, evenly spaced in the logarithm. 1, ``most - 1`` and ``most`` are always included.

    >>> curve_steps(5), curve_steps(100, points=8)
    ([1, 2, 3, 4, 5], [1, 2, 5, 10, 22, 46, 99, 100])
    """
    if most <= points:
        return list(range(1, most + 1))
    ratio = most ** (1 / (points - 2))
    return sorted({1, most - 1, most, *(min(most, round(ratio**step)) for step in range(points - 1))})


def mean_interval(values: Sequence[float], low: float, high: float) -> Estimate:
    """The mean of one or more values from ``low`` to ``high`` and its 95 % interval, within that range.

    Normal interval after adding two observations at either end, so that it is not empty if all values are equal
    (Agresti and Coull 1998, there for proportions; the same idea for any bounded mean). ValueError without values.

    >>> [round(end, 2) for end in mean_interval([1, 1, 1, 1], 0.0, 1.0)]
    [1.0, 0.43, 1.0]
    """
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    middle, reach = _normal([*values, *[low] * PSEUDO, *[high] * PSEUDO])
    lower, upper = min(mean, middle - reach), max(mean, middle + reach)
    return Estimate(mean, max(min(low, mean), lower), min(max(high, mean), upper))


def gain_interval(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """The mean of ``after[i] - before[i]``, two values of entry i, and its plain normal 95 % interval.

    Raises ValueError if the lengths differ or are 0.

    >>> gain_interval([0, 1], [2, 3])
    Estimate(mean=2.0, low=2.0, high=2.0)
    """
    if len(before) != len(after) or not before:
        raise ValueError("a gain needs as many values before as after, and at least one")
    middle, reach = _normal([late - early for early, late in zip(before, after)])
    return Estimate(middle, middle - reach, middle + reach)


def _normal(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its normal 95 % interval (0 for a single value)."""
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.fsum((value - mean) ** 2 for value in values) / max(count - 1, 1)
    return mean, Z95 * math.sqrt(spread / count)


def _ranks(values: Sequence[float]) -> list[float]:
    """The ranks from 1; equal values share their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end + 1) / 2
        start = end
    return ranks


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation (-1 to 1) of pairs, ties with their mean rank; NaN if one side does not vary.

    Spearman 1904. Raises ValueError if the lengths differ.

    >>> round(spearman([1, 2, 3], [10, 300, 20]), 3)
    0.5
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}")
    if len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    middle = (len(first) + 1) / 2
    left, right = ([rank - middle for rank in _ranks(values)] for values in (first, second))
    across = math.fsum(map(mul, left, right))
    return across / math.sqrt(math.fsum(map(mul, left, left)) * math.fsum(map(mul, right, right)))


class RunningMean:
    """The mean of values that are added one by one, and its plain normal 95 % interval (0 and -1 to 1 without values).

    >>> mean = RunningMean()
    >>> for value in (1, 2, 3): mean.add(value)
    >>> mean.count, mean.mean
    (3, 2.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._squares = 0.0

    def add(self, value: float) -> None:
        """Adds one value."""
        self.count += 1
        self.total += value
        self._squares += value * value

    @property
    def mean(self) -> float:
        """The mean so far, in the unit of the values."""
        return self.total / self.count if self.count else 0.0

    def interval(self) -> Estimate:
        """The mean with its interval."""
        mean, reach = self.mean, 1.0
        if self.count:
            variance = max(0.0, self._squares / self.count - mean * mean)
            reach = Z95 * math.sqrt(variance / self.count)
        return Estimate(mean, mean - reach, mean + reach)


class Reservoir(Generic[T]):
    """A uniform sample of at most ``size`` of the items added, the same in every run with the same items.

    Vitter 1985, algorithm R, with a fixed seed. ``items`` is the sample, ``seen`` how many items were added.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.items: list[T] = []
        self.seen = 0
        self._size = size
        self._random = random.Random(seed)

    def add(self, item: T) -> None:
        """Counts an item, and keeps it with the chance ``size`` / ``seen``."""
        self.seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
        else:
            place = self._random.randrange(self.seen)
            if place < self._size:
                self.items[place] = item
