"""How well scores agree with labels: pure numbers, each beside random, length-only and majority.

``random`` is the expectation of scores without information. ``length`` scores an answer by its characters, and
``majority`` by the share of its question's answers that have the same final answer. Each of them accepts as many
answers as the scorer does, so that precision is compared at equal numbers.

Example: ``figure_rows([Labelled(9.0, True, 12, 0.8, 0), Labelled(1.0, False, 3, 0.2, 0)], pairs)``
"""

from __future__ import annotations

from itertools import groupby
from typing import Callable, Iterator, NamedTuple, Sequence

from .certify import Trial, levels
from .selection import TIE

MOST_ROWS = 5  # thresholds, and margins, that are shown
BASELINES = ("random", "length", "majority")


class Labelled(NamedTuple):
    """A scored answer with its label: ``vote`` is the share of its question's answers that agree with it."""

    score: float
    right: bool
    length: int
    vote: float
    group: int


class LabelledPair(NamedTuple):
    """Two answers to one question of which the first is better: the differences, the first's less the other's."""

    score: float
    length: float
    vote: float
    group: int


class Figure(NamedTuple):
    """One figure of the scorer and of the baselines; ``of`` is the number of answers or pairs that it is about."""

    name: str
    of: int
    scorer: float
    random: float
    length: float
    majority: float


Value = Callable[[Labelled], float]
WAYS: tuple[Value, ...] = (lambda one: one.score, lambda one: one.length, lambda one: one.vote)
PAIR_WAYS: tuple[Callable[[LabelledPair], float], ...] = (
    lambda pair: pair.score,
    lambda pair: pair.length,
    lambda pair: pair.vote,
)


def figure_rows(answers: Sequence[Labelled], pairs: Sequence[LabelledPair]) -> list[Figure]:
    """All figures that the answers and the pairs allow."""
    return [*_answer_figures(answers), *_pair_figures(pairs)]


def _answer_figures(answers: Sequence[Labelled]) -> Iterator[Figure]:
    """AUC within and across questions; precision, recall and kappa by threshold."""
    positives = sum(one.right for one in answers)
    if not 0 < positives < len(answers):
        return
    groups = [list(group) for _, group in groupby(sorted(answers, key=lambda one: one.group), lambda one: one.group)]
    mixed = [group for group in groups if 0 < sum(one.right for one in group) < len(group)]
    if mixed:
        within = [sum(auc(group, way) for group in mixed) / len(mixed) for way in WAYS]
        yield _figure("AUC within questions", sum(map(len, mixed)), 0.5, within)
    yield _figure("AUC across questions", len(answers), 0.5, [auc(answers, way) for way in WAYS])
    for level in levels([Trial(one.score, one.right, 0) for one in answers], MOST_ROWS):
        if all(one.score >= level for one in answers):
            continue  # all figures of accepting everything are those of random
        yield from _threshold_figures(answers, level, positives)


def _threshold_figures(answers: Sequence[Labelled], level: float, positives: int) -> Iterator[Figure]:
    count, rate = sum(one.score >= level for one in answers), positives / len(answers)
    hits = [right_among(answers, way, count) for way in WAYS]
    name = f"at a score of at least {level:.6g}"
    yield _figure(f"precision {name}", count, rate, [hit / count for hit in hits])
    yield _figure(f"recall {name}", count, count / len(answers), [hit / positives for hit in hits])
    yield _figure(f"kappa {name}", count, 0.0, [kappa(hit, count, positives, len(answers)) for hit in hits])


def _pair_figures(pairs: Sequence[LabelledPair]) -> Iterator[Figure]:
    """How often the better answer has the higher score, over all pairs and by margin. A tie counts as a half."""
    if not pairs:
        return
    yield _figure("pair accuracy, ties as a half", len(pairs), 0.5, [_share_won(pairs, way) for way in PAIR_WAYS])
    decided = [pair for pair in pairs if abs(pair.score) > TIE]
    for margin in levels([Trial(abs(pair.score), True, 0) for pair in decided], MOST_ROWS):
        count = sum(abs(pair.score) >= margin for pair in decided)
        shares = [_share_won(_widest(pairs, way, count), way) for way in PAIR_WAYS]
        yield _figure(f"pair accuracy at a margin of at least {margin:.6g}", count, 0.5, shares)
        yield _figure(f"pair kappa at a margin of at least {margin:.6g}", count, 0.0, [2 * one - 1 for one in shares])


def _figure(name: str, of: int, by_chance: float, ways: Sequence[float]) -> Figure:
    scorer, length, majority = (round(one, 4) for one in ways)
    return Figure(name, of, scorer, round(by_chance, 4), length, majority)


def auc(answers: Sequence[Labelled], value: Value) -> float:
    """The chance that a right answer has a higher value than a wrong one; a tie counts as a half (Mann-Whitney).

    >>> auc([Labelled(2, True, 0, 0, 0), Labelled(1, False, 0, 0, 0), Labelled(2, False, 0, 0, 0)], WAYS[0])
    0.75
    """
    won, wrong_below = 0.0, 0
    for _, tied in groupby(sorted(answers, key=value), value):
        labels = [one.right for one in tied]
        right, wrong = sum(labels), len(labels) - sum(labels)
        won += right * (wrong_below + wrong / 2)
        wrong_below += wrong
    return won / (wrong_below * (len(answers) - wrong_below))


def right_among(answers: Sequence[Labelled], value: Value, count: int) -> float:
    """How many of the ``count`` answers with the highest values are right; of tied ones, the expected number.

    >>> right_among([Labelled(2, True, 0, 0, 0), Labelled(1, False, 0, 0, 0), Labelled(1, True, 0, 0, 0)], WAYS[0], 2)
    1.5
    """
    found = 0.0
    for _, tied in groupby(sorted(answers, key=value, reverse=True), value):
        labels = [one.right for one in tied]
        taken = min(count, len(labels))
        found += sum(labels) * taken / len(labels)
        count -= taken
        if not count:
            break
    return found


def kappa(hits: float, accepted: int, positives: int, total: int) -> float:
    """Cohen's kappa (1960) of accepted against right; 0 if both always say the same.

    >>> kappa(5, 5, 5, 10), kappa(5, 10, 5, 10)
    (1.0, 0.0)
    """
    agreed = (2 * hits + total - accepted - positives) / total
    by_chance = (accepted * positives + (total - accepted) * (total - positives)) / (total * total)
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def _share_won(pairs: Sequence[LabelledPair], value: Callable[[LabelledPair], float]) -> float:
    won = sum(0.5 if abs(value(pair)) <= TIE else float(value(pair) > 0) for pair in pairs)
    return won / len(pairs)


def _widest(
    pairs: Sequence[LabelledPair], value: Callable[[LabelledPair], float], count: int
) -> Sequence[LabelledPair]:
    """The pairs with the widest margins."""
    return sorted(pairs, key=lambda pair: -abs(value(pair)))[:count]
