"""The forecast: which entries are taken, what they cost, and how often an interval holds the truth."""

from __future__ import annotations

import math
import random
from typing import Callable, List

import pytest

from common.results.forecast import (
    Sample,
    figures_of_line,
    figures_of_record,
    places,
    share_interval,
    t95,
    total_interval,
)

TRIALS = 300


@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 9), (10, 3), (1000, 20), (10_000_019, 7)])
def test_each_equal_part_of_the_input_has_one_place(count: int, size: int) -> None:
    found = list(places(count, size))
    size = min(count, size)
    assert len(found) == size
    for part, place in enumerate(found):
        assert part * count // size <= place < (part + 1) * count // size


def test_the_places_are_the_same_each_time_and_do_not_follow_a_period() -> None:
    assert list(places(5000, 50)) == list(places(5000, 50))
    assert len({place % 100 for place in places(5000, 50)}) > 20


def test_no_place_is_in_an_empty_input() -> None:
    assert list(places(0, 5)) == []


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (4, 2.776), (5, 2.571), (9, 2.262), (29, 2.045)])
def test_the_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert abs(t95(degrees) - quantile) < 0.01


def test_a_whole_population_leaves_nothing_open() -> None:
    assert total_interval([1.0, 5.0], 2) == (6.0, 6.0, 6.0)
    assert total_interval([7.0], 1) == (7.0, 7.0, 7.0)


def test_one_entry_of_many_says_nothing_about_the_upper_end() -> None:
    assert total_interval([7.0], 10) == (70.0, 7.0, math.inf)


def test_without_values_there_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="no values"):
        total_interval([], 10)
    assert Sample(10, [{"accepted": 0}]).ratio("accepted", "answers") is None


def coverage(value: Callable[[random.Random], float], size: int) -> float:
    """How often the interval of a sample of 400 values holds their sum."""
    hits = 0
    for trial in range(TRIALS):
        chance = random.Random(trial)
        values = [value(chance) for _ in range(400)]
        estimate = total_interval([values[place] for place in places(400, size, trial)], 400)
        hits += estimate.low <= sum(values) <= estimate.high
    return hits / TRIALS


def test_an_interval_of_usual_lengths_holds_the_total_about_95_times_in_100() -> None:
    """Sums of four answers whose lengths are lognormal, as those of models are."""
    four = lambda chance: sum(chance.lognormvariate(5, 0.7) for _ in range(4))
    assert 0.92 <= coverage(four, 20) <= 0.98


def test_an_interval_of_a_share_holds_the_truth() -> None:
    """Easy and hopeless questions: the answers of an entry are alike."""
    hits = 0
    for trial in range(TRIALS):
        chance = random.Random(trial)
        entries = [
            sum(chance.random() < p for _ in range(4)) for p in (chance.betavariate(0.5, 0.5) for _ in range(400))
        ]
        estimate = share_interval([(entries[place], 4) for place in places(400, 20, trial)])
        hits += estimate.low <= sum(entries) / 1600 <= estimate.high
    assert 0.92 <= hits / TRIALS <= 0.99


def test_a_share_of_nothing_or_of_all_still_has_an_interval() -> None:
    none, every = share_interval([(0, 4)] * 20), share_interval([(4, 4)] * 20)
    assert (none.mean, none.low, every.mean, every.high) == (0, 0, 1, 1)
    assert 0.1 < none.high < 0.35
    assert 0.65 < every.low < 0.9


def test_rare_long_entries_that_the_sample_missed_are_counted_by_their_size() -> None:
    """One of 24 prompts is long. The sizes of all are known, so a sample without it is corrected."""
    sizes = [40.0 + number % 5 for number in range(23)] + [400.0]
    tokens = [20 + size / 4 for size in sizes]
    figures = [{"size": sizes[place], "generator prompt_tokens": tokens[place]} for place in range(20)]
    plain = Sample(24, figures).total({"generator prompt_tokens": 1})
    corrected = Sample(24, figures, sum(sizes) / 24).total({"generator prompt_tokens": 1})
    assert plain.high < sum(tokens)
    assert abs(corrected.mean - sum(tokens)) < 1e-6


def test_a_size_that_tells_nothing_leaves_the_coverage() -> None:
    hits = 0
    for trial in range(TRIALS):
        chance = random.Random(trial)
        entries = [{"size": chance.random(), "prompt_tokens": chance.lognormvariate(5, 0.4)} for _ in range(400)]
        mean = sum(one["size"] for one in entries) / 400
        estimate = Sample(400, [entries[place] for place in places(400, 20, trial)], mean).total({"prompt_tokens": 1})
        hits += estimate.low <= sum(one["prompt_tokens"] for one in entries) <= estimate.high
    assert 0.91 <= hits / TRIALS <= 0.99


def test_the_cost_has_the_prices_as_weights() -> None:
    figures = [{"generator prompt_tokens": 100, "scorer completion_tokens": 10}] * 4
    assert Sample(8, figures).total({"generator prompt_tokens": 0.5, "scorer completion_tokens": 2}).mean == 560


def test_lines_and_the_record_of_one_entry_say_the_same() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37}
    judged = {"requests": 2, "prompt_tokens": 50, "completion_tokens": 20}
    lines: List[dict] = [{"answer": "a", "usage": usage}, {"answer": "a"}, {"score": 8.0, "judge_usage": judged}]
    details = [{"usage": usage, "judge_usage": judged}, {"judge_usage": judged}]
    record = {"generated_answers": ["a", "a"], "generated_details": details}
    summed: dict = {}
    for line in lines:
        for name, figure in figures_of_line(line).items():
            summed[name] = summed.get(name, 0) + figure
    assert (
        figures_of_record(record)
        == summed
        == {
            "generator requests": 1,
            "generator prompt_tokens": 7,
            "generator completion_tokens": 30,
            "scorer requests": 2,
            "scorer prompt_tokens": 50,
            "scorer completion_tokens": 20,
        }
    )


def test_a_usage_of_another_shape_counts_nothing() -> None:
    assert figures_of_line({"answer": "a", "usage": {"prompt_tokens": "7", "cost": {}}}) == {"generator requests": 1}
    assert figures_of_record({"generated_answers": ["a"], "generated_details": [{}]}) == {}


def test_with_every_entry_no_share_is_uncertain_and_the_more_entries_the_less() -> None:
    figures = [{"accepted": 1, "answers": 4}, {"accepted": 0, "answers": 4}, {"accepted": 2, "answers": 4}]
    whole, nearly, few = (Sample(entries, figures) for entries in (3, 4, 4000))
    for found in ([one.ratio("accepted", "answers"), one.share("accepted")] for one in (whole,)):
        assert all(one is not None and one.low == one.mean == one.high for one in found)
    assert nearly.share("accepted").low > few.share("accepted").low
    assert nearly.share("accepted").high < few.share("accepted").high
