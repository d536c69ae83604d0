"""A circuit breaker: takes servers that fail out of a pool, asks whether they are back, and returns them.

Example: each try ends with ``breaker.succeeded(server)``, ``.failed(server)`` or ``.unreachable(server, error)``
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Awaitable, Callable

from ..errors import ServerGone, Unreachable
from .slots import Pool, Server

log = logging.getLogger(__name__)

MAX_STRIKES = 5  # failures of one server in a row that take it out, if another server is up
LONGEST_PAUSE = 60  # seconds between two probes

Sleep = Callable[[float], Awaitable[None]]
IsBack = Callable[[Server], Awaitable[bool]]


@dataclass
class Circuit:
    """The failures of one server since its last success, and the task that probes it while it is out."""

    strikes: int = 0
    probes: int = 0
    probing: asyncio.Task[None] | None = None


class CircuitBreaker:
    """Sets ``up`` of a pool's servers.

    A server that cannot be reached, or fails ``MAX_STRIKES`` times in a row, is out until ``is_back`` says that it
    answers. The pool is stopped with ServerGone if no server ever answered, or if none is up and each was probed
    ``max_probes`` times. ``sleep`` waits between probes.
    """

    def __init__(self, pool: Pool, is_back: IsBack, max_probes: int, sleep: Sleep) -> None:
        self._pool = pool
        self._is_back = is_back
        self._max_probes = max_probes
        self._sleep = sleep
        self._circuits = {server: Circuit() for server in pool.servers}
        self._any_answered = False

    def answered(self) -> None:
        """A server replied, if only with an error."""
        self._any_answered = True

    def succeeded(self, server: Server) -> None:
        circuit = self._circuits[server]
        circuit.strikes = circuit.probes = 0

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

    def close(self) -> None:
        """Ends all probes."""
        for circuit in self._circuits.values():
            if circuit.probing is not None:
                circuit.probing.cancel()

    def _others_up(self, server: Server) -> bool:
        return any(other.up for other in self._pool.servers if other is not server)

    def _take_out(self, server: Server, reason: str) -> None:
        if server.up:
            server.up = False
            self._circuits[server].probing = asyncio.ensure_future(self._probe(server, reason))
            self._pool.assign_all_slots()

    async def _probe(self, server: Server, reason: str) -> None:
        """Asks 2, 4, 8, ... seconds apart whether the server is back."""
        circuit = self._circuits[server]
        while True:
            circuit.probes += 1
            pause = min(LONGEST_PAUSE, 2**circuit.probes)
            log.warning("%s; trying again in %d s", reason, pause)
            await self._sleep(pause)
            if await self._is_back(server):
                break
            if self._all_gone():
                gone = ServerGone(f"{reason}; it did not come back; start it and run the same command again")
                self._pool.stop(gone)
                return
        log.warning("%s is back", server.url)
        server.up = True
        self._pool.assign_all_slots()

    def _all_gone(self) -> bool:
        """Whether no server is up and each was probed often enough."""
        return not any(server.up or circuit.probes < self._max_probes for server, circuit in self._circuits.items())
