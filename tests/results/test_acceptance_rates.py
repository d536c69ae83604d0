"""Rates of acceptance, learnt from few answers: easy, mixed and hopeless questions, counts of every size."""

from __future__ import annotations

import math
import random
from typing import List, Sequence, Tuple

import pytest

from common.results.acceptance_rates import RATES, fit, posterior


def mean_rate(shares: Sequence[float]) -> float:
    return math.fsum(share * rate for share, rate in zip(shares, RATES))


def test_the_mean_of_the_fitted_rates_is_that_of_the_counts() -> None:
    chance = random.Random(1)
    counts = [(8, sum(chance.random() < rate for _ in range(8))) for rate in (0.0, 0.1, 0.5, 0.95) * 40]
    assert abs(mean_rate(fit(counts)) - sum(c for _, c in counts) / (8 * len(counts))) < 0.02


def test_entries_that_stopped_at_their_first_accepted_answer_do_not_raise_the_rates() -> None:
    chance, counts = random.Random(2), []
    for _ in range(2000):
        answers = next((n for n in range(1, 9) if chance.random() < 0.3), 9)
        counts.append((min(8, answers), int(answers < 9)))
    naive = sum(c / n for n, c in counts) / len(counts)
    assert naive > 0.45
    assert abs(mean_rate(fit(counts)) - 0.3) < 0.02


@pytest.mark.parametrize("counts", [[(1, 1)], [(1, 0)], [(0, 0)], [(5000, 0), (5000, 2500), (5000, 5000)], []])
def test_shares_are_shares_whatever_was_counted(counts: List[Tuple[int, int]]) -> None:
    shares = fit(counts)
    for found in (shares, *(posterior(shares, *count) for count in counts)):
        assert math.isclose(math.fsum(found), 1)
        assert all(0 <= share <= 1 for share in found)


def test_a_question_with_an_accepted_answer_is_not_hopeless() -> None:
    shares = fit([(8, 0)] * 30 + [(8, 1)])
    assert posterior(shares, 8, 1)[0] == 0
    assert posterior(shares, 8, 0)[0] > 0.1
