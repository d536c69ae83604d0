"""``auto``: gauges decide where there are any, the throughput elsewhere; and a pool's limit follows."""

from __future__ import annotations

import asyncio

import pytest

from common.servers.auto_concurrency import LOOK_EVERY, START, Tuner, count_refusal, count_reply, keep_tuned
from common.servers.gauges import Gauges
from common.servers.slots import Pool
from tests.simulated_clock import Server, play

BUSY = "llamacpp:requests_processing 8\nllamacpp:requests_deferred 0\n"


def test_a_server_with_gauges_does_not_follow_its_throughput() -> None:
    tuner = Tuner()
    tuner.looked(0.1, True, 8, Gauges(8, 4, 0.0))
    for number in range(100):
        tuner.completed(number / 10, 1.0, 1.0, True)
    assert tuner.limit == START


def test_a_server_whose_metrics_end_follows_its_throughput() -> None:
    tuner = Tuner()
    tuner.looked(0.1, True, 8, Gauges(8, 4, 0.0))
    tuner.looked(0.2, True, 8, None)
    tuner.completed(0.3, 0.2, 1.0, True)
    assert tuner.limit == START + 1


@pytest.mark.parametrize("mean", [0.25, 10.0])
def test_refusals_count_more_than_gauges(mean: float) -> None:
    played = play(Server(1 << 20, mean, refuse_over=40, tells=True), 100)
    assert played.refused < 100
    assert len(played.replies) > 0.6 * 100 * 40 / mean


def test_a_reply_that_nearly_ran_out_of_time_does_not_raise_the_limit() -> None:
    tuner = Tuner(longest=150.0)
    tuner.completed(149.0, 149.0, 1.0, True)
    assert tuner.limit == START + 1
    tuner.completed(151.0, 151.0, 1.0, True)
    assert tuner.limit == START + 1


def test_a_limit_below_the_first_number_holds() -> None:
    tuner = Tuner(max_limit=3)
    tuner.completed(1.0, 1.0, 1.0, True)
    tuner.looked(2.0, True, 3, Gauges(3, 0, 0.0))
    assert tuner.limit == 3


@pytest.mark.parametrize(("pages", "fetched"), [([BUSY] * 4, 3), ([None] * 4, 3), ([""] * 4, 1), (["<html>"] * 4, 1)])
def test_metrics_are_asked_for_again_unless_the_server_has_none(pages: list[str | None], fetched: int) -> None:
    async def work() -> int:
        pool, left, asked = Pool(["a"], 8), list(pages), asyncio.Event()

        async def fetch() -> str | None:
            if len(left) == len(pages) - 2:
                asked.set()
            return left.pop(0)

        tuning = asyncio.ensure_future(keep_tuned(pool, pool.servers[0], Tuner(), fetch))
        await asyncio.wait([tuning, asyncio.ensure_future(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
        tuning.cancel()
        return len(pages) - len(left)

    assert asyncio.run(work()) == fetched


def test_a_pool_follows_its_tuner() -> None:
    async def work() -> list[int]:
        pool, tuner, limits = Pool(["a"], START), Tuner(), []
        server = pool.servers[0]
        for _ in range(START):
            await pool.take()
        count_reply(pool, server, tuner, 1.0, 1.0)
        limits.append(server.limit)
        count_refusal(pool, server, tuner, 0.0)
        limits.append(server.limit)
        return [*limits, pool.concurrency]

    assert asyncio.run(work()) == [9, 6, 6]


def test_a_full_server_that_lets_nothing_wait_gets_more_at_the_first_look() -> None:
    async def work() -> int:
        pool = Pool(["a"], 8)
        for _ in range(8):
            await pool.take()

        async def fetch() -> str:
            return BUSY

        tuning = asyncio.ensure_future(keep_tuned(pool, pool.servers[0], Tuner(), fetch))
        await asyncio.sleep(LOOK_EVERY / 4)
        tuning.cancel()
        return pool.servers[0].limit

    assert asyncio.run(work()) == 32
