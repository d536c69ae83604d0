"""The circuit breaker: when servers are taken out, when they come back, and when the run ends."""

from __future__ import annotations

import asyncio
import time
from typing import Awaitable, Callable

import pytest

from common.errors import ServerBusy, ServerGone, ServerRefused, Unreachable
from common.servers.health import MAX_STRIKES, PROBE_LIMIT, CircuitBreaker, patience, pause, silence
from common.servers.slots import Pool, Server

PATIENCE, LONGEST_WAIT = 14, 100  # seconds


class World:
    """A pool of servers behind a breaker, in which sleeping takes no time."""

    def __init__(self, urls: str) -> None:
        self.pool = Pool(list(urls), len(urls))
        self.pauses: list[float] = []
        self.back_after = dict.fromkeys(urls, 10**9)  # probes
        self.breaker = CircuitBreaker(self.pool, self._is_back, PATIENCE, LONGEST_WAIT, self._sleep)

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

    assert play("ab", work).pauses == [2, 4, 8, 10, 10, 10, 10, 10]


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


def test_the_run_ends_once_all_servers_were_away_for_long_enough() -> None:
    async def work(world: World) -> None:
        world.breaker.answered()
        for server in world.pool.servers:
            world.breaker.unreachable(server, Unreachable(f"no {server.url}"))
        with pytest.raises(ServerGone, match="did not come back"):
            await world.pool.take()

    assert sorted(play("ab", work).pauses)[:6] == [2, 2, 4, 4, 8, 8]


def test_the_run_goes_on_as_long_as_one_server_is_up() -> None:
    async def work(world: World) -> None:
        world.breaker.answered()
        world.breaker.unreachable(world.pool.servers[0], Unreachable("no a"))
        await turns(100)
        assert (await world.pool.take()).url == "b"

    assert sum(play("ab", work).pauses) > PATIENCE


def test_a_probe_that_hangs_has_an_end() -> None:
    async def work() -> None:
        pool = Pool(["a"], 1)
        begun = asyncio.Event()

        async def never(_: Server) -> bool:
            begun.set()
            await asyncio.sleep(1e9)
            return True

        loop = asyncio.get_running_loop()
        breaker = CircuitBreaker(pool, never, 1.0, LONGEST_WAIT, lambda _: asyncio.sleep(0))
        breaker.answered()
        breaker.unreachable(pool.servers[0], Unreachable("no a"))
        await begun.wait()
        loop.time = lambda now=loop.time: now() + PROBE_LIMIT + 1  # type: ignore[method-assign]
        with pytest.raises(ServerGone, match="did not come back"):
            await pool.take()

    asyncio.run(work())


@pytest.mark.parametrize(("probes", "seconds"), [(0, 0), (5, 62), (10, 362)])
def test_the_patience_with_a_server_that_is_away(probes: int, seconds: float) -> None:
    assert patience(probes, 3600) == seconds
    assert patience(probes, 30) == min(30, seconds)


def test_a_pause_is_random_and_grows_and_is_no_shorter_than_wished() -> None:
    for number in range(1, 12):
        waits = [pause(number) for _ in range(200)]
        assert len(set(waits)) == 200
        assert max(waits) <= min(60, 2 ** (number - 1))
        assert max(waits) > min(60, 2 ** (number - 1)) / 2
    wished = [pause(1, 40) for _ in range(200)]
    assert len(set(wished)) == 200
    assert all(40 <= wait <= 44 for wait in wished)
    assert max(pause(9, 0.01) for _ in range(200)) > 20


def busy(wished: float | None = None) -> ServerBusy:
    return ServerBusy("a: 429 slow down", 429, wished)


async def refuse(world: World, number: int, wished: float | None = None) -> None:
    """The server refuses a request that is sent now."""
    world.breaker.busy(world.pool.servers[number], time.monotonic(), busy(wished))


def test_a_closed_server_takes_nothing_until_its_pause_is_over() -> None:
    async def work(world: World) -> None:
        await refuse(world, 0, 50)
        assert (world.pool.servers[0].is_open, world.up) == (False, "a")
        assert (await world.pool.take()).url == "a"

    (wait,) = play("a", work).pauses
    assert 50 <= wait <= 55


def test_the_refusals_of_one_burst_are_one_pause() -> None:
    async def work(world: World) -> None:
        sent = time.monotonic()
        for _ in range(50):
            world.breaker.busy(world.pool.servers[0], sent, busy())
        await turns()
        assert world.pool.servers[0].is_open

    assert play("a", work).pauses == [], "the first of a row without a wish only lowers the number in flight"


def test_a_longer_wish_of_the_same_burst_makes_the_pause_longer() -> None:
    async def work(world: World) -> None:
        sent = time.monotonic()
        for wished in (10, 30, 20):
            world.breaker.busy(world.pool.servers[0], sent, busy(wished))
        await turns()

    assert 30 <= sum(play("a", work).pauses) <= 33


def test_a_server_gets_few_requests_after_a_pause_and_more_with_each_answer() -> None:
    async def work(world: World) -> None:
        (server,) = world.pool.servers
        world.pool.set_limit(server, 8)
        for _ in range(8):
            await world.pool.take()
        await refuse(world, 0)
        assert server.most == 4
        for answers, most in ((3, 4), (2, 5), (20, 8), (9, 8)):
            for _ in range(answers):
                world.breaker.succeeded(server)
            assert server.most == most

    play("a", work)


@pytest.mark.parametrize(("wished", "lines"), [(59, 0), (61, 1)])
def test_a_pause_of_more_than_a_minute_is_reported_once(
    wished: float, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(world: World) -> None:
        sent = time.monotonic()
        for _ in range(9):
            world.breaker.busy(world.pool.servers[0], sent, busy(wished * 0.9 if lines == 0 else wished))

    play("a", work)
    assert len(caplog.messages) == lines


def test_short_pauses_that_add_up_to_more_than_a_minute_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def work(world: World) -> None:
        for _ in range(5):
            await refuse(world, 0, 19)
            await turns()

    play("a", work)
    assert [text.split("; ")[1] for text in caplog.messages] == [
        "this server refuses requests again and again, and the run waits"
    ]


def test_a_long_pause_of_one_server_does_not_end_the_run_while_another_is_there() -> None:
    async def work(world: World) -> None:
        await refuse(world, 0, 2 * LONGEST_WAIT)
        assert (await world.pool.take()).url == "b"
        with pytest.raises(ServerGone, match="--longest_wait is 100 s"):
            await refuse(world, 1, 2 * LONGEST_WAIT)
        with pytest.raises(ServerGone):
            await world.pool.take()

    play("ab", work)


def test_a_server_that_is_dropped_stays_out_and_the_last_one_ends_the_run() -> None:
    async def work(world: World) -> None:
        refused = ServerRefused("404 no such model")
        world.breaker.drop(world.pool.servers[0], refused)
        await turns()
        assert world.up == "b"
        with pytest.raises(ServerRefused):
            world.breaker.drop(world.pool.servers[1], refused)
        with pytest.raises(ServerRefused):
            await world.pool.take()

    play("ab", work)


def test_a_silence_of_a_minute_is_reported_once_and_ends_with_a_reply() -> None:
    async def work() -> None:
        pool = Pool(["a"], 2)
        (server,) = pool.servers
        assert silence(server, time.monotonic() + 1000) is None, "nothing was sent"
        await pool.take()
        await pool.take()
        begun = time.monotonic()
        assert silence(server, begun + 58) is None
        assert "no reply from a for 61 s, with 2 requests in flight" in (silence(server, begun + 61) or "")
        assert silence(server, begun + 1000) is None
        server.heard()
        pool.give_back(server)
        assert silence(server, time.monotonic() + 58) is None
        assert silence(server, time.monotonic() + 61) is not None
        server.heard()
        pool.give_back(server)
        assert silence(server, time.monotonic() + 1000) is None, "nothing is in flight"

    asyncio.run(work())


def test_a_silence_goes_on_while_requests_time_out() -> None:
    async def work() -> None:
        pool = Pool(["a"], 1)
        (server,) = pool.servers
        for _ in range(3):
            await pool.take()
            pool.give_back(server)
        begun = server.unheard_since
        await pool.take()
        assert server.unheard_since == begun
        server.let_go()
        assert server.unheard_since is None

    asyncio.run(work())
