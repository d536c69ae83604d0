"""Limits a minute: what passes at once, and what waits."""

from __future__ import annotations

import asyncio
from typing import Awaitable, Callable

import pytest

from common.servers.rate_limit import BURST, RateLimit


class StillLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still, however slow the machine is."""

    def time(self) -> float:
        return 0.0


def passing(
    limit: Callable[[], RateLimit], sizes: list[int], before: Callable[[RateLimit], None] = lambda _: None
) -> int:
    """How many of the requests pass without any time going by."""

    async def work() -> int:
        made = limit()
        before(made)
        waits: list[Awaitable[None]] = [made.wait(size) for size in sizes]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        for _ in range(5):
            await asyncio.sleep(0)
        passed = sum(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return passed

    loop = StillLoop()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()


@pytest.mark.parametrize(("a_minute", "at_once"), [(600, 10), (60, 1), (1, 1), (6000, 100)])
def test_a_seconds_worth_of_requests_passes_at_once(a_minute: int, at_once: int) -> None:
    assert passing(lambda: RateLimit(a_minute, None), [10] * 200) == at_once


def test_tokens_are_guessed_from_the_size_until_a_reply_tells() -> None:
    a_minute = 6000
    burst = a_minute * BURST / 60
    assert passing(lambda: RateLimit(None, a_minute), [400] * 100) == burst / 100
    assert passing(lambda: RateLimit(None, a_minute), [400] * 100, lambda limit: limit.spent(200)) == burst / 200


def test_a_request_larger_than_the_limit_waits_for_all_of_it_and_passes() -> None:
    assert passing(lambda: RateLimit(None, 600), [10_000_000, 10]) == 1


def test_both_limits_hold() -> None:
    assert passing(lambda: RateLimit(600, 600), [400] * 50) == 1
