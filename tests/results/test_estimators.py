"""The estimators against brute force: every subset counted, every rank written out."""

from __future__ import annotations

import math
import random
from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.results.estimators import (
    Reservoir,
    best_of_k_weights,
    curve_steps,
    expected_best,
    gain_interval,
    mean_interval,
    pass_at_k,
    spearman,
)

SCORES = st.lists(st.integers(0, 10).map(float), min_size=1, max_size=8)


@given(SCORES, st.integers(0, 10))
def test_pass_at_k_is_the_share_of_subsets_with_an_accepted_answer(scores, lowest):
    accepted = [score >= lowest for score in scores]
    for k in range(1, len(scores) + 1):
        counted = mean(any(sample) for sample in combinations(accepted, k))
        assert pass_at_k(len(scores), sum(accepted), k) == pytest.approx(counted, abs=1e-12)


@given(SCORES)
def test_expected_best_is_the_mean_of_the_best_of_every_subset(scores):
    for k in range(1, len(scores) + 1):
        counted = mean(max(sample) for sample in combinations(scores, k))
        assert expected_best(sorted(scores), k) == pytest.approx(counted, abs=1e-12)


@given(st.integers(1, 1000), st.data())
def test_at_a_thousand_answers_weights_sum_to_one_and_pass_at_k_is_exact(n, data):
    k, c = data.draw(st.integers(1, n)), data.draw(st.integers(0, n))
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert pass_at_k(n, c, k) == pytest.approx(exact, abs=1e-9)
    weights = best_of_k_weights(n, k)
    assert math.fsum(weights) == pytest.approx(1, abs=1e-9)
    assert min(weights) >= 0


def test_a_rare_success_keeps_its_digits():
    assert pass_at_k(1000, 1, 1) == pytest.approx(0.001, rel=1e-12)
    assert best_of_k_weights(1000, 500)[-1] == 0.5


@given(SCORES)
def test_more_samples_never_lower_either_curve(scores):
    steps = range(1, len(scores) + 1)
    best = [expected_best(sorted(scores), k) for k in steps]
    passed = [pass_at_k(len(scores), sum(score >= 5 for score in scores), k) for k in steps]
    assert all(later >= earlier - 1e-12 for curve in (best, passed) for earlier, later in zip(curve, curve[1:]))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1), (0, 0, 1)])
def test_an_impossible_sample_size_is_refused(n, c, k):
    with pytest.raises(ValueError, match=r"sample|accepted"):
        pass_at_k(n, c, k)


def test_no_values_have_no_interval():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([], 0, 1)
    with pytest.raises(ValueError, match="as many"):
        gain_interval([1.0], [])


@given(st.integers(1, 2000))
def test_steps_hold_both_ends_and_stay_few(most):
    steps = curve_steps(most)
    assert {1, max(1, most - 1), most} <= set(steps)
    assert steps == sorted(set(steps))
    assert len(steps) <= 34
    assert most > 32 or steps == list(range(1, most + 1))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_an_interval_holds_its_mean_and_stays_in_the_range(values):
    found = mean_interval(values, 0, 10)
    assert 0 <= found.low <= found.mean <= found.high <= 10
    assert found.mean == pytest.approx(mean(values))


def test_five_successes_of_five_are_no_certainty():
    assert mean_interval([1.0] * 5, 0, 1).low < 0.8
    assert mean_interval([1.0] * 5000, 0, 1).low > 0.998


@pytest.mark.parametrize("chance", [0.05, 0.5, 0.95])
def test_the_interval_covers_the_truth_about_95_times_in_100(chance):
    chances = random.Random(1)
    hits = 0
    for _ in range(1000):
        found = mean_interval([float(chances.random() < chance) for _ in range(40)], 0, 1)
        hits += found.low <= chance <= found.high
    assert 925 <= hits <= 995


def test_a_gain_is_paired_so_what_entries_share_does_not_widen_it():
    before = [float(n) for n in range(100)]
    gain = gain_interval(before, [value + 0.5 for value in before])
    assert gain == pytest.approx((0.5, 0.5, 0.5))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_spearman_is_pearson_of_mean_ranks(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    found = spearman(first, second)
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert math.isnan(found)
        return

    def ranks(values):
        return [mean(n for n, x in enumerate(sorted(values), 1) if x == value) for value in values]

    a, b = ranks(first), ranks(second)
    across = sum((x - mean(a)) * (y - mean(b)) for x, y in zip(a, b))
    size = math.sqrt(sum((x - mean(a)) ** 2 for x in a) * sum((y - mean(b)) ** 2 for y in b))
    assert found == pytest.approx(across / size, abs=1e-9)


def test_spearman_sees_order_and_nothing_else():
    assert spearman([1, 2, 3, 4], [1, 10, 100, 10**6]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    with pytest.raises(ValueError, match="against"):
        spearman([1], [1, 2])


def test_a_reservoir_keeps_each_item_equally_often_and_the_same_ones_every_run():
    kept = [0] * 100
    for seed in range(400):
        sample: Reservoir[int] = Reservoir(10, seed)
        for item in range(100):
            sample.add(item)
        assert sample.seen == 100
        assert len(set(sample.items)) == 10
        for item in sample.items:
            kept[item] += 1
    assert sum(kept[:10]) == pytest.approx(400, rel=0.25)
    assert sum(kept[-10:]) == pytest.approx(400, rel=0.25)
    again: Reservoir[int] = Reservoir(10, 399)
    for item in range(100):
        again.add(item)
    assert again.items == sample.items
