"""The circuit breaker: when servers are taken out, when they come back, and when the run ends."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable

import pytest

from common.errors import ServerGone, Unreachable
from common.servers.health import MAX_STRIKES, CircuitBreaker
from common.servers.slots import Pool, Server

MAX_PROBES = 3


class World:
    """A pool of servers behind a breaker, in which sleeping takes no time."""

    def __init__(self, urls: str) -> None:
        self.pool = Pool(list(urls), len(urls))
        self.pauses: list[float] = []
        self.back_after = dict.fromkeys(urls, 10**9)  # probes
        self.breaker = CircuitBreaker(self.pool, self._is_back, MAX_PROBES, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def _is_back(self, server: Server) -> bool:
        self.back_after[server.url] -= 1
        return self.back_after[server.url] <= 0

    @property
    def up(self) -> str:
        return "".join(server.url for server in self.pool.servers if server.up)


def play(urls: str, work: Callable[[World], Awaitable[None]]) -> World:
    """Runs ``work`` on a world of servers, one per letter."""

    async def session() -> World:
        world = World(urls)
        await work(world)
        world.breaker.close()
        return world

    return asyncio.run(session())


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_server_that_only_fails_is_taken_out_if_another_is_up() -> None:
    async def work(world: World) -> None:
        for strikes in range(MAX_STRIKES):
            assert world.up == "ab", strikes
            world.breaker.failed(world.pool.servers[0])
        assert world.up == "b"

    play("ab", work)


def test_the_last_server_that_is_up_stays_however_often_it_fails() -> None:
    async def work(world: World) -> None:
        for _ in range(3 * MAX_STRIKES):
            world.breaker.failed(world.pool.servers[0])
        assert world.up == "a"

    play("a", work)


def test_a_success_clears_the_strikes() -> None:
    async def work(world: World) -> None:
        for _ in range(3 * MAX_STRIKES):
            world.breaker.failed(world.pool.servers[0])
            world.breaker.succeeded(world.pool.servers[0])
        assert world.up == "ab"

    play("ab", work)


def test_a_server_is_probed_after_growing_pauses_until_it_is_back() -> None:
    async def work(world: World) -> None:
        world.back_after["a"] = 8
        world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        assert world.up == "b"
        await turns(40)
        assert world.up == "ab"

    assert play("ab", work).pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_requests_that_wait_are_sent_to_a_server_that_is_back() -> None:
    async def work(world: World) -> None:
        world.breaker.answered()
        world.back_after["a"] = 2
        world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        assert (await world.pool.take()).url == "a"

    play("a", work)


def test_a_server_that_is_out_is_probed_by_one_task_however_many_requests_fail() -> None:
    async def work(world: World) -> None:
        world.back_after["a"] = 2
        for _ in range(9):
            world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        await turns()

    assert play("ab", work).pauses == [2, 4]


def test_the_run_ends_at_once_if_no_server_ever_answered() -> None:
    async def work(world: World) -> None:
        world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        with pytest.raises(ServerGone, match="no b; is the server running there"):
            world.breaker.unreachable(world.pool.servers[1], Unreachable("no b"))
        with pytest.raises(ServerGone):
            await world.pool.take()

    play("ab", work)


def test_the_run_ends_once_all_servers_were_probed_often_enough() -> None:
    async def work(world: World) -> None:
        world.breaker.answered()
        for server in world.pool.servers:
            world.breaker.unreachable(server, Unreachable(f"no {server.url}"))
        with pytest.raises(ServerGone, match="did not come back"):
            await world.pool.take()

    assert sorted(play("ab", work).pauses) == [2, 2, 4, 4, 8, 8]


def test_the_run_goes_on_as_long_as_one_server_is_up() -> None:
    async def work(world: World) -> None:
        world.breaker.answered()
        world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        await turns(100)
        assert (await world.pool.take()).url == "b"

    assert len(play("ab", work).pauses) > MAX_PROBES
