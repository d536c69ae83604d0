"""The lowest threshold whose share of right answers is certified: by labels, with a confidence of 95 %.

A threshold is certified if the lower bound (Clopper and Pearson 1934) of its share of right answers is at least the
share asked for. To try many thresholds and keep the best would be wrong too often. So they are tested in a fixed order,
from the highest down, and the first failure ends the walk (fixed-sequence testing, as in Learn then Test, Angelopoulos
et al., arXiv 2110.01052). There are up to four walks. Each begins where the scores alone leave enough answers, and
the walks share the 5 % equally (Bonferroni).

Answers to one question are alike. Their number is replaced by the number of independent answers that would say as
much (Korn and Graubard 1998). Where each question has one answer, the bound is exact.

>>> trials = [Trial(number % 10, number % 10 > 3, number) for number in range(2000)]
>>> certify(trials, 0.95).value
4
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Iterable, NamedTuple, Sequence

ERROR = 0.05  # the chance that a certified threshold has a lower share than asked
STARTS = 4  # walks
MOST_LEVELS = 50  # thresholds that are tested
FEWEST = 10  # accepted answers whose share says something about further labels


class Trial(NamedTuple):
    """A labelled answer (or pair): its score (or margin), whether it is right, and its question."""

    value: float
    right: bool
    group: int


class Certificate(NamedTuple):
    """A certified threshold: of ``of`` answers that reach it, ``right`` are right; at least the share ``bound`` is."""

    value: float
    right: int
    of: int
    bound: float


class Shortfall(NamedTuple):
    """Why no threshold is certified: the best threshold, its share, and the labels that are lacking.

    ``value`` is None if the labels are too few to tell the best: then ``more`` of them are enough if all are right.
    ``more`` is None if no threshold has the share that is asked for, so that more labels would not help.
    """

    value: float | None
    share: float
    more: int | None


def certify(trials: Sequence[Trial], asked: float) -> Certificate | Shortfall:
    """The lowest certified threshold, or what is lacking. ``asked`` is above 0 and below 1."""
    counts = [_Count(level, [trial for trial in trials if trial.value >= level]) for level in levels(trials)]
    starts = _starts(counts, asked)
    error = ERROR / max(1, len(starts))
    lowest = -1
    for start in starts:
        place = start
        while place < len(counts) and counts[place].bound(error) >= asked:
            lowest = max(lowest, place)
            place += 1
    if lowest < 0:
        return _shortfall(counts, starts, len(trials), asked)
    best = counts[lowest]
    return Certificate(best.value, best.right, best.of, best.bound(error))


def levels(trials: Iterable[Trial], most: int = MOST_LEVELS) -> list[float]:
    """The thresholds, from the highest down: all scores if they are few, else some at equal distances of rank.

    >>> levels([Trial(1, True, 0), Trial(3, True, 1), Trial(3, True, 2)])
    [3, 1]
    """
    ordered = sorted((trial.value for trial in trials), reverse=True)
    distinct = list(dict.fromkeys(ordered))
    if len(distinct) <= most:
        return distinct
    return list(dict.fromkeys(ordered[(place + 1) * len(ordered) // most - 1] for place in range(most)))


def lower_bound(right: float, of: float, error: float = ERROR) -> float:
    """The lower end of the one-sided Clopper-Pearson interval of a share; the numbers need not be whole.

    >>> round(lower_bound(59, 59), 4), round(lower_bound(95, 100), 4), lower_bound(0, 5)
    (0.9505, 0.8977, 0.0)
    """
    if right <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_share(right, of - right + 1, middle) < error else (low, middle)
    return low


def interval(right: float, of: float, error: float = ERROR) -> tuple[float, float]:
    """Both ends of the two-sided Clopper-Pearson interval of a share; 0 and 1 without answers.

    >>> [round(end, 3) for end in interval(2, 20)]
    [0.012, 0.317]
    """
    if of <= 0:
        return 0.0, 1.0
    return lower_bound(right, of, error / 2), 1 - lower_bound(of - right, of, error / 2)


def beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function: for whole numbers, the chance of ``a`` or more of ``a + b - 1``.

    By its continued fraction (Lentz's method, as in Numerical Recipes, 6.4).

    >>> round(beta_share(2, 1, 0.5), 6)
    0.25
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_share(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction 1 + d1/(1 + d2/(1 + ...)) of the incomplete beta function."""
    tiny, value, upper, lower = 1e-300, 1.0, 1.0, 0.0
    for step in range(1, 10_000):
        half = step // 2
        if step % 2:
            part = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            part = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        lower = 1 / (1 + part * lower or tiny)
        upper = 1 + part / upper or tiny
        value *= upper * lower
        if abs(upper * lower - 1) < 1e-14:
            break
    return value


def independent(trials: Sequence[Trial]) -> float:
    """The number of independent trials that say as much about the share of right ones (Korn and Graubard 1998).

    It is all of them if each has a question of its own. It is never less than if the answers to a question were all
    alike (Kish 1965).

    >>> independent([Trial(1, True, 0), Trial(1, False, 1)]), independent([Trial(1, True, 0), Trial(1, True, 0)])
    (2.0, 1.0)
    """
    groups: dict[int, list[int]] = {}
    for trial in trials:
        found = groups.setdefault(trial.group, [0, 0])
        found[0] += trial.right
        found[1] += 1
    of, right = len(trials), sum(found[0] for found in groups.values())
    fewest = of * of / max(1, sum(size * size for _, size in groups.values()))
    if len(groups) == of or len(groups) < 2 or right in (0, of):
        return float(fewest)
    share = right / of
    spread = sum((good - share * size) ** 2 for good, size in groups.values()) * len(groups) / (len(groups) - 1)
    return min(float(of), max(fewest, share * (1 - share) * of * of / spread)) if spread else float(of)


class _Count:
    """The trials that reach a threshold."""

    def __init__(self, value: float, reached: Sequence[Trial]) -> None:
        self.value = value
        self.of = len(reached)
        self.right = sum(trial.right for trial in reached)
        self.groups = len({trial.group for trial in reached})
        self._reached = reached

    @property
    def share(self) -> float:
        return self.right / self.of

    @cached_property
    def independent(self) -> float:
        return independent(self._reached)

    def bound(self, error: float) -> float:
        return lower_bound(self.share * self.independent, self.independent, error)


def least(asked: float, error: float = ERROR / STARTS) -> int:
    """The fewest answers that can certify a share, if all of them are right.

    >>> least(0.95, 0.05), least(0.99)
    (59, 437)
    """
    return math.ceil(math.log(error) / math.log(asked))


def _starts(counts: Sequence[_Count], asked: float) -> list[int]:
    """Where the walks begin: at the first thresholds with enough questions, twice as many, and so on."""
    wanted = [least(asked) << step for step in range(STARTS)]
    found = (next((place for place, one in enumerate(counts) if one.groups >= size), None) for size in wanted)
    return list(dict.fromkeys(place for place in found if place is not None))


def _shortfall(counts: Sequence[_Count], starts: Sequence[int], labels: int, asked: float) -> Shortfall:
    """The threshold that would be certified with the fewest further labels, if the shares stay as they are."""
    large = [one for one in counts if one.of >= FEWEST]
    if not large:
        return Shortfall(None, 1.0, max(1, least(asked) - labels))
    best = max(large, key=lambda one: one.share)
    first = [counts[start] for start in starts if counts[start].share > asked]  # a walk ends where it begins
    wanted = [(_labels(one, labels, asked), one) for one in first or large if one.share > asked]
    if not wanted:
        return Shortfall(best.value, best.share, None)
    number, nearest = min(wanted, key=lambda pair: pair[0])
    return Shortfall(nearest.value, nearest.share, max(1, number - labels))


def _labels(one: _Count, labels: int, asked: float, error: float = ERROR / STARTS) -> int:
    """How many labels certify a threshold, if its share stays as it is."""
    low, high = 1.0, float(least(asked, error))
    while lower_bound(one.share * high, high, error) < asked:
        low, high = high, high * 2
        if high > 1e7:
            break
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (middle, high) if lower_bound(one.share * middle, middle, error) < asked else (low, middle)
    return math.ceil(max(high / one.independent, least(asked) / one.groups) * labels)
