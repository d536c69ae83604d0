"""A client and a server on a simulated clock: what a controller of the requests in flight does, in milliseconds.

The server has decoding slots, log-normal lengths and a queue. Its requests may slow each other down (continuous
batching), its gauges may lag, and it may refuse what is over a number. It is a discrete-event simulation: requests that
run share one speed, so each ends when the work per slot (``_progress``) reaches its own.

Example: ``played = play(Server(slots=64, mean=0.25), seconds=60); played.share(30, 60)``
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import Callable, Deque, Dict, List, Tuple

from common.servers.auto_concurrency import LOOK_EVERY, Tuner
from common.servers.gauges import Gauges

REFUSAL = 0.002  # seconds a refusal takes


@dataclass(frozen=True)
class Server:
    """What is simulated. ``mean`` is the length of a request in seconds, where it runs alone."""

    slots: int
    mean: float
    sigma: float = 0.8
    crowd: float = math.inf  # requests that run at once when each takes twice as long: continuous batching
    tells: bool = False  # has gauges
    lag: float = 0.0  # seconds between two updates of the gauges
    choices: float = 1.0  # what the gauges count per request: sequences as in vLLM, or one of several servers
    refuse_over: float = math.inf
    changes: Tuple[Tuple[float, int], ...] = ()  # (second, slots from then on)

    def rate(self, running: float) -> float:
        """Requests per second while this many run."""
        return running / self.mean / (1 + running / self.crowd)

    @property
    def best(self) -> float:
        """Requests per second with the best fixed number."""
        return self.rate(self.slots)


@dataclass
class Played:
    """What happened: the work done up to each moment, the replies, the limit, and what was in flight."""

    server: Server
    times: List[float] = field(default_factory=lambda: [0.0])
    done: List[float] = field(default_factory=lambda: [0.0])  # requests' worth of work, up to that time
    replies: List[float] = field(default_factory=list)
    limits: List[Tuple[float, int]] = field(default_factory=list)
    peak: int = 0
    refused: int = 0

    def share(self, begin: float, end: float) -> float:
        """The work per second between two moments, over that of the best fixed number."""
        return (self._done(end) - self._done(begin)) / (end - begin) / self.server.best

    def reached(self, share: float, by_replies: bool = False) -> float:
        """The request lengths after which the work of one length is this share of the best fixed number's."""
        length = self.server.mean * (1 + self.server.slots / self.server.crowd)
        for step in range(int(self.times[-1] / length * 20) - 20):
            begin, end = step * length / 20, (step + 20) * length / 20
            if (self.replied(begin, end) / self.server.best if by_replies else self.share(begin, end)) >= share:
                return step / 20
        return math.inf

    def replied(self, begin: float, end: float) -> float:
        """The replies per second between two moments."""
        return (bisect_left(self.replies, end) - bisect_left(self.replies, begin)) / (end - begin)

    def _done(self, time: float) -> float:
        at = min(bisect_right(self.times, time), len(self.times) - 1)
        before, after = self.times[at - 1], self.times[at]
        part = (min(time, after) - before) / (after - before) if after > before else 1.0
        return self.done[at - 1] + part * (self.done[at] - self.done[at - 1])


class Play:
    """The events of one simulated run."""

    def __init__(self, server: Server, tuner: Tuner, seed: int, wanted: Callable[[float], float]) -> None:
        self.now = 0.0
        self._server, self._tuner, self._wanted = server, tuner, wanted
        self._slots = server.slots
        self._chance = random.Random(seed)
        self._median = math.log(server.mean) - server.sigma**2 / 2
        self._progress = 0.0  # work done in each slot that was busy from the start
        self._running: List[Tuple[float, int]] = []  # (progress at its end, number)
        self._waiting: Deque[int] = deque()
        self._sent: Dict[int, float] = {}
        self._number = self._in_flight = 0
        self._refusals: Deque[Tuple[float, float]] = deque()  # (when it arrives, when the request was sent)
        self._told = Gauges(0, 0, 0.0)
        self._told_at = 0.0
        self._changes = deque(server.changes)
        self.played = Played(server)

    def run(self, seconds: float) -> Played:
        """Plays this many seconds."""
        look = LOOK_EVERY
        self._fill()
        while self.now < seconds:
            end = self._next_end()
            refusal = self._refusals[0][0] if self._refusals else math.inf
            change = self._changes[0][0] if self._changes else math.inf
            self._advance(min(end, refusal, look, change, seconds))
            if self.now == change:
                self._slots = self._changes.popleft()[1]
            elif self.now == end:
                self._reply()
            elif self.now == refusal:
                self._tuner.refused(self._refusals.popleft()[1], self.now)
                self._in_flight -= 1
            elif self.now == look:
                self._look()
                look += LOOK_EVERY
            self._fill()
        return self.played

    def _speed(self) -> float:
        return 1 / (1 + len(self._running) / self._server.crowd)

    def _next_end(self) -> float:
        return self.now + max(0.0, self._running[0][0] - self._progress) / self._speed() if self._running else math.inf

    def _advance(self, time: float) -> None:
        done = (time - self.now) * self._speed()
        self._progress += done
        self.played.times.append(time)
        self.played.done.append(self.played.done[-1] + done * len(self._running) / self._server.mean)
        self.now = time

    def _full(self) -> bool:
        return self._in_flight >= self._tuner.limit

    def _reply(self) -> None:
        _, number = heapq.heappop(self._running)
        self.played.replies.append(self.now)
        self._tuner.completed(self.now, self.now - self._sent.pop(number), 1.0, self._full())
        self._in_flight -= 1

    def _look(self) -> None:
        if self.now >= self._told_at + self._server.lag:
            self._told_at, choices = self.now, self._server.choices
            self._told = Gauges(len(self._running) * choices, len(self._waiting) * choices, 0.0)
        self._tuner.looked(self.now, self._full(), self._in_flight, self._told if self._server.tells else None)
        self.played.limits.append((self.now, self._tuner.limit))

    def _fill(self) -> None:
        """Sends what may be sent, and starts what has a slot."""
        most = min(self._tuner.limit, self._wanted(self.now))
        while self._in_flight < most:
            self._in_flight += 1
            if len(self._running) + len(self._waiting) >= self._server.refuse_over:
                self.played.refused += 1
                self._refusals.append((self.now + REFUSAL, self.now))
            else:
                self._number += 1
                self._sent[self._number] = self.now
                self._waiting.append(self._number)
        self.played.peak = max(self.played.peak, self._in_flight)
        while self._waiting and len(self._running) < self._slots:
            work = self._chance.lognormvariate(self._median, self._server.sigma)
            heapq.heappush(self._running, (self._progress + work, self._waiting.popleft()))


def play(
    server: Server,
    seconds: float,
    seed: int = 0,
    wanted: Callable[[float], float] = lambda _: math.inf,
    tuner: Tuner | None = None,
) -> Played:
    """A run of this many seconds. The client has ``wanted(now)`` requests to send at most."""
    return Play(server, tuner or Tuner(), seed, wanted).run(seconds)
