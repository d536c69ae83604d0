"""``auto``: one server's requests in flight, found during the run. A server that has metrics is read, others are timed.

gauges.py and throughput.py say how. If the gauges do not tell of what was sent, or the server refuses requests, the
throughput decides.

>>> tuner = Tuner()
>>> tuner.looked(now=0.25, full=True, in_flight=8, gauges=Gauges(running=8, waiting=0, cache_use=0.5))
>>> tuner.limit
15
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Awaitable, Callable

from .gauges import Follower, Gauges, read_gauges
from .slots import Pool, Server
from .throughput import CAUTION, Climber

LOOK_EVERY = 0.25  # seconds
START = 8  # requests in flight at first: the last of them still comes in time if the server runs one at a time
MAX_LIMIT = 4096
MOST_OF_DEADLINE = 1 / 4  # of the time limit of a request: a reply that took longer does not raise the limit


class Tuner:
    """One server's limit of requests in flight, from 1 to ``max_limit``.

    It has no clock and sends nothing. Replies that took ``longest`` seconds do not raise the limit.
    """

    def __init__(self, max_limit: int = MAX_LIMIT, longest: float = math.inf) -> None:
        self._longest = longest
        self._climber = Climber(min(START, max_limit), max_limit)
        self._follower = Follower()
        self._follows = False
        self._refused_at = -math.inf

    @property
    def limit(self) -> int:
        """The requests that may be in flight."""
        return self._climber.limit

    def completed(self, now: float, seconds: float, units: float, full: bool) -> None:
        """A reply came after ``seconds``, with this many tokens (1 if the server does not count them).

        ``full``: as many requests as may be were in flight.
        """
        if not self._follows:
            self._climber.completed(now, seconds, units, full and seconds < self._longest)

    def refused(self, sent: float, now: float) -> None:
        """The server refused (429, 503) a request that was sent at ``sent``."""
        self._climber.refused(sent, now, self._follower.served if self._follows else math.inf)
        self._follows, self._follower.found, self._refused_at = False, True, now

    def looked(self, now: float, full: bool, in_flight: int, gauges: Gauges | None) -> None:
        """The server's gauges now, or None. ``full``: no slot was free since the last look."""
        if gauges is None or now < self._refused_at + CAUTION:
            self._follows = False
            return
        limit = self._follower.limit(now, full, in_flight, self.limit, gauges)
        self._follows = not self._follower.is_lost(now)
        if self._follows and limit != self.limit:
            self._climber.start_again(limit)


async def keep_tuned(
    pool: Pool, server: Server, tuner: Tuner, fetch_metrics: Callable[[], Awaitable[str | None]]
) -> None:
    """Looks at a server's metrics again and again, until it is cancelled, or returns if the server has none.

    ``fetch_metrics`` gives the server's page of metrics: empty if it has none, None if it did not answer this time.
    """
    while True:
        page = await fetch_metrics()
        gauges = read_gauges(page) if page else None
        full = not server.had_free_slot and server.in_flight >= server.limit
        server.had_free_slot = False
        tuner.looked(time.monotonic(), full, server.in_flight, gauges)
        _apply(pool, server, tuner)
        if page is not None and gauges is None:
            return
        await asyncio.sleep(LOOK_EVERY)


def count_reply(pool: Pool, server: Server, tuner: Tuner, seconds: float, units: float) -> None:
    """A reply came, and its slot is not given back yet."""
    tuner.completed(time.monotonic(), seconds, units, server.in_flight >= server.limit)
    _apply(pool, server, tuner)


def count_refusal(pool: Pool, server: Server, tuner: Tuner, sent: float) -> None:
    """The server refused (429, 503) a request that was sent at ``sent``."""
    tuner.refused(sent, time.monotonic())
    _apply(pool, server, tuner)


def _apply(pool: Pool, server: Server, tuner: Tuner) -> None:
    if tuner.limit != server.limit:
        pool.set_limit(server, tuner.limit)
