"""The limit of requests in flight: found, kept, followed, in the time of a simulated server that takes none of ours."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from typing import Callable, NamedTuple

import pytest

from common.servers.auto_concurrency import UPDATE_EVERY, Gauges, Tuner, keep_tuned, read_gauges
from common.servers.slots import Pool

MEDIAN, SIGMA = 0.2, 0.8
REFUSAL = 0.002  # seconds a refusal takes: the slot is free again, and the next request is sent
EACH = MEDIAN * math.exp(SIGMA**2 / 2)  # seconds a request takes, the mean


class Played(NamedTuple):
    """When replies came, what the limit was at each look, and how many requests were refused."""

    replies: list[float]
    limits: list[int]
    refused: int

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at in self.replies) / (end - begin)


def play(
    slots: Callable[[float], int],
    seconds: float,
    tells: bool = False,
    refuse_over: float = math.inf,
    seed: int = 0,
    enough_work: bool = True,
) -> Played:
    """A server with so many slots (over time) and log-normal times, and a client that always has work to send."""
    chance, tuner = random.Random(seed), Tuner()
    now, number, queue, running, in_flight, refused = 0.0, 0, 0, 0, 0, 0
    replies: list[float] = []
    limits: list[int] = []
    events: list[tuple[float, int, str]] = [(UPDATE_EVERY, 0, "look")]

    def fill() -> None:
        nonlocal number, queue, running, in_flight, refused
        while in_flight < (tuner.limit if enough_work else min(4, tuner.limit)):
            if in_flight >= refuse_over:
                refused, number = refused + 1, number + 1
                heapq.heappush(events, (now + REFUSAL, number, "refusal"))
                break
            in_flight += 1
            queue += 1
        while queue and running < slots(now):
            queue, running, number = queue - 1, running + 1, number + 1
            heapq.heappush(events, (now + chance.lognormvariate(math.log(MEDIAN), SIGMA), number, "reply"))

    fill()
    while events[0][0] < seconds:
        now, _, what = heapq.heappop(events)
        if what == "look":
            gauges: Gauges | None = Gauges(running, queue, 0.5) if tells else None
            limits.append(tuner.update(now, in_flight >= tuner.limit, in_flight, gauges))
            number += 1
            heapq.heappush(events, (now + UPDATE_EVERY, number, "look"))
        elif what == "refusal":
            tuner.refused(now - REFUSAL, now)
        else:
            running, in_flight = running - 1, in_flight - 1
            replies.append(now)
            tuner.completed(1)
        fill()
    return Played(replies, limits, refused)


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("slots", [8, 64, 512])
def test_a_server_is_full_within_a_minute_and_stays_so(slots: int, tells: bool) -> None:
    played = play(lambda _: slots, 90, tells)
    best = slots / EACH
    assert played.rate(60, 90) > 0.95 * best * 0.98  # the last 0.98: what chance does to 30 seconds
    assert max(played.limits[160:]) < 6 * slots + 24, "and little more than full"


@pytest.mark.parametrize("tells", [False, True])
def test_a_server_whose_capacity_halves_and_doubles_is_followed(tells: bool) -> None:
    played = play(lambda now: 32 if 60 <= now < 120 else 64, 180, tells)
    assert played.rate(30, 60) > 0.93 * 64 / EACH
    assert played.rate(80, 120) > 0.93 * 32 / EACH
    assert played.rate(140, 180) > 0.93 * 64 / EACH


def test_with_gauges_the_limit_goes_down_with_the_servers_capacity() -> None:
    played = play(lambda now: 16 if now >= 30 else 128, 60, tells=True)
    assert played.limits[100] > 128
    assert played.limits[-1] < 24


def test_a_server_that_refuses_is_not_flooded() -> None:
    played = play(lambda _: 1 << 20, 120, refuse_over=40)
    assert played.refused < 0.005 * len(played.replies)
    assert len(played.replies) > 0.75 * 120 * 40 / EACH, "and yet used"


def test_the_limit_does_not_grow_where_the_work_does_not_fill_it() -> None:
    assert max(play(lambda _: 64, 60, enough_work=False).limits) == 8


def test_the_limit_stays_within_its_bounds() -> None:
    tuner = Tuner(max_limit=10)
    for now in range(100):
        assert 1 <= tuner.update(float(now), True, tuner.limit, Gauges(5, 0, 0)) <= 10
    for now in range(100, 200):
        tuner.refused(float(now), float(now))
        assert tuner.update(float(now), True, tuner.limit) >= 1


def test_a_full_cache_is_not_given_more() -> None:
    tuner = Tuner()
    assert tuner.update(1.0, True, 8, Gauges(8, 0, 0.99)) == 8
    assert tuner.update(2.0, True, 8, Gauges(8, 0, 0.5)) == 12


@pytest.mark.parametrize("page", ["<html>", "", "vllm:num_requests_running 3", "vllm:num_requests_running e"])
def test_a_page_without_the_gauges_has_none(page: str) -> None:
    assert read_gauges(page) is None


@pytest.mark.parametrize(
    ("pages", "fetched"),
    [
        (["llamacpp:requests_processing 8\nllamacpp:requests_deferred 0\n"] * 3, 3),
        ([None, None, None], 3),
        (["", "", ""], 1),
        (["<html>"] * 3, 1),
    ],
)
def test_metrics_are_asked_for_again_unless_the_server_has_none(pages: list[str | None], fetched: int) -> None:
    async def work() -> int:
        pool, left = Pool(["a"], 8), list(pages)

        async def fetch() -> str | None:
            return left.pop(0) if left else None

        tuning = asyncio.ensure_future(keep_tuned(pool, pool.servers[0], Tuner(), fetch))
        await asyncio.sleep(3.5 * UPDATE_EVERY)
        tuning.cancel()
        return len(pages) - len(left)

    assert asyncio.run(work()) == fetched


def test_a_server_that_is_full_and_lets_nothing_wait_gets_more() -> None:
    async def work() -> int:
        pool = Pool(["a"], 8)
        for _ in range(8):
            await pool.take()

        async def fetch() -> str:
            return "llamacpp:requests_processing 8\nllamacpp:requests_deferred 0\n"

        tuning = asyncio.ensure_future(keep_tuned(pool, pool.servers[0], Tuner(), fetch))
        await asyncio.sleep(1.5 * UPDATE_EVERY)
        tuning.cancel()
        return pool.servers[0].limit

    assert asyncio.run(work()) == 12
