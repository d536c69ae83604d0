"""Without metrics: the number in flight is found within four request lengths, kept, and adapted (simulated clock)."""

from __future__ import annotations

import statistics
from typing import Callable

import pytest

from common.servers.throughput import Climber, Round
from tests.simulated_clock import Played, Server, play


def late_limit(played: Played) -> float:
    """The mean limit of the second half."""
    limits = [limit for _, limit in played.limits]
    return statistics.fmean(limits[len(limits) // 2 :])


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("slots", [8, 32, 128])
def test_nine_tenths_are_reached_within_four_request_lengths(slots: int, sigma: float) -> None:
    for seed in range(3):
        assert play(Server(slots, 1.0, sigma), 8, seed).reached(0.9) <= 4


@pytest.mark.parametrize("mean", [0.05, 60.0])
def test_the_time_is_counted_in_request_lengths_however_long_one_is(mean: float) -> None:
    assert play(Server(64, mean), 8 * mean).reached(0.9) == pytest.approx(
        play(Server(64, 1.0), 8).reached(0.9), abs=0.1
    )


@pytest.mark.parametrize("slots", [8, 64])
def test_the_server_stays_full_and_trials_cost_at_most_two_percent(slots: int) -> None:
    for seed in range(3):
        played = play(Server(slots, 0.25), 60, seed)
        assert played.share(5, 60) > 0.98
        assert late_limit(played) < 24 + 6 * slots


def test_the_number_overshoots_by_a_few_times_and_comes_down_again() -> None:
    played = play(Server(128, 1.0), 60)
    assert played.peak < 5 * 128
    assert late_limit(played) < 3 * 128


@pytest.mark.parametrize("crowd", [64, 256])
def test_a_server_whose_requests_slow_each_other_down_reaches_nine_tenths_of_its_best(crowd: int) -> None:
    server = Server(64, 0.25, crowd=crowd)
    played = play(server, 60)
    assert played.reached(0.9) <= 4
    assert played.share(10, 60) > 0.95


def test_a_capacity_that_halves_and_doubles_is_followed() -> None:
    played = play(Server(64, 0.25, changes=((45, 32), (90, 64))), 130)
    assert played.share(60, 90) > 0.98 / 2
    assert played.share(105, 130) > 0.98


def test_a_server_that_refuses_is_used_and_hardly_ever_refuses() -> None:
    played = play(Server(1 << 20, 0.25, refuse_over=40), 150)
    assert played.refused < 0.002 * len(played.replies)
    assert len(played.replies) > 0.75 * 150 * 40 / 0.25


@pytest.mark.parametrize(
    ("wanted", "least", "most"),
    [
        (lambda now: 4, 8, 8),
        (lambda now: 60 if now % 4 < 1 else 2, 40, 64),
        (lambda now: 4 if now < 10 else 40, 40, 44),
    ],
    ids=["few", "bursts", "few, then more"],
)
def test_a_judge_that_waits_for_the_generator_gets_what_it_uses(
    wanted: Callable[[float], float], least: int, most: int
) -> None:
    played = play(Server(64, 0.25), 30, wanted=wanted)
    assert least <= played.limits[-1][1] <= most


def test_a_limit_that_is_not_used_does_not_grow() -> None:
    climber = Climber(8)
    for number in range(100):
        climber.completed(now=number / 10, seconds=1.0, units=1.0, full=False)
    assert climber.limit == 8


def test_the_limit_stays_within_its_bounds() -> None:
    climber = Climber(8, max_limit=10)
    for number in range(1000):
        climber.completed(now=number / 10, seconds=1.0, units=1.0, full=True)
        assert 1 <= climber.limit <= 10
    for number in range(1000, 1100):
        climber.refused(sent=float(number), now=float(number))
    assert climber.limit == 1


def test_refusals_of_requests_that_were_sent_before_the_last_one_count_once() -> None:
    climber = Climber(100)
    for _ in range(10):
        climber.refused(sent=1.0, now=2.0)
    assert climber.limit == 70


def test_tokens_count_as_the_work_where_the_server_counts_them() -> None:
    one, other = Climber(8), Climber(8)
    for number in range(2000):
        one.completed(now=number / 10, seconds=1.0, units=1.0, full=True)
        other.completed(now=number / 10, seconds=1.0, units=500.0, full=True)
        assert one.limit == other.limit


def test_replies_that_come_together_belong_to_one_round() -> None:
    done = Round(size=2, begun=0.0)
    for _ in range(4):
        assert not done.ends(1.0, 4)
        done.add(1.0, 1.0, 1.0, True, 4)
    assert done.ends(2.0, 4)
    assert (done.rate, done.in_flight) == (2.0, 4.0)


def test_the_first_replies_after_a_change_do_not_count() -> None:
    done = Round(size=1, begun=0.0, skip=2)
    for second in (1.0, 2.0, 3.0):
        done.add(second, 1.0, 1.0, True, 1)
    assert (done.replies, done.begun) == (1, 2.0)


def test_a_round_whose_limit_was_not_used_says_so() -> None:
    done = Round(size=1, begun=0.0)
    for number in range(10):
        done.add(float(number), 1.0, 1.0, number > 1, 1)
    assert not done.was_full
