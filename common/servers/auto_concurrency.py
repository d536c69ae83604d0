"""How many requests one server should have in flight, found while the work goes on: arithmetic, no requests.

Where the server says how many requests it runs and how many wait, there should always be a few that wait. Where it says
nothing, its throughput decides: more in flight as long as that brings more, fewer as long as it costs nothing (hill
climbing; by Little's law, latency tells no more than that). A refusal (429, 503) takes a part away at once, and from
then on more is tried in small steps (additive increase, multiplicative decrease, as TCP does; Chiu and Jain 1989).

Example: ``tuner = Tuner(); tuner.completed(120); pool.set_limit(server, tuner.look(now, full=True, in_flight=8))``
"""

from __future__ import annotations

import math
import re
from typing import List, NamedTuple, Optional, Sequence

LOOK_EVERY = 0.25  # seconds between two looks
START = 8  # requests in flight at first
MOST = 4096
LEAST_SECONDS = 0.5  # a measurement takes that long, and so many completions:
LEAST_COMPLETIONS = 96
TURNS = 3  # at least that many for each request in flight
WORTH_MORE = 0.15  # of what more in flight could bring must come as throughput, for it to be kept
WORTH_LESS = 0.97  # times the throughput, for fewer in flight to be kept
CHANGED = 0.75  # times the throughput, or less, at the same number in flight: the server is another now
PROBE_EVERY = 3  # measurements between two tries of another number
CAUTION = 60.0  # seconds after a refusal in which more is tried in small steps alone

RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
CACHE_USE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage")
FULL_CACHE = 0.97
SAMPLE = re.compile(r"^([a-z]+:[a-z_]+)(?:\{[^}]*\})?\s+([-+0-9.eE]+)", re.M)


class Gauges(NamedTuple):
    """What a server says of itself: requests it runs, requests that wait, and the share of its cache in use."""

    running: float
    waiting: float
    cache_use: float


def read_gauges(text: str) -> Optional[Gauges]:
    """The gauges in a page of Prometheus metrics (vLLM, SGLang, llama.cpp; several engines add up); None without."""
    samples = SAMPLE.findall(text)

    def values(names: Sequence[str]) -> List[float]:
        return [float(value) for name, value in samples if name in names]

    if not (values(RUNNING) and values(WAITING)):
        return None
    return Gauges(sum(values(RUNNING)), sum(values(WAITING)), max(values(CACHE_USE), default=0.0))


class Tuner:
    """One server's limit of requests in flight, from 1 to ``most``."""

    def __init__(self, start: int = START, most: int = MOST) -> None:
        self.limit = min(start, most)
        self._most = most
        self._growing = True  # doubling, until that brings nothing
        self._base: Optional[int] = None  # the number in flight to go back to, while another is tried
        self._rate: Optional[float] = None  # throughput at the base, or at the limit
        self._since_probe = 0
        self._probes = 0
        self._refused_at = -math.inf
        self._begin_anew()

    def completed(self, units: float) -> None:
        """A request came back: with so many tokens, or 1 where the server does not count them."""
        self._count += 1
        if self._count > self._settling:
            self._units += units

    def refused(self, sent: float, now: float) -> int:
        """The limit from now on, after the server said that a request, sent then, was too much (429, 503)."""
        if sent >= self._refused_at:  # else it was sent before the limit went down the last time
            self._refused_at, self._growing, self._base, self._rate = now, False, None, None
            self.limit = max(1, int(self.limit * 0.7))
            self._begin_anew()
        return self.limit

    def look(self, now: float, full: bool, in_flight: int, gauges: Optional[Gauges] = None) -> int:
        """The limit from now on. ``full``: as many as the limit were in flight all the time since the last look."""
        before = self.limit
        rate = self._throughput(now) if full and gauges is None else None
        if gauges is not None:
            self._by_gauges(gauges, full, in_flight)
        elif rate is not None:
            self._by_rate(rate, now)
        self.limit = max(1, min(self._most, self.limit))
        if not full or rate is not None or self.limit != before:
            self._begin_anew()
        return self.limit

    def _begin_anew(self) -> None:
        """Begins a measurement; what was in flight before at another limit is let pass first."""
        self._begun: Optional[float] = None  # no measurement yet
        self._count, self._units, self._settling = 0, 0.0, self.limit

    def _throughput(self, now: float) -> Optional[float]:
        """Units a second, once enough came since what was in flight before."""
        if self._begun is None:
            if self._count < self._settling:
                return None
            self._begun, self._settling, self._units = now, self._count, 0.0
        seconds, completions = now - self._begun, self._count - self._settling
        enough = seconds >= LEAST_SECONDS and completions >= max(LEAST_COMPLETIONS, TURNS * self.limit)
        return self._units / seconds if enough else None

    def _by_gauges(self, gauges: Gauges, full: bool, in_flight: int) -> None:
        """A tenth of what runs should wait: enough for each slot that becomes free, and little more."""
        wanted = max(1, round(gauges.running / 10))
        if gauges.waiting > 2 * wanted:
            self.limit = in_flight - round(gauges.waiting - wanted)
        elif gauges.waiting == 0 and full and gauges.cache_use < FULL_CACHE:
            self.limit = math.ceil(self.limit * 1.5)

    def _by_rate(self, rate: float, now: float) -> None:
        base, known = self._base, self._rate
        if base is None or known is None:
            self._steady(rate, now)
        elif self.limit > base and rate > known * (1 + WORTH_MORE * (self.limit / base - 1)):
            self._rate = rate
            self._try(self._more())
        elif self.limit < base and rate > WORTH_LESS * known:
            self._rate = max(rate, known)  # many small losses would add up
            self._try(self._fewer())
        else:
            self._growing, self.limit, self._base, self._since_probe = False, base, None, 0

    def _steady(self, rate: float, now: float) -> None:
        """A measurement at the limit itself: now and then another number is tried, at once if the server changed."""
        known, self._rate = self._rate, rate
        self._since_probe += 1
        if now < self._refused_at + CAUTION:
            self.limit += max(1, self.limit // 16) if self._since_probe >= PROBE_EVERY else 0
            self._since_probe %= PROBE_EVERY
        elif known is not None and rate < CHANGED * known:
            self._try(self._fewer())
        elif self._growing or (known is not None and CHANGED * rate > known):
            self._try(self._more())
        elif self._since_probe >= PROBE_EVERY:
            self._probes += 1
            self._try(self._fewer() if self._probes % 3 == 0 else self._more())

    def _try(self, limit: int) -> None:
        self._base, self._since_probe = self.limit, 0
        self.limit = limit

    def _more(self) -> int:
        return self.limit * 2 if self._growing else math.ceil(self.limit * 1.5)

    def _fewer(self) -> int:
        return math.floor(self.limit * 0.75)
