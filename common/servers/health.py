"""Which servers of a pool can be used: a circuit breaker, the pauses that servers ask for, and long silences.

A server is judged by its own faults (no connection, no reply, 5xx, 429), never by what is about one prompt.

Example: each try ends with ``breaker.succeeded(server)``, ``.failed(server)``, ``.busy(server, ...)`` or
``.unreachable(server, error)``
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Awaitable, Callable

from ..errors import RunStopped, ServerBusy, ServerGone, Unreachable
from .notices import Notices
from .slots import Pool, Server

log = logging.getLogger(__name__)

MAX_STRIKES = 5  # failures of one server in a row that take it out, if another server is up
LONGEST_PAUSE = 10  # seconds between two probes
PROBE_LIMIT = 10  # seconds that a probe may take
LONG_WAIT = 60  # seconds: a longer wait or silence is reported
MOST_JITTER = 5  # seconds on top of the wait that a server asks for
GROWTH = 1 / 8  # of the requests in flight, for each that is answered after a pause; at least one for all of them

START_IT = "start it and run the same command again"

Sleep = Callable[[float], Awaitable[None]]
IsBack = Callable[[Server], Awaitable[bool]]


def pause(number: int, wished: float | None = None) -> float:
    """Seconds to wait for the ``number``th time in a row: random and growing, and no less than a server wishes."""
    import tenacity

    state = tenacity.RetryCallState(tenacity.Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = number
    jitter = random.uniform(0, min(MOST_JITTER, (wished or 0) / 10))
    return max(float(tenacity.wait_random_exponential(multiplier=1, max=60)(state)), (wished or 0) + jitter)


def patience(probes: int, longest_wait: float) -> float:
    """Seconds until a server that is away is given up: those of so many probes that are 2, 4, 8, ... 60 s apart."""
    return min(longest_wait, sum(min(60.0, 2.0**number) for number in range(1, probes + 1)))


@dataclass
class Circuit:
    """All that is known of one server since its last success."""

    strikes: int = 0
    away: float = 0.0  # seconds since it could not be reached
    probing: asyncio.Task[None] | None = None
    hopeless: bool = False  # it cannot be used for longer than the run may wait
    refusals: int = 0  # pauses that it asked for
    waited: float = 0.0  # seconds of these pauses
    pause: float = 0.0  # seconds of the last one
    refused_at: float = 0.0
    opening: asyncio.Task[None] | None = None
    told: float = 0.0  # the wish that was reported for this pause
    told_sum: bool = False  # whether it was reported that the pauses add up


class CircuitBreaker:
    """Sets ``up``, ``closed`` and ``cap`` of a pool's servers.

    A server that cannot be reached, or fails ``MAX_STRIKES`` times in a row, is out until ``is_back`` says that it
    answers. A server that asks for a pause is closed until then. The pool is stopped with ServerGone if no server ever
    answered, or if each was away for ``patience`` seconds or asks for a pause of more than ``longest_wait`` seconds.
    ``sleep`` waits. ``notices`` are those of all roles.
    """

    def __init__(
        self,
        pool: Pool,
        is_back: IsBack,
        patience: float,
        longest_wait: float,
        sleep: Sleep,
        notices: Notices | None = None,
    ) -> None:
        self._pool = pool
        self._is_back = is_back
        self._patience = patience
        self._longest_wait = longest_wait
        self._sleep = sleep
        self._notices = notices or Notices()
        self._circuits = {server: Circuit() for server in pool.servers}
        self._any_answered = False

    def answered(self) -> None:
        """A server replied, if only with an error."""
        self._any_answered = True

    def succeeded(self, server: Server) -> None:
        circuit = self._circuits[server]
        circuit.strikes = circuit.refusals = 0
        circuit.away = circuit.waited = 0.0
        circuit.hopeless = False
        if circuit.told_sum:
            circuit.told_sum = False
            self._notices.ended(f"{server.url} is busy")
        if 0 < server.cap < server.limit:
            self._pool.set_cap(server, server.cap + max(1 / server.cap, GROWTH))

    def failed(self, server: Server) -> None:
        """A request to the server failed; after several in a row it is taken out, if another server is up."""
        circuit = self._circuits[server]
        circuit.strikes += 1
        if circuit.strikes >= MAX_STRIKES and self._others_up(server):
            self._take_out(server, f"{server.url} failed {MAX_STRIKES} times in a row")

    def unreachable(self, server: Server, error: Unreachable) -> None:
        """No connection to the server could be made: it is taken out. ServerGone if no server ever answered."""
        if not self._any_answered and not self._others_up(server):
            gone = ServerGone(f"{error}; {error.advice}")
            self._pool.stop(gone)
            raise gone from error
        self._take_out(server, str(error))

    def busy(self, server: Server, sent: float, error: ServerBusy) -> float:
        """The server refused a request that was sent at ``sent``: it takes none for as long as it wishes, or longer.

        Returns the seconds of the pause. After it, the server gets fewer requests at first. ServerGone if the pause is
        longer than the run may wait, and no other server is left.
        """
        circuit, wished = self._circuits[server], error.retry_after or 0.0
        if sent >= circuit.refused_at:  # otherwise it was sent before the last of these refusals
            circuit.refused_at = time.monotonic()
            circuit.refusals += 1
            self._pool.set_cap(server, max(1, min(server.in_flight, server.cap) // 2))
        if circuit.refusals <= 1 and not wished:
            return 0.0  # it may only have too many at once: see whether it answers fewer
        too_long = wished > self._longest_wait or circuit.waited > self._longest_wait
        seconds = self._close_for(server, max(1, circuit.refusals), wished)
        if too_long:
            self.give_up(server, ServerGone(self._too_long(error)))
        self._report_wait(server, error)
        return seconds

    def _close_for(self, server: Server, number: int, wished: float) -> float:
        """Closes the server, or keeps it closed for longer."""
        circuit, seconds = self._circuits[server], pause(number, wished)
        if circuit.opening is None or circuit.opening.done():
            circuit.pause, circuit.told, server.closed = 0.0, 0.0, True
            circuit.opening = asyncio.ensure_future(self._open_later(server, circuit))
        longer = max(0.0, seconds - circuit.pause)
        circuit.waited += longer
        circuit.pause += longer
        return seconds

    def _report_wait(self, server: Server, error: ServerBusy) -> None:
        """Reports a pause of more than a minute, and once that shorter ones add up to more than one such window."""
        circuit, wished = self._circuits[server], error.retry_after or 0.0
        if wished > max(LONG_WAIT, 1.5 * circuit.told):  # the refusals of one burst wish nearly the same
            circuit.told = wished
            text = f"{error}; nothing is sent there for the next {wished:.0f} s, as it wishes"
            self._notices.warn(self, f"{server.url} is closed", text, wished)
        elif circuit.waited > LONG_WAIT + MOST_JITTER and not (circuit.told or circuit.told_sum):
            text = f"{error}; this server refuses requests again and again, and the run waits"
            self._notices.warn(self, f"{server.url} is busy", text)
        circuit.told_sum = circuit.waited > LONG_WAIT + MOST_JITTER

    def give_up(self, server: Server, error: RunStopped) -> None:
        """The server is of no use for long. Stops the pool and raises ``error`` if this holds for all of them."""
        self._circuits[server].hopeless = True
        if all(circuit.hopeless for circuit in self._circuits.values()):
            self._pool.stop(error)
            raise error

    def drop(self, server: Server, error: RunStopped) -> None:
        """Takes the server out for good; raises ``error`` if it was the last."""
        self.give_up(server, error)
        if server.up:
            text = f"{error}; its requests go to the others"
            self._notices.warn(self, text, text)
            server.up = False
            self._pool.assign_all_slots()

    def close(self) -> None:
        """Ends all probes and pauses."""
        for circuit in self._circuits.values():
            for task in (circuit.probing, circuit.opening):
                if task is not None:
                    task.cancel()

    def _others_up(self, server: Server) -> bool:
        return any(other.up for other in self._pool.servers if other is not server)

    def _take_out(self, server: Server, reason: str) -> None:
        if server.up:
            server.up = False
            self._circuits[server].probing = asyncio.ensure_future(self._probe(server, reason))
            self._pool.assign_all_slots()

    async def _probe(self, server: Server, reason: str) -> None:
        """Asks 2, 4, 8, 10, 10, ... seconds apart whether the server is back."""
        circuit, wait, away = self._circuits[server], 1, f"{server.url} is away"
        while True:
            if wait < LONGEST_PAUSE:
                wait = min(LONGEST_PAUSE, 2 * wait)
                every = "every" if wait == LONGEST_PAUSE else "in"
                self._notices.warn(self, away, f"{reason}; trying again {every} {wait} s", wait)
            await self._sleep(wait)
            begun = time.monotonic()
            if await self._answers(server):
                break
            circuit.away += wait + time.monotonic() - begun
            if circuit.away >= self._patience:
                try:
                    self.give_up(server, ServerGone(f"{reason}; it did not come back; {START_IT}"))
                except ServerGone:  # the pool tells everybody
                    return
        if self._notices.ended(away):
            log.warning("%s is back", server.url)
        circuit.hopeless, server.up = False, True
        self._pool.assign_all_slots()

    async def _answers(self, server: Server) -> bool:
        """Whether the server is back, said in time."""
        try:
            return await asyncio.wait_for(self._is_back(server), PROBE_LIMIT)
        except asyncio.TimeoutError:
            return False

    async def _open_later(self, server: Server, circuit: Circuit) -> None:
        """Opens the server after its pause, which may become longer meanwhile."""
        slept = 0.0
        while slept < circuit.pause:
            left = circuit.pause - slept
            await self._sleep(left)
            slept += left
        server.closed = False
        self._notices.ended(f"{server.url} is closed")
        self._pool.assign_all_slots()

    def _too_long(self, error: ServerBusy) -> str:
        wished = error.retry_after or 0.0
        fault = f"it asks for a wait of {wished:.0f} s" if wished > self._longest_wait else "it still refuses requests"
        return f"{error}; {fault}, and --longest_wait is {self._longest_wait:g} s; run the same command again later"


def silence(server: Server, now: float) -> str | None:
    """The line that reports a server that has not replied for long, once per silence."""
    since = server.unheard_since
    if since is None or not server.in_flight or server.told_silence == since or now - since < LONG_WAIT:
        return None
    server.told_silence = since
    flying = f"{server.in_flight} request{'s' if server.in_flight > 1 else ''} in flight"
    return f"no reply from {server.url} for {now - since:.0f} s, with {flying}; it may hang"


async def report_silences(pool: Pool, notices: Notices) -> None:
    """Looks every second for servers that do not reply, until it is cancelled."""
    while True:
        await asyncio.sleep(1)
        for server in pool.servers:
            report_silence(pool, server, time.monotonic(), notices)


def report_silence(pool: Pool, server: Server, now: float, notices: Notices) -> None:
    """Reports a server that does not reply, unless another role did so."""
    topic, line = f"{server.url} is silent", silence(server, now)
    if line is not None:
        notices.warn(pool, topic, line)
    elif server.told_silence is not None and server.told_silence != server.unheard_since:
        notices.ended(topic)  # it replied
        server.told_silence = None
