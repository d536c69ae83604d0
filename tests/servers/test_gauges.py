"""With metrics: the number in flight is found in two looks, without sending ahead of gauges that lag behind."""

from __future__ import annotations

import pytest

from common.servers.auto_concurrency import LOOK_EVERY
from common.servers.gauges import LOST, Follower, Gauges, read_gauges
from tests.simulated_clock import Server, play


@pytest.mark.parametrize("mean", [1.0, 30.0])
@pytest.mark.parametrize("slots", [8, 64, 128])
def test_the_server_is_full_after_two_looks(slots: int, mean: float) -> None:
    played = play(Server(slots, mean, tells=True), 4 * LOOK_EVERY)
    assert played.share(2 * LOOK_EVERY + 0.01, 4 * LOOK_EVERY) > 0.95


@pytest.mark.parametrize("slots", [16, 64, 512])
def test_a_tenth_more_than_what_runs_is_in_flight_in_the_end(slots: int) -> None:
    played = play(Server(slots, 0.25, tells=True), 10)
    assert played.limits[-1][1] == slots + round(slots / 10)
    assert played.share(2, 10) > 0.99


@pytest.mark.parametrize("lag", [0.5, 2.0, 5.0])
def test_gauges_that_lag_do_not_make_it_send_ahead(lag: float) -> None:
    played = play(Server(16, 10.0, tells=True, lag=lag), 8 * lag + 20)
    assert played.peak <= 32
    assert played.limits[-1][1] == 18


def test_a_smaller_server_is_followed_downwards() -> None:
    played = play(Server(128, 0.25, tells=True, lag=1.0, changes=((20, 16),)), 40)
    assert played.limits[int(19 / LOOK_EVERY)][1] == 141
    assert played.limits[-1][1] == 18
    assert min(limit for _, limit in played.limits[40:]) >= 16


@pytest.mark.parametrize("lag", [0.0, 2.0])
@pytest.mark.parametrize("choices", [8.0, 0.25], ids=["eight choices per request", "one of four behind a balancer"])
def test_gauges_that_count_something_else_lead_to_a_full_server_too(choices: float, lag: float) -> None:
    played = play(Server(64, 2.0, tells=True, choices=choices, lag=lag), 60)
    assert played.share(40, 60) > 0.98
    assert played.peak <= 5 * 64


def look(follower: Follower, now: float, limit: int, gauges: Gauges, in_flight: int | None = None) -> int:
    return follower.limit(now, True, limit if in_flight is None else in_flight, limit, gauges)


def test_it_grows_only_once_the_gauges_have_caught_up() -> None:
    follower = Follower()
    assert look(follower, 0.25, 8, Gauges(8, 0, 0.0)) == 32
    assert look(follower, 0.5, 32, Gauges(8, 0, 0.0)) == 32
    assert look(follower, 0.75, 32, Gauges(20, 0, 0.0)) == 32
    assert look(follower, 1.0, 32, Gauges(30, 0, 0.0)) == 128


def test_requests_that_wait_to_be_started_are_not_a_queue() -> None:
    follower = Follower()
    assert look(follower, 0.25, 8, Gauges(8, 0, 0.0)) == 32
    for number in range(6):
        assert look(follower, 0.5 + number / 4, 32, Gauges(12 + 2 * number, 20 - 2 * number, 0.0)) == 32


def test_others_who_use_the_server_keep_their_share() -> None:
    follower = Follower()
    assert look(follower, 0.25, 8, Gauges(108, 0, 0.0)) == 32
    assert look(follower, 0.5, 32, Gauges(108, 0, 0.0)) == 32, "theirs do not stand for ours"
    for now in (0.75, 1.0, 1.25, 1.5, 1.75):
        limit = look(follower, now, 32, Gauges(100, 32, 0.0))
    assert 24 <= limit < 32


def test_a_cache_that_fills_up_bounds_the_growth() -> None:
    assert look(Follower(), 1.0, 8, Gauges(8, 0, 0.99)) == 8
    assert look(Follower(), 1.0, 8, Gauges(8, 0, 0.5)) == 15
    assert look(Follower(), 1.0, 8, Gauges(8, 0, 0.01)) == 32


def test_gauges_that_never_catch_up_are_lost_and_found_again() -> None:
    follower = Follower()
    look(follower, 1.0, 8, Gauges(2, 0, 0.0))
    assert not follower.is_lost(1.0 + LOST)
    look(follower, 1.1 + LOST, 8, Gauges(2, 0, 0.0))
    assert follower.is_lost(1.1 + LOST)
    look(follower, 2.0 + LOST, 8, Gauges(8, 1, 0.0))
    assert not follower.is_lost(2.0 + LOST)


@pytest.mark.parametrize("page", ["<html>", "", "vllm:num_requests_running 3", "vllm:num_requests_running e"])
def test_a_page_without_the_gauges_has_none(page: str) -> None:
    assert read_gauges(page) is None
