"""How many requests a server without metrics should have in flight: more, as long as the replies per second grow.

The limit starts small, and grows with each reply while every slot is used (slow start, as in TCP: RFC 5681, and RFC 7661
for "used"). So it doubles or triples per request length, however long a request takes. The growth is bounded by the
requests that the server was seen to work on: its best rate times the time per request (Little's law; the bound is that
of BBR's startup, Cardwell et al. 2016). It ends when a round of replies, and then another one at the same limit, bring
no higher rate. From then on the limit changes by trials: a higher one stays if it brings more, a lower one stays if it
costs nothing (hill climbing). A trial that brings nothing makes the next one come later. A refusal (429, 503) lowers the
limit at once, and it grows in small steps for a minute (additive increase, multiplicative decrease; Chiu and Jain 1989).

This is arithmetic: it has no clock and sends nothing.

>>> climber = Climber(limit=8)
>>> for number in range(8):
...     climber.completed(now=1.0, seconds=1.0, units=1, full=True)
>>> climber.limit
16
"""

from __future__ import annotations

import math

GROWTH, PROVEN_GROWTH = 1, 2  # added per reply in slow start; the second once a round has brought more
MOST_AHEAD = 3  # times the requests that the server was seen to work on: the most in slow start
FEW = 8  # replies in a round of slow start, or more
GREW = 1.25  # times the rate of the best round so far that a round must have for slow start to go on
MARGIN = 1.5  # times the requests that the server works on that stay in flight after slow start

MIN_REPLIES, MIN_ROUNDS = 96, 3  # replies, and replies per request in flight, in a measurement after slow start
MORE = 0.05  # share of the rate that a higher limit must bring, or more if chance alone could bring this much
SAME = 0.95  # times the rate that a lower limit must have to be kept
HIGHER, LOWER, SPARE = 1.5, 0.7, 1.25  # times the limit: the trials; times a lower limit that was kept, what stays
SERVER_CHANGED = 0.75  # times the rate at the same limit, or less: the server is a different one now
HIGHER_EVERY, LOWER_EVERY = 4, 16  # measurements between two trials, at first
LONGEST = 8  # times that, where trials bring nothing
CAUTION = 60.0  # seconds after a refusal in which the limit grows in small steps only
STEP, STEP_EVERY = 16, 3  # part of the limit, and measurements


class Round:
    """The replies of one stretch of time: how many, how much they bring, and what was in flight.

    ``skip`` replies are left out at first: those that another limit may have sent.
    """

    def __init__(self, size: float, skip: int = 0, begun: float | None = None) -> None:
        self._size = size
        self._skip = skip
        self._begun = self._last = begun
        self.replies = 0
        self._units = self._seconds = self._area = 0.0
        self._not_full = 0

    def add(self, now: float, seconds: float, units: float, full: bool, limit: int) -> None:
        """A reply, after ``seconds``, with this many tokens."""
        if self._skip > 0:
            self._skip -= 1
            self._begun = self._last = now
            return
        self._pass(now, seconds, limit)
        self.replies += 1
        self._units += units
        self._seconds += seconds
        self._not_full += not full

    def ends(self, now: float, limit: int) -> bool:
        """Whether it has all its replies, as long as a mean reply takes, when the next one comes.

        Replies that come at the same moment belong to one round.
        """
        if self._begun is None or self._last is None or self.replies < self._size or now <= self._last:
            return False
        if now - self._begun < self._seconds / self.replies:
            return False
        self._pass(now, 0.0, limit)
        return True

    def _pass(self, now: float, seconds: float, limit: int) -> None:
        if self._begun is None or self._last is None:
            self._begun = self._last = now - seconds
        self._area += limit * (now - self._last)
        self._last = now

    @property
    def was_full(self) -> bool:
        """Whether the limit was used for the most part, so that the rate tells something about it."""
        return self._not_full * 10 <= self.replies

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self._units / self._duration

    @property
    def in_flight(self) -> float:
        """The mean number of requests in flight."""
        return self._area / self._duration

    @property
    def _duration(self) -> float:
        return max((self._last or 0.0) - (self._begun or 0.0), 1e-9)


class Climber:
    """One server's limit of requests in flight, by its throughput."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._refused_at = -math.inf
        self._slow_start = True
        self.start_again()

    def start_again(self) -> None:
        """Begins slow start at the present limit."""
        self._slow_start, self._held = True, False
        self._rate: float | None = None  # tokens per second: the best of slow start, then the mean at the limit
        self._work: list[float] = []  # in flight per token per second, of each round that brought more
        self._most = MOST_AHEAD * self.limit
        self._base: int | None = None  # the limit to go back to, during a trial
        self._since_higher = self._since_lower = self._since_step = 0  # measurements
        self._higher_every, self._lower_every = HIGHER_EVERY, LOWER_EVERY
        self._round = Round(FEW)

    def completed(self, now: float, seconds: float, units: float, full: bool) -> None:
        """A reply came after ``seconds``, with this many tokens. ``full``: as many as may be were in flight."""
        if self._slow_start and full and not self._held and self.limit < self._most:
            self.limit += GROWTH if len(self._work) < 2 else PROVEN_GROWTH
        if self._round.ends(now, self.limit):
            done, self._round = self._round, Round(FEW, begun=now)
            if not done.was_full:
                self._measure() if not self._slow_start else None
            elif self._slow_start:
                self._end_round(done)
            elif self._base is not None:
                self._end_trial(done, self._base)
            else:
                self._consider(done.rate, now)
        self._round.add(now, seconds, units, full, self.limit)

    def refused(self, sent: float, now: float) -> None:
        """The server refused (429, 503) a request that was sent at ``sent``."""
        if sent >= self._refused_at:  # otherwise it was sent before the limit went down the last time
            self.limit = max(1, int(self.limit * (0.5 if self._slow_start else 0.7)))
            self._refused_at, self._slow_start, self._base, self._rate = now, False, None, None
            self._measure(self.limit)

    def _end_round(self, done: Round) -> None:
        """Slow start goes on, is held for a round, or ends."""
        if self._rate is None or done.rate > GREW * self._rate:
            self._rate, self._held = done.rate, False
            self._work.append(done.in_flight / done.rate)
            self._most = max(self.limit, math.ceil(MOST_AHEAD * done.rate * min(self._work)))
        elif not self._held:
            self._held = True
            self._round = Round(max(FEW, self.limit // 2), begun=self._round._begun)
        else:
            self._rate = max(self._rate, done.rate)
            before, self._slow_start = self.limit, False
            self.limit = min(before, math.ceil(MARGIN * self._rate * min(self._work[-2:])))
            self._since_lower = self._lower_every
            self._measure(before)

    def _measure(self, skip: int = 0) -> None:
        self._round = Round(max(MIN_REPLIES, MIN_ROUNDS * self.limit), skip)

    def _consider(self, rate: float, now: float) -> None:
        """A measurement at the limit: tries another limit now and then, and at once if the server changed."""
        known = rate if self._rate is None else self._rate
        self._rate = known + (rate - known) / 4
        self._since_higher += 1
        self._since_lower += 1
        if now < self._refused_at + CAUTION:
            self._since_step += 1
            if self._since_step >= STEP_EVERY:
                self.limit += max(1, self.limit // STEP)
                self._since_step = 0
            self._measure()
        elif rate < SERVER_CHANGED * known:
            self._rate = rate
            self._try(math.ceil(self.limit * LOWER))
        elif self._since_lower >= self._lower_every:
            self._try(math.ceil(self.limit * LOWER))
        elif rate > 1.2 * known or self._since_higher >= self._higher_every:
            self._try(math.ceil(self.limit * HIGHER))
        else:
            self._measure()

    def _try(self, limit: int) -> None:
        if self._base is None:
            self._base = self.limit
        before, self.limit = self.limit, limit
        self._measure(max(before, limit))

    def _end_trial(self, done: Round, base: int) -> None:
        """Keeps the limit on trial if it was worth it, and tries the next; otherwise goes back."""
        known = self._rate or done.rate
        if self.limit > base:
            self._since_higher = 0
            if done.rate > known * (1 + max(MORE, done.replies**-0.5)):
                self._rate, self._base, self._higher_every = done.rate, None, HIGHER_EVERY
                self._try(math.ceil(self.limit * HIGHER))
                return
            self._higher_every = min(2 * self._higher_every, LONGEST * HIGHER_EVERY)
        else:
            self._since_lower = 0
            if done.rate > known * SAME and self.limit > 1:
                self._rate, kept = max(done.rate, known), math.ceil(self.limit * SPARE)
                self._try(math.ceil(self.limit * LOWER))
                self._base = min(base, kept)
                return
            self._lower_every = min(2 * self._lower_every, LONGEST * LOWER_EVERY)
        before, self.limit, self._base = self.limit, base, None
        self._measure(max(before, base))
