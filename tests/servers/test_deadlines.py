"""Deadlines: what takes too long ends, and nothing else does."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Awaitable, Callable

import pytest

from common.servers.deadlines import Deadlines


def watched(seconds: float, work: Callable[[Deadlines], Awaitable[Any]]) -> Any:
    """Runs ``work`` with deadlines that are watched."""

    async def session() -> Any:
        deadlines = Deadlines(seconds)
        watching = asyncio.ensure_future(deadlines.watch())
        try:
            return await work(deadlines)
        finally:
            watching.cancel()

    return asyncio.run(session())


def test_a_request_that_takes_too_long_is_a_timeout() -> None:
    with pytest.raises(asyncio.TimeoutError):
        watched(0.05, lambda deadlines: deadlines.run(asyncio.sleep(30)))


def test_a_request_that_is_quick_enough_has_its_result() -> None:
    assert watched(10, lambda deadlines: deadlines.run(asyncio.sleep(0.01, "4"))) == "4"


def test_a_reply_that_came_while_the_process_stood_still_is_read_before_it_is_late() -> None:
    async def work(deadlines: Deadlines) -> str:
        arrived = asyncio.Event()

        async def read() -> str:
            await arrived.wait()
            for _ in range(20):  # a reply takes several turns of the loop
                await asyncio.sleep(0)
            return "4"

        request = asyncio.ensure_future(deadlines.run(read()))
        await asyncio.sleep(0.01)
        time.sleep(0.5)  # noqa: ASYNC251  as after SIGSTOP: the deadline has passed, and the reply is there
        arrived.set()
        return await request

    assert watched(0.1, work) == "4"


def test_a_process_that_stood_still_does_not_wait_longer_than_the_limit() -> None:
    async def work(deadlines: Deadlines) -> None:
        request = asyncio.ensure_future(deadlines.run(asyncio.sleep(30)))
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251
        with pytest.raises(asyncio.TimeoutError):
            await request

    watched(0.1, work)


def test_a_task_may_make_one_request_after_another() -> None:
    async def work(deadlines: Deadlines) -> int:
        late = 0
        for pause in (30, 0, 30, 0):
            try:
                await deadlines.run(asyncio.sleep(pause))
            except asyncio.TimeoutError:
                late += 1
        await asyncio.sleep(0.2)  # no longer under a deadline
        return late

    assert watched(0.05, work) == 2


def test_a_request_that_somebody_else_cancels_is_cancelled() -> None:
    async def work(deadlines: Deadlines) -> None:
        task = asyncio.ensure_future(deadlines.run(asyncio.sleep(30)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    watched(10, work)
