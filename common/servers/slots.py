"""The slots of one role's servers: which request may be sent now, and to which server.

A request that may be sent holds a slot of one server; the others wait in queues. All requests of an entry prefer one
server, whose prefix cache holds their prompt. A server with a free slot takes the next request of its own queue, or of
the longest other queue if its own is empty. So a slot is never free while a request waits.

Example: ``server = await pool.take(entry.entry_id); ...; pool.give_back(server)``
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Awaitable, Sequence

from ..errors import RunStopped

REMEMBERED_ENTRIES = 10_000  # entries whose preferred server is remembered
MAX_BACKING_OFF = 8  # times the slots: this many requests may wait without a slot before no more entries are begun


@dataclass(eq=False)
class Server:
    """One server: its limit, the requests in flight to it, the requests that wait for it, and its statistics."""

    url: str
    limit: int  # requests that may be in flight
    in_flight: int = 0
    up: bool = True
    closed: bool = False  # it asked for a pause
    cap: float = math.inf  # of the requests in flight, below the limit: after a pause, and while it is in doubt
    unheard_since: float | None = None  # since when a request is in flight and no reply came
    told_silence: float | None = None  # the silence that was reported, by its beginning
    queue: deque[asyncio.Future[Server]] = field(default_factory=deque)
    peak: int = 0  # most requests in flight at once so far
    had_free_slot: bool = False  # since this was last set to False
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0  # sum of the times that its replies took

    @property
    def is_open(self) -> bool:
        """Whether it takes requests, if it has a free slot."""
        return self.up and not self.closed

    @property
    def most(self) -> int:
        """The requests that may be in flight to it now."""
        return self.limit if self.cap >= self.limit else int(self.cap)

    def heard(self) -> None:
        """A reply came, before its slot is given back."""
        self.unheard_since = time.monotonic() if self.in_flight > 1 else None

    def still_there(self) -> None:
        """A part of a reply came, and the rest is in flight."""
        self.unheard_since = time.monotonic()

    def let_go(self) -> None:
        """A request ended without its reply, by nobody's fault, before its slot is given back."""
        if self.in_flight <= 1:
            self.unheard_since = None

    @property
    def load(self) -> float:
        """Requests that are in flight to it or wait for it, in multiples of its limit."""
        return (self.in_flight + len(self.queue)) / self.limit


class Pool:
    """The servers at ``urls``, with ``concurrency`` slots (1 or more) in all, divided equally."""

    def __init__(self, urls: Sequence[str], concurrency: int) -> None:
        self.concurrency = concurrency
        share = -(-concurrency // max(1, len(urls)))
        self.servers = [Server(url, share) for url in urls]
        self.queued = 0  # requests that are ready and wait for a slot
        self.backing_off = 0  # requests that may not be sent yet (a retry, a rate limit): they wait without a slot
        self._in_flight = 0
        self._preferred: dict[str, Server] = {}
        self._stopped_by: RunStopped | None = None
        self._room_waiters: list[tuple[int, asyncio.Future[None]]] = []

    async def take(self, entry_id: str = "", first: bool = False) -> Server:
        """The server to send to, once it has a slot. The caller gives the slot back. Raises the error of ``stop``.

        A request that comes ``first`` waits before the others.
        """
        if self._stopped_by is not None:
            raise self._stopped_by
        preferred = self._preferred_server(entry_id)
        for server in (preferred, *self.servers):
            if self.has_free_slot(server):
                self._occupy(server)
                return server
        waiter: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        (preferred.queue.appendleft if first else preferred.queue.append)(waiter)
        self.queued += 1
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._leave_queue()
            elif waiter.exception() is None:
                self.give_back(waiter.result())
            raise

    def give_back(self, server: Server) -> None:
        """Hands a slot to the next request that waits, or frees it."""
        waiter = self._next_waiter(server) if server.is_open and server.in_flight <= server.most else None
        if waiter is not None:
            self._hand_slot(waiter, server)
            return
        server.in_flight -= 1
        self._in_flight -= 1
        server.had_free_slot = True
        if self.queued:
            self.assign_all_slots()

    def assign_slots(self, server: Server) -> None:
        """Hands the free slots of a server to requests that wait."""
        while self.has_free_slot(server):
            waiter = self._next_waiter(server)
            if waiter is None:
                return
            self._occupy(server)
            self._hand_slot(waiter, server)

    def assign_all_slots(self) -> None:
        """Hands the free slots of all servers to requests that wait: after a server went down or came back."""
        for server in self.servers:
            self.assign_slots(server)

    def set_limit(self, server: Server, limit: int) -> None:
        """Sets how many requests may be in flight to a server."""
        self.concurrency += limit - server.limit
        server.limit = limit
        self.assign_all_slots()
        self.wake_waiters()

    def set_cap(self, server: Server, cap: float) -> None:
        """Sets for a while how many requests below the limit may be in flight to a server."""
        server.cap = cap if cap < server.limit else math.inf
        self.assign_slots(server)

    def forget_preferred(self, entry_id: str) -> None:
        """Lets an entry's next request go to another server."""
        self._preferred.pop(entry_id, None)

    def stop(self, error: RunStopped) -> None:
        """Hands out no more slots: each request that waits, or comes later, raises ``error``."""
        if self._stopped_by is not None:
            return
        self._stopped_by = error
        for server in self.servers:
            for waiter in server.queue:
                if not waiter.done():
                    waiter.set_exception(error)
                    self._leave_queue()
            server.queue.clear()

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.queued == self.backing_off == 0 and any(map(self.has_free_slot, self.servers))

    @property
    def in_flight(self) -> int:
        """The requests in flight to all servers."""
        return self._in_flight

    def quiet(self) -> bool:
        """Whether nothing is in flight, and nothing waits for a slot."""
        return self.queued == self._in_flight == 0

    async def room(self, depth: int) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few are backing off."""
        while not self.has_room(depth):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room_waiters.append((depth, waiter))
            await waiter

    async def without_slot(self, wait: Awaitable[None]) -> None:
        """Awaits ``wait`` for a request that holds no slot meanwhile."""
        self.backing_off += 1
        try:
            await wait
        finally:
            self.backing_off -= 1
            self.wake_waiters()

    def wake_waiters(self) -> None:
        """Wakes those who wait for ``room`` if there is some now."""
        for one in list(self._room_waiters):
            if one[1].done() or self.has_room(one[0]):
                self._room_waiters.remove(one)
                if not one[1].done():
                    one[1].set_result(None)

    def has_free_slot(self, server: Server) -> bool:
        """Whether a request may be sent to this server now."""
        return server.is_open and server.in_flight < server.most and self._in_flight < self.concurrency

    def has_room(self, depth: int = 1) -> bool:
        """Whether fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few are backing off."""
        return self.queued < depth * self.concurrency and self.backing_off < MAX_BACKING_OFF * self.concurrency

    def _occupy(self, server: Server) -> None:
        server.in_flight += 1
        if server.unheard_since is None:
            server.unheard_since = time.monotonic()
        server.peak = max(server.peak, server.in_flight)
        self._in_flight += 1

    def _hand_slot(self, waiter: asyncio.Future[Server], server: Server) -> None:
        waiter.set_result(server)
        self._leave_queue()

    def _leave_queue(self) -> None:
        self.queued -= 1
        if self._room_waiters:
            self.wake_waiters()

    def _next_waiter(self, server: Server) -> asyncio.Future[Server] | None:
        """The next request in the server's queue, or in the longest other queue if the server's is empty."""
        while True:
            queue = server.queue or max((other.queue for other in self.servers), key=len)
            if not queue:
                return None
            waiter = queue.popleft()
            if not waiter.done():
                return waiter

    def _preferred_server(self, entry_id: str) -> Server:
        """The server that was the least loaded when the entry first came, as long as that one is open."""
        if len(self.servers) == 1:
            return self.servers[0]
        preferred = self._preferred.pop(entry_id, None)
        if preferred is None or not preferred.is_open:
            candidates = [server for server in self.servers if server.is_open] or self.servers
            preferred = min(candidates, key=lambda server: server.load)
        self._preferred[entry_id] = preferred  # the newest stands last
        if len(self._preferred) > REMEMBERED_ENTRIES:
            del self._preferred[next(iter(self._preferred))]
        return preferred
