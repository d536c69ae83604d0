"""How many requests one server should have in flight, found during the run: arithmetic and one loop, no HTTP.

If the server says how many requests it runs and how many wait, a few should always wait. If it says nothing, its
throughput decides: more in flight as long as that brings more, fewer as long as that costs nothing (hill climbing; by
Little's law, latency would not tell more). A refusal (429, 503) lowers the limit at once, and from then on the limit
grows in small steps (additive increase, multiplicative decrease, as in TCP; Chiu and Jain 1989).

>>> tuner = Tuner()
>>> tuner.update(now=1.0, full=True, in_flight=8, gauges=Gauges(running=8, waiting=0, cache_use=0.5))
12
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from typing import Awaitable, Callable, Iterable, NamedTuple

from .known_servers import METRICS
from .slots import Pool, Server

UPDATE_EVERY = 0.25  # seconds
START = 8  # requests in flight at first
MAX_LIMIT = 4096

# A measurement of the throughput takes this many seconds, completions, and completions per request in flight.
MIN_SECONDS = 0.5
MIN_COMPLETIONS = 96
MIN_ROUNDS = 3

MIN_GAIN = 0.15  # share of the largest possible gain that a higher limit must bring to be kept
MAX_LOSS = 0.97  # times the throughput that a lower limit must have to be kept
SERVER_CHANGED = 0.75  # times the throughput at the same limit, or less: the server is a different one now
PROBE_EVERY = 3  # measurements between two trials of another limit
CAUTION = 60.0  # seconds after a refusal in which the limit grows in small steps only
FULL_CACHE = 0.97  # share of the KV cache


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


async def keep_tuned(
    pool: Pool, server: Server, tuner: Tuner, fetch_metrics: Callable[[], Awaitable[str | None]]
) -> None:
    """Updates a server's limit again and again, until it is cancelled.

    ``fetch_metrics`` gives the server's page of metrics: empty if it has none, None if it did not answer this time.
    """
    has_gauges = True
    while True:
        await asyncio.sleep(UPDATE_EVERY)
        page = await fetch_metrics() if has_gauges else ""
        gauges = read_gauges(page) if page else None
        has_gauges = page is None or gauges is not None
        full = not server.had_free_slot and server.in_flight >= server.limit
        server.had_free_slot = False
        pool.set_limit(server, tuner.update(time.monotonic(), full, server.in_flight, gauges))


class Tuner:
    """One server's limit of requests in flight, from 1 to ``max_limit``."""

    def __init__(self, start: int = START, max_limit: int = MAX_LIMIT) -> None:
        self.limit = min(start, max_limit)
        self._max_limit = max_limit
        self._doubling = True  # until that brings nothing
        self._base: int | None = None  # the limit to go back to, during the trial of another one
        self._known_rate: float | None = None  # throughput at the base, or at the limit if nothing is tried
        self._since_trial = 0  # measurements
        self._trials = 0
        self._refused_at = -math.inf
        self._measurement = Measurement(self.limit)

    def completed(self, units: float) -> None:
        """A reply came, with this many tokens, or 1 if the server does not count them."""
        self._measurement.completed(units)

    def refused(self, sent: float, now: float) -> int:
        """The limit after the server refused (429, 503) a request that was sent at ``sent``."""
        if sent >= self._refused_at:  # otherwise it was sent before the limit went down the last time
            self._refused_at, self._doubling, self._base, self._known_rate = now, False, None, None
            self.limit = max(1, int(self.limit * 0.7))
            self._measurement = Measurement(self.limit)
        return self.limit

    def update(self, now: float, full: bool, in_flight: int, gauges: Gauges | None = None) -> int:
        """The limit from now on. ``full``: no slot was free since the last update."""
        before = self.limit
        rate = self._measurement.rate(now) if full and gauges is None else None
        if gauges is not None:
            self._follow_gauges(gauges, full, in_flight)
        elif rate is not None:
            self._follow_rate(rate, now)
        self.limit = max(1, min(self._max_limit, self.limit))
        if not full or rate is not None or self.limit != before:
            self._measurement = Measurement(self.limit)
        return self.limit

    def _follow_gauges(self, gauges: Gauges, full: bool, in_flight: int) -> None:
        """A tenth of the requests that run should wait: enough for each slot that becomes free, and little more."""
        wanted = max(1, round(gauges.running / 10))
        if gauges.waiting > 2 * wanted:
            self.limit = in_flight - round(gauges.waiting - wanted)
        elif gauges.waiting == 0 and full and gauges.cache_use < FULL_CACHE:
            self.limit = math.ceil(self.limit * 1.5)

    def _follow_rate(self, rate: float, now: float) -> None:
        """Keeps the limit that is on trial if it was worth it, and tries the next; otherwise goes back to the base."""
        base, known = self._base, self._known_rate
        if base is None or known is None:
            self._consider_trial(rate, now)
        elif self.limit > base and rate > known * (1 + MIN_GAIN * (self.limit / base - 1)):
            self._known_rate = rate
            self._try(self._higher())
        elif self.limit < base and rate > MAX_LOSS * known:
            self._known_rate = max(rate, known)  # many small losses would add up
            self._try(self._lower())
        else:
            self._doubling, self.limit, self._base, self._since_trial = False, base, None, 0

    def _consider_trial(self, rate: float, now: float) -> None:
        """Tries another limit now and then, and at once if the server changed."""
        known, self._known_rate = self._known_rate, rate
        self._since_trial += 1
        if now < self._refused_at + CAUTION:
            self.limit += max(1, self.limit // 16) if self._since_trial >= PROBE_EVERY else 0
            self._since_trial %= PROBE_EVERY
        elif known is not None and rate < SERVER_CHANGED * known:
            self._try(self._lower())
        elif self._doubling or (known is not None and SERVER_CHANGED * rate > known):
            self._try(self._higher())
        elif self._since_trial >= PROBE_EVERY:
            self._trials += 1
            self._try(self._lower() if self._trials % 3 == 0 else self._higher())

    def _try(self, limit: int) -> None:
        self._base, self._since_trial = self.limit, 0
        self.limit = limit

    def _higher(self) -> int:
        return self.limit * 2 if self._doubling else math.ceil(self.limit * 1.5)

    def _lower(self) -> int:
        return math.floor(self.limit * 0.75)


class Measurement:
    """The throughput at one limit. It begins once as many requests came back as another limit may have sent.

    >>> measurement = Measurement(limit=1)
    >>> for second in range(100):
    ...     measurement.completed(7)
    ...     rate = measurement.rate(now=float(second))
    >>> rate
    7.0
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun: float | None = None
        self._completions = 0
        self._units = 0.0

    def completed(self, units: float) -> None:
        self._completions += 1
        self._units += units

    def rate(self, now: float) -> float | None:
        """Units per second; None as long as there are too few completions to tell."""
        if self._begun is None:
            if self._completions >= self._limit:
                self._begun, self._completions, self._units = now, 0, 0.0
            return None
        seconds = now - self._begun
        enough = seconds >= MIN_SECONDS and self._completions >= max(MIN_COMPLETIONS, MIN_ROUNDS * self._limit)
        return self._units / seconds if enough else None
