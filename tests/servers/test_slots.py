"""The slots of one role's servers: never more than allowed, none free while something waits, one server an entry."""

from __future__ import annotations

import asyncio
from typing import Any, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunStopped
from common.servers.slots import Pool, Server

URLS = ["a", "b", "c"]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work()

    return asyncio.run(main())


async def turns(count: int = 5) -> None:
    """Lets what is ready run."""
    for _ in range(count):
        await asyncio.sleep(0)


def check(pool: Pool) -> None:
    """What always holds."""
    assert sum(server.in_flight for server in pool.servers) <= pool.concurrency
    assert all(0 <= server.in_flight <= server.limit for server in pool.servers)
    if pool.queued:
        assert not any(map(pool.has_free_slot, pool.servers)), "a slot is free while something waits"


ACTS = st.lists(st.tuples(st.sampled_from(["take", "back", "cancel", "out", "in", "more", "less"]), st.integers(0, 20)))


@settings(max_examples=150, deadline=None)
@given(acts=ACTS, concurrency=st.integers(1, 7))
def test_whatever_happens_no_slot_is_lost_and_none_is_free_while_something_waits(
    acts: list[Any], concurrency: int
) -> None:
    async def work() -> None:
        pool = Pool(URLS, concurrency)
        tasks: list[asyncio.Future[Server]] = []
        held: list[Server] = []
        for act, number in acts:
            server = pool.servers[number % 3]
            if act == "take":
                tasks.append(asyncio.ensure_future(pool.take(f"entry {number % 4}")))
            elif act == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif act == "back" and held:
                pool.give_back(held.pop(number % len(held)))
            elif act in ("out", "in"):
                server.up = act == "in"
                pool.assign_all_slots()
            elif act == "more" or (act == "less" and len(held) < pool.concurrency):
                pool.set_limit(server, max(server.in_flight, 1, server.limit + (1 if act == "more" else -1)))
            await turns()
            held += [task.result() for task in tasks if task.done() and not task.cancelled()]
            tasks = [task for task in tasks if not task.done()]
            assert sum(one.in_flight for one in pool.servers) == len(held)
            assert pool.queued == len(tasks)
            check(pool)
        for server in pool.servers:
            server.up = True
        pool.assign_all_slots()
        while tasks or held:
            await turns()
            held += [task.result() for task in tasks if task.done()]
            tasks = [task for task in tasks if not task.done()]
            if held:
                pool.give_back(held.pop())
        assert (pool.queued, pool.idle()) == (0, True)

    run(work)


def test_all_requests_of_an_entry_go_to_one_server_while_it_has_room() -> None:
    async def work() -> None:
        pool, homes = Pool(URLS, 30), {}
        for entry in range(6):
            taken = [await pool.take(f"entry {entry}") for _ in range(4)]
            homes[entry] = {server.url for server in taken}
        assert all(len(urls) == 1 for urls in homes.values())
        assert [server.in_flight for server in pool.servers] == [8, 8, 8]

    run(work)


def test_a_full_server_sends_its_entrys_requests_on() -> None:
    async def work() -> None:
        pool = Pool(URLS, 6)
        assert sorted([(await pool.take("one entry")).url for _ in range(6)]) == ["a", "a", "b", "b", "c", "c"]

    run(work)


def test_a_server_whose_line_is_empty_takes_from_the_longest() -> None:
    async def work() -> None:
        pool = Pool(["a", "b"], 2)
        held: dict[str, Server] = {name: await pool.take(name) for name in ("x", "y")}
        waiting = [asyncio.ensure_future(pool.take("x")) for _ in range(3)]
        await turns()
        pool.give_back(held["y"])
        await turns()
        assert [task.done() for task in waiting] == [True, False, False]
        assert waiting[0].result() is held["y"]

    run(work)


def test_what_waits_for_a_server_that_went_out_goes_to_the_others() -> None:
    async def work() -> None:
        pool = Pool(["a", "b"], 2)
        held = {name: await pool.take(name) for name in ("x", "y")}
        waiting = asyncio.ensure_future(pool.take("x"))
        await turns()
        held["x"].up = False
        pool.give_back(held["x"])
        await turns()
        assert not waiting.done(), "the other one is full"
        pool.give_back(held["y"])
        await turns()
        assert waiting.result() is held["y"]

    run(work)


def test_stopping_ends_each_wait_with_its_error() -> None:
    async def work() -> None:
        pool = Pool(["a"], 1)
        await pool.take()
        waiting = [asyncio.ensure_future(pool.take()) for _ in range(3)]
        await turns()
        pool.stop(RunStopped("enough"))
        for task in [*waiting, asyncio.ensure_future(pool.take())]:
            with pytest.raises(RunStopped, match="enough"):
                await task
        assert pool.queued == 0

    run(work)


def test_room_is_there_once_fewer_wait_than_there_are_slots() -> None:
    async def work() -> None:
        pool = Pool(["a"], 2)
        held = [await pool.take() for _ in range(2)]
        waiting = [asyncio.ensure_future(pool.take()) for _ in range(3)]
        await turns()
        room, deeper = asyncio.ensure_future(pool.room(1)), asyncio.ensure_future(pool.room(2))
        await turns()
        assert (room.done(), deeper.done()) == (False, True)
        pool.give_back(held[0])
        await turns()
        assert not room.done()
        pool.give_back(held[1])
        await turns()
        assert room.done()
        for task in waiting:
            task.cancel()

    run(work)


def test_a_wait_that_was_just_cancelled_does_not_keep_a_slot() -> None:
    async def work() -> None:
        pool = Pool(["a"], 1)
        held = await pool.take()
        waiting = [asyncio.ensure_future(pool.take()) for _ in range(2)]
        await turns()
        for task in waiting:
            task.cancel()
        pool.give_back(held)  # before the cancelled ones had their turn
        await turns()
        assert (pool.queued, pool.idle()) == (0, True)

    run(work)
