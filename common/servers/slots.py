"""The slots of one role's servers: who may send now, and to which of them.

A request that may be sent holds a slot of one server; the others wait in line. All requests of an entry prefer one
server, whose prefix cache holds their prompt; a server with a free slot takes the next of its own line, and where that
is empty the next of the longest other one. So no slot is free while anything waits.

Example: ``server = await pool.take(entry.entry_id); ...; pool.give_back(server)``
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, List, Optional, Sequence, Tuple

from ..errors import RunStopped

HOMES = 10_000  # entries whose preferred server is remembered
MANY_ASLEEP = 8  # requests that may sleep between tries, in multiples of the slots, before no more entries are begun


@dataclass(eq=False)
class Server:
    """One server: how many requests may be in flight to it, how many are, who waits for it, and what came of it."""

    url: str
    limit: int
    in_flight: int = 0
    up: bool = True
    waiting: Deque[asyncio.Future[Server]] = field(default_factory=deque)
    most: int = 0  # in flight at once so far
    short: bool = False  # whether a slot was free since this was last set to False
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0  # that its replies took, added up

    @property
    def load(self) -> float:
        """Requests that it has or that wait for it, in multiples of its limit."""
        return (self.in_flight + len(self.waiting)) / self.limit


class Pool:
    """The servers at ``urls``, with ``concurrency`` slots (1 or more) in all, shared out evenly."""

    def __init__(self, urls: Sequence[str], concurrency: int) -> None:
        self.concurrency = concurrency
        share = -(-concurrency // max(1, len(urls)))
        self.servers = [Server(url, share) for url in urls]
        self.queued = 0  # requests ready to go that wait for a slot
        self.asleep = 0  # requests that may not be sent before some time has passed
        self._in_flight = 0
        self._homes: Dict[str, Server] = {}
        self._over: Optional[RunStopped] = None
        self._admitting: List[Tuple[int, asyncio.Future[None]]] = []

    async def take(self, entry_id: str = "") -> Server:
        """The server to send to, once there is a slot; the caller gives it back. Raises what ``stop`` was told."""
        if self._over is not None:
            raise self._over
        home = self._home(entry_id)
        for server in (home, *self.servers):
            if self._free(server):
                self._enter(server)
                return server
        waiter: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        home.waiting.append(waiter)
        self.queued += 1
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._left_line()
            elif waiter.exception() is None:
                self.give_back(waiter.result())
            raise

    def give_back(self, server: Server) -> None:
        """Frees a slot, for the next that waits."""
        waiter = self._next(server) if server.up and server.in_flight <= server.limit else None
        if waiter is not None:
            self._let_pass(waiter, server)
            return
        server.in_flight -= 1
        self._in_flight -= 1
        server.short = True
        if self.queued:
            self.fill_all()

    def fill(self, server: Server) -> None:
        """Hands the free slots of a server to those who wait."""
        while self._free(server):
            waiter = self._next(server)
            if waiter is None:
                return
            self._enter(server)
            self._let_pass(waiter, server)

    def set_limit(self, server: Server, limit: int) -> None:
        """Lets so many be in flight to a server from now on."""
        self.concurrency += limit - server.limit
        server.limit = limit
        self.fill_all()
        self.moved()

    def fill_all(self) -> None:
        """The same for all servers: after one went out or came back."""
        for server in self.servers:
            self.fill(server)

    def forget_home(self, entry_id: str) -> None:
        """Lets an entry's next request go to another server."""
        self._homes.pop(entry_id, None)

    def stop(self, error: RunStopped) -> None:
        """Lets nobody pass from now on: each request that waits, or comes later, raises ``error``."""
        if self._over is not None:
            return
        self._over = error
        for server in self.servers:
            for waiter in server.waiting:
                if not waiter.done():
                    waiter.set_exception(error)
                    self._left_line()
            server.waiting.clear()

    def idle(self) -> bool:
        """Whether a request made now would be sent at once."""
        return self.queued == self.asleep == 0 and any(map(self._free, self.servers))

    async def room(self, depth: int) -> None:
        """Returns once fewer than ``depth`` x ``concurrency`` requests wait for a slot, and few sleep."""
        while not self._has_room(depth):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._admitting.append((depth, waiter))
            await waiter

    def moved(self) -> None:
        """Wakes those who wait for room that is there now."""
        if self._admitting and self._has_room(self._admitting[0][0]):
            for _, waiter in self._admitting:
                if not waiter.done():
                    waiter.set_result(None)
            self._admitting.clear()

    def _has_room(self, depth: int) -> bool:
        return self.queued < depth * self.concurrency and self.asleep < MANY_ASLEEP * self.concurrency

    def _free(self, server: Server) -> bool:
        return server.up and server.in_flight < server.limit and self._in_flight < self.concurrency

    def _enter(self, server: Server) -> None:
        server.in_flight += 1
        server.most = max(server.most, server.in_flight)
        self._in_flight += 1

    def _let_pass(self, waiter: asyncio.Future[Server], server: Server) -> None:
        waiter.set_result(server)
        self._left_line()

    def _left_line(self) -> None:
        self.queued -= 1
        if self._admitting:
            self.moved()

    def _next(self, server: Server) -> Optional[asyncio.Future[Server]]:
        """The next that waits for a server, else for the one with the longest line."""
        while True:
            line = server.waiting or max((one.waiting for one in self.servers), key=len)
            if not line:
                return None
            waiter = line.popleft()
            if not waiter.done():
                return waiter

    def _home(self, entry_id: str) -> Server:
        """The server that an entry prefers: the least loaded when it first came, as long as that one is up."""
        if len(self.servers) == 1:
            return self.servers[0]
        home = self._homes.pop(entry_id, None)
        if home is None or not home.up:
            home = min([one for one in self.servers if one.up] or self.servers, key=lambda one: one.load)
        self._homes[entry_id] = home  # the youngest stands last
        if len(self._homes) > HOMES:
            del self._homes[next(iter(self._homes))]
        return home
