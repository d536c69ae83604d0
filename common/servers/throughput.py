"""How many requests a server without metrics should have in flight: more, as long as its replies per second grow.

**Slow start** (RFC 5681; RFC 7661 says that only a limit that is used may grow): each reply adds to the limit, so it
doubles or triples per request length, however long a request takes. It stays below a multiple of the requests that the
server was seen to work on. By Little's law, these are its best rate times the time per request; BBR bounds its startup
like this (Cardwell et al. 2016). Slow start ends when a round of replies is no faster, and the next one, at the same
limit, is no faster either. Twice the requests that are enough by Little's law stay in flight at first.

**Trials** (hill climbing) follow from time to time. A higher limit stays if it brings more. A lower one stays if it
costs nothing. After a trial that brought nothing, the next one of its kind comes later.

**A refusal** (429, 503) lowers the limit at once. For a minute, it grows in small steps only (additive increase,
multiplicative decrease; Chiu and Jain 1989). Then slow start begins again.

This is arithmetic: it has no clock and sends nothing.

>>> climber = Climber(limit=8)
>>> for number in range(8):
...     climber.completed(now=1.0, seconds=1.0, units=1, full=True)
>>> climber.limit
16
"""

from __future__ import annotations

import math

# Slow start
GROWTH, PROVEN_GROWTH = 1, 2  # added to the limit per reply; the second once a higher limit has brought more
FEW = 8  # replies in a round, or more
GREW = 1.2  # times the rate of the best round so far, or more: the limit may grow further
MOST_AHEAD = 3  # times the requests that the server was seen to work on
KEPT = 2.0  # times the requests that are enough: what stays in flight after slow start

# Trials
MIN_REPLIES, MIN_ROUNDS = 96, 3  # replies, and replies per request in flight, in a measurement
HIGHER, LOWER = 1.5, 0.7  # times the limit
HIGHER_EVERY, LOWER_EVERY, LONGEST = 4, 16, 8  # measurements between two trials at first; times that at most
SPARE = 1.25  # times a lower limit that cost nothing: what stays in flight
ENOUGH, NEEDED = 2.5, 0.9  # times the requests that are enough: no higher trial above, no unasked lower trial below
MORE, SURE = 0.05, 2.0  # share of the rate that a higher limit must bring, and standard errors of it
SAME, LOST = 0.95, 0.85  # times the rate, or more: a lower limit costs nothing; or less: it costs much
FASTER, SLOWER = 1.2, 0.75  # times the rate at the same limit: the server has changed

# Refusals
LESS = 0.7  # times the limit
CAUTION = 60.0  # seconds in which the limit grows in small steps only
STEP, STEP_EVERY = 16, 3  # a step is this part of the limit, and comes after this many measurements


class Round:
    """The replies of a stretch of time: their rate, and what was in flight. The first ``skip`` do not count.

    >>> done = Round(size=2, begun=0.0)
    >>> for second in (1.0, 2.0, 3.0):
    ...     done.add(now=second, seconds=1.0, units=7, full=True, limit=4)
    >>> done.ends(now=3.5, limit=4), done.rate, done.in_flight
    (True, 6.0, 4.0)
    """

    def __init__(self, size: int, begun: float, skip: int = 0) -> None:
        self.begun = begun
        self.replies = 0
        self._size = size
        self._skip = skip
        self._ended = begun
        self._last = -math.inf
        self._units = self._seconds = self._area = 0.0
        self._unused = 0

    def add(self, now: float, seconds: float, units: float, full: bool, limit: int) -> None:
        """A reply, which took ``seconds`` and brings ``units``, while ``limit`` requests might be in flight."""
        if self._skip > 0:
            self._skip -= 1
            self.begun = self._ended = now
            return
        self._pass(now, limit)
        self._last = now
        self.replies += 1
        self._units += units
        self._seconds += seconds
        self._unused += not full

    def ends(self, now: float, limit: int) -> bool:
        """Whether it is over when the next reply comes: it has all its replies, and lasted as long as a mean one.

        Replies that come at the same moment belong to the same round.
        """
        over = self.replies >= self._size and now > self._last and now - self.begun >= self._seconds / self.replies
        if over:
            self._pass(now, limit)
        return over

    def _pass(self, now: float, limit: int) -> None:
        self._area += limit * (now - self._ended)
        self._ended = now

    @property
    def was_full(self) -> bool:
        """Whether the limit was used for most of the replies, so that their rate tells something about it."""
        return self._unused * 10 <= self.replies

    @property
    def rate(self) -> float:
        """Units per second."""
        return self._units / max(1e-9, self._ended - self.begun)

    @property
    def in_flight(self) -> float:
        """The mean number of requests in flight."""
        return self._area / max(1e-9, self._ended - self.begun)


class Climber:
    """One server's limit of requests in flight, from 1 to ``max_limit``, by its throughput."""

    def __init__(self, limit: int, max_limit: int = 4096) -> None:
        self._max_limit = max_limit
        self._refused_at = -math.inf
        self.start_again(limit)

    def start_again(self, limit: int) -> None:
        """Begins slow start at a limit."""
        self._move_to(limit)
        self._slow_start, self._held = True, False
        self._begun_with = self.limit
        self._most = MOST_AHEAD * self.limit
        self._rate: float | None = None  # the best in slow start, and the mean at the limit afterwards
        self._works: list[float] = []  # requests in flight per rate, of each round of slow start that was faster
        self._work = 0.0  # the same while every request in flight is worked on
        self._base: int | None = None  # the limit to go back to, during a trial
        self._since_higher = self._since_lower = self._since_step = 0  # measurements
        self._higher_every, self._lower_every = HIGHER_EVERY, LOWER_EVERY
        self._round: Round | None = None

    def completed(self, now: float, seconds: float, units: float, full: bool) -> None:
        """A reply came, which took ``seconds`` and brings ``units``. ``full``: the limit was reached."""
        if self._slow_start and full and not self._held and self.limit < self._most:
            self._move_to(self.limit + (GROWTH if len(self._works) < 2 else PROVEN_GROWTH))
        done = self._round = self._round or Round(FEW, begun=now - seconds)
        if done.ends(now, self.limit):
            self._next_round(done, now)
        self._round = self._round or Round(FEW, begun=now)
        self._round.add(now, seconds, units, full, self.limit)

    def refused(self, sent: float, now: float, served: float = math.inf) -> None:
        """The server refused a request that was sent at ``sent``. It had taken ``served`` requests at once before."""
        if sent >= self._refused_at:  # otherwise it was sent before the limit went down the last time
            self._refused_at = now
            self._slow_start, self._base, self._rate = False, None, None
            self._measure(now, skip=self.limit)
            self._move_to(int(min(self.limit * LESS, served)))

    def _next_round(self, done: Round, now: float) -> None:
        if self._slow_start:
            self._round = Round(FEW, begun=now)
        else:
            self._measure(now)
        if not done.was_full:
            return
        if self._slow_start:
            self._end_slow_round(done, now)
        elif self._base is None:
            self._consider(done.rate, now)
        elif self.limit > self._base:
            self._end_higher(done, self._base, now)
        else:
            self._end_lower(done, self._base, now)

    def _end_slow_round(self, done: Round, now: float) -> None:
        """Slow start goes on, is held for a round, or ends."""
        if self._rate is None or done.rate > GREW * self._rate:
            self._go_on(done.rate, done.in_flight / done.rate)
        elif not self._held:
            self._held = True
            self._round = Round(max(FEW, self.limit // 2), begun=now)
        else:
            self._end_slow_start(max(done.rate, self._rate), now)

    def _go_on(self, rate: float, work: float) -> None:
        self._rate, self._held = rate, False
        self._works.append(work)
        self._most = math.ceil(MOST_AHEAD * rate * min(self._works))

    def _end_slow_start(self, rate: float, now: float) -> None:
        self._slow_start, self._rate = False, None
        self._work = min(self._works[-2:])
        enough = rate * self._work if len(self._works) > 1 else self._begun_with  # nothing more was of use
        self._measure(now, skip=self.limit)
        self._move_to(min(self.limit, math.ceil(KEPT * enough)))
        self._since_higher = self._higher_every  # in case that it was chance

    def _consider(self, rate: float, now: float) -> None:
        """A measurement at the limit: tries another limit now and then, and at once if the server changed."""
        if self._refused_at > -math.inf:
            self._recover(now)
            return
        known = rate if self._rate is None else self._rate
        enough = known * self._work
        self._rate = known + (rate - known) / 4
        self._since_higher += 1
        self._since_lower += 1
        if rate < SLOWER * known:
            self._rate = rate
            self._try(LOWER, now)
        elif self.limit < ENOUGH * enough and (rate > FASTER * known or self._since_higher >= self._higher_every):
            self._try(HIGHER, now)
        elif self.limit * LOWER > enough or self._since_lower >= self._lower_every:
            self._try(LOWER, now)

    def _recover(self, now: float) -> None:
        """After a refusal: a small step, or, a minute later, slow start."""
        self._since_step += 1
        if now >= self._refused_at + CAUTION:
            self._refused_at = -math.inf
            self.start_again(self.limit)
        elif self._since_step >= STEP_EVERY:
            self._since_step = 0
            self._move_to(self.limit + max(1, self.limit // STEP))

    def _end_higher(self, done: Round, base: int, now: float) -> None:
        """Keeps a higher limit if it brought more, and tries the next; otherwise goes back."""
        known, self._since_higher = self._rate or done.rate, 0
        if done.rate < known * (1 + max(MORE, SURE * done.replies**-0.5)):
            self._higher_every = min(2 * self._higher_every, LONGEST * HIGHER_EVERY)
            self._go_back(base, now)
        elif done.rate > known * FASTER:
            work = self._work
            self.start_again(self.limit)
            self._go_on(done.rate, work)
        else:
            self._rate, self._base, self._higher_every = done.rate, None, HIGHER_EVERY
            self._try(HIGHER, now)

    def _end_lower(self, done: Round, base: int, now: float) -> None:
        """Keeps a lower limit, with something to spare, if it cost nothing, and tries the next; otherwise goes back."""
        known, self._since_lower = self._rate or done.rate, 0
        if done.rate < SAME * known:
            if done.rate < LOST * known:  # every request was worked on
                self._work = max(self._work, self.limit / done.rate)
                base = max(base, math.ceil(SPARE * known * self._work))
            self._lower_every = min(2 * self._lower_every, LONGEST * LOWER_EVERY)
            self._go_back(base, now)
            return
        self._rate = max(done.rate, known)  # many small losses would add up
        self._base = min(base, math.ceil(self.limit * SPARE))
        if self.limit * LOWER < NEEDED * self._rate * self._work or not self._try(LOWER, now):
            self._go_back(self._base, now)

    def _try(self, factor: float, now: float) -> bool:
        """Sets another limit on trial, if there is one; ``_base`` remembers the present one."""
        before = self.limit
        self._move_to(math.ceil(before * factor))
        if self.limit == before:
            return False
        self._base = before if self._base is None else self._base
        self._measure(now, skip=max(self.limit, before - self.limit), rounds=1 if factor < 1 else MIN_ROUNDS)
        return True

    def _go_back(self, base: int, now: float) -> None:
        self._measure(now, skip=max(self.limit, base))
        self._move_to(base)
        self._base = None

    def _measure(self, now: float, skip: int = 0, rounds: int = MIN_ROUNDS) -> None:
        self._round = Round(max(MIN_REPLIES, rounds * self.limit), begun=now, skip=skip)

    def _move_to(self, limit: int) -> None:
        self.limit = max(1, min(self._max_limit, limit))
