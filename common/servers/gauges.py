"""How many requests a server with metrics should have in flight: a few should wait in it.

A server's gauges lag behind: vLLM sets them once per step, SGLang once per some dozen steps. So the limit grows only
when the requests that run and wait have caught up with those that were sent. Until a queue was seen, it then grows
fourfold (twofold from 128 on), and afterwards by half. It goes down once a queue has stood for longer than the gauges
lag.

This is arithmetic: it has no clock and sends nothing.

>>> follower = Follower()
>>> follower.limit(now=0.25, full=True, in_flight=8, limit=8, gauges=Gauges(running=8, waiting=0, cache_use=0.0))
32
>>> follower.limit(now=0.5, full=True, in_flight=32, limit=32, gauges=Gauges(running=8, waiting=0, cache_use=0.0))
32
"""

from __future__ import annotations

import math
import re
from typing import Iterable, NamedTuple

from .known_servers import METRICS

CAUGHT_UP = 0.75  # share of what was sent
FIRST_GROWTH, MANY, LATER_GROWTH = 4, 128, 2  # times the limit until a queue was seen: below so many, and above
GROWTH = 1.5  # times the limit from then on
STANDS = 1.05  # times what ran at the last look, or less: no more is about to run
FULL_CACHE = 0.97  # share of the KV cache
LOST = 10.0  # seconds without catching up after which the gauges do not tell of all that is sent


class Gauges(NamedTuple):
    """A server's own account: requests that it runs, requests that wait in it, and the share of its cache in use."""

    running: float
    waiting: float
    cache_use: float


_RUNNING = {metrics.running for metrics in METRICS.values()}
_WAITING = {metrics.waiting for metrics in METRICS.values()}
_CACHE_USE = {name for metrics in METRICS.values() for name in metrics.cache_use}
_NAMES = "|".join(map(re.escape, sorted(_RUNNING | _WAITING | _CACHE_USE)))
_SAMPLE = re.compile(rf"^({_NAMES})(?:\{{[^}}]*\}})?\s+([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)", re.M)


def read_gauges(page: str) -> Gauges | None:
    """The gauges in a page of Prometheus metrics (the engines of one server add up); None without.

    >>> read_gauges("llamacpp:requests_processing 4\\nllamacpp:requests_deferred 1")
    Gauges(running=4.0, waiting=1.0, cache_use=0.0)
    """
    samples = [(name, float(value)) for name, value in _SAMPLE.findall(page)]

    def values(names: Iterable[str]) -> list[float]:
        return [value for name, value in samples if name in names]

    if not (values(_RUNNING) and values(_WAITING)):
        return None
    return Gauges(sum(values(_RUNNING)), sum(values(_WAITING)), max(values(_CACHE_USE), default=0.0))


class Follower:
    """One server's limit of requests in flight, by its gauges."""

    def __init__(self) -> None:
        self._caught_up = False
        self._changed: float | None = None
        self._lag = 0.0  # seconds, the longest so far
        self._others = 0.0  # told at the last growth beyond what was sent: others' requests, or several choices each
        self.found = False  # a queue was seen, or the server refused a request
        self.served = math.inf  # the limit before the last growth
        self._short_at = 0.0  # when the queue was short for the last time
        self._last = Gauges(0, 0, 0.0)

    def is_lost(self, now: float) -> bool:
        """Whether the gauges did not catch up for long: they tell of one server behind a balancer, or of nothing."""
        return not self._caught_up and self._changed is not None and now - self._changed > LOST

    def limit(self, now: float, full: bool, in_flight: int, limit: int, gauges: Gauges) -> int:
        """The limit from now on. ``full``: no slot was free since the last look."""
        last, self._last = self._last, gauges
        if self._changed is None:
            self._changed = self._short_at = now
        if not self._has_caught_up(now, in_flight, last, gauges):
            self._short_at = now
            return limit
        queue = max(1.0, gauges.running / 10)
        if gauges.waiting <= 2 * queue or gauges.running > STANDS * last.running or in_flight > limit:
            self._short_at = now
        elif now - self._short_at > self._lag:
            self.found, self._short_at = True, now
            return max(1, round(in_flight * (gauges.running + queue) / (gauges.running + gauges.waiting)))
        if gauges.waiting == 0 and full and gauges.cache_use < FULL_CACHE:
            return self._grow(now, in_flight, limit, gauges)
        return limit

    def _has_caught_up(self, now: float, in_flight: int, last: Gauges, gauges: Gauges) -> bool:
        """Whether the gauges tell of what was sent since the limit grew."""
        told = gauges.running + gauges.waiting
        grows = self._others > 0 and told > STANDS * (last.running + last.waiting)
        if not self._caught_up and told >= self._others + CAUGHT_UP * in_flight and not grows:
            self._caught_up = True
            self._lag = max(self._lag, min(LOST, now - (self._changed or now)))
        return self._caught_up

    def _grow(self, now: float, in_flight: int, limit: int, gauges: Gauges) -> int:
        most = limit * FULL_CACHE / gauges.cache_use if gauges.cache_use > 0 else math.inf
        growth = GROWTH if self.found else FIRST_GROWTH if limit < MANY else LATER_GROWTH
        grown = min(math.ceil(limit * growth), max(limit + 1, most))
        self._caught_up, self._changed, self.served = False, now, limit
        self._others = max(0.0, gauges.running + gauges.waiting - in_flight)
        return int(grown)
