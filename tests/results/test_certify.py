"""Bounds against sums of binomials, and certified thresholds against the truth of simulated scores."""

from __future__ import annotations

import math
import random
from typing import List

import pytest

from common.results.certify import (
    Certificate,
    Shortfall,
    Trial,
    beta_share,
    certify,
    independent,
    interval,
    least,
    levels,
    lower_bound,
)


def tail(right: int, of: int, chance: float) -> float:
    """The chance of ``right`` or more of ``of``, term by term."""
    return math.fsum(math.comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(right, of + 1))


@pytest.mark.parametrize(("right", "of"), [(1, 1), (3, 7), (19, 20), (50, 50), (37, 200), (299, 300)])
@pytest.mark.parametrize("chance", [0.01, 0.3, 0.5, 0.93, 0.999])
def test_the_incomplete_beta_function_is_the_binomial_tail(right: int, of: int, chance: float) -> None:
    assert beta_share(right, of - right + 1, chance) == pytest.approx(tail(right, of, chance), abs=1e-12)


@pytest.mark.parametrize(("right", "of"), [(1, 3), (58, 60), (450, 480), (2000, 2000)])
def test_the_lower_bound_is_the_share_at_which_the_count_has_a_chance_of_five_percent(right: int, of: int) -> None:
    assert tail(right, of, lower_bound(right, of)) == pytest.approx(0.05, abs=1e-9)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    low, high = interval(4, 20)
    assert (round(low, 4), round(high, 4)) == (0.0573, 0.4366)  # as R's binom.test gives it
    assert interval(0, 0) == (0.0, 1.0)


def test_the_fewest_answers_that_can_certify_are_those_that_do_if_all_are_right() -> None:
    for asked in (0.5, 0.8, 0.95, 0.99):
        assert lower_bound(least(asked), least(asked), 0.05 / 4) >= asked
        assert lower_bound(least(asked) - 1, least(asked) - 1, 0.05 / 4) < asked


def test_answers_to_one_question_that_agree_count_as_one() -> None:
    alike = [Trial(1, group % 2 == 0, group) for group in range(10) for _ in range(8)]
    assert independent(alike) == pytest.approx(10)
    assert independent([Trial(1, True, group // 8) for group in range(80)]) == pytest.approx(10)
    assert independent([Trial(1, group % 3 > 0, group) for group in range(80)]) == 80


def simulated(count: int, chance: random.Random, each: int = 1) -> List[Trial]:
    """Scores from 0 to 10; the higher one is, the more often the answer is right: 10 in 97 %."""
    trials = []
    for group in range(count // each):
        score = chance.randrange(11)
        right = chance.random() < 0.47 + 0.05 * score
        trials += [Trial(score, right, group)] * each
    return trials


def truth(threshold: float) -> float:
    return sum(0.47 + 0.05 * score for score in range(int(threshold), 11)) / (11 - threshold)


@pytest.mark.parametrize("each", [1, 8])
@pytest.mark.parametrize("asked", [0.8, 0.9])
def test_a_certified_threshold_is_rarely_worse_than_asked(each: int, asked: float) -> None:
    chance = random.Random(each)
    found = [certify(simulated(1000 * each, chance, each), asked) for _ in range(40)]
    certified = [one for one in found if isinstance(one, Certificate)]
    assert len(certified) >= 25
    assert sum(truth(one.value) < asked for one in certified) <= 6  # 5 % of 40, with room for chance


def test_more_labels_certify_a_lower_threshold() -> None:
    small, large = (certify(simulated(count, random.Random(3)), 0.85) for count in (600, 20_000))
    assert isinstance(small, Certificate)
    assert isinstance(large, Certificate)
    assert large.value < small.value
    assert 0.85 <= large.bound < large.right / large.of


def test_too_few_labels_say_how_many_more_it_takes() -> None:
    few = [Trial(10, number % 30 < 29, number) for number in range(60)]
    found = certify(few, 0.95)
    assert isinstance(found, Shortfall)
    assert found.more is not None
    more = found.more
    enough = [Trial(10, number % 30 < 29, number) for number in range(60 + more + 30)]
    assert isinstance(certify(enough, 0.95), Certificate)
    assert isinstance(certify(enough[: 60 + more // 2], 0.95), Shortfall)


def test_labels_cannot_help_where_no_threshold_has_the_share() -> None:
    found = certify([Trial(number % 3, number % 2 == 0, number) for number in range(3000)], 0.8)
    assert isinstance(found, Shortfall)
    assert found.more is None


@pytest.mark.parametrize("trials", [[], [Trial(1, True, 0)], [Trial(1, False, 0)] * 3])
def test_next_to_no_labels_are_refused(trials: List[Trial]) -> None:
    found = certify(trials, 0.9)
    assert isinstance(found, Shortfall)
    assert found.more == least(0.9) - len(trials)


def test_many_different_scores_give_at_most_fifty_thresholds_that_keep_the_lowest() -> None:
    found = levels([Trial(number / 7, True, number) for number in range(1000)])
    assert len(found) == 50
    assert found[-1] == 0
    assert found == sorted(found, reverse=True)
