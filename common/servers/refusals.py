"""Whose fault a refused request is: the prompt's (its entry fails), or that of the key, the model or the fields.

A server that has answered anything refuses a prompt. One that has answered nothing is in doubt: once it has refused
several requests alike, it is given no more until those in flight have ended. If none of them was answered, the server
refuses everything.

Example: ``await refusals.judge(server, entry_id, error)`` returns only if another server may answer the request.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Sequence

from ..errors import RequestFailed, ServerRefused
from .health import CircuitBreaker, Sleep
from .replies import HINTS
from .slots import Pool, Server

ABOUT_THE_MODEL = (402, 403, 404)  # more likely about the key or the model than about the prompt
FEW = 3  # entries that are refused like that before a server is in doubt
MANY, ENTRIES = 30, 5  # requests that are refused in another way, and the entries that they are for
PROVEN = 10  # times as many, if an earlier run got answers
LOOK_EVERY = 0.1  # seconds
QUIET_LOOKS = 10  # looks at which nothing was in flight, so that nothing more will be learned


def distinct(entry_ids: Sequence[str]) -> int:
    """How many entries these are; each request without an id is one of its own.

    >>> distinct(["a", "a", "b", "", ""])
    4
    """
    return len(set(filter(None, entry_ids))) + entry_ids.count("")


@dataclass
class Record:
    """The refusals of a server that has answered nothing, all with one status."""

    answered: bool = False
    refuses: bool = False
    status: int | None = None
    entry_ids: list[str] = field(default_factory=list)

    def add(self, entry_id: str, status: int | None) -> None:
        if status != self.status:
            self.status = status
            self.entry_ids.clear()
        self.entry_ids.append(entry_id)


class Refusals:
    """Judges the refusals of a pool's servers. ``answered_before``: an earlier run of this job got answers."""

    def __init__(self, pool: Pool, breaker: CircuitBreaker, sleep: Sleep, answered_before: bool) -> None:
        self._pool = pool
        self._breaker = breaker
        self._sleep = sleep
        self._answered_before = answered_before
        self._records = {server: Record() for server in pool.servers}

    def answered(self, server: Server) -> None:
        """A reply of the server held an answer: its refusals are about their prompts."""
        record = self._records[server]
        if not record.answered:
            record.answered = True
            if server.cap == 0:
                self._pool.set_cap(server, math.inf)

    async def judge(self, server: Server, entry_id: str, error: RequestFailed) -> None:
        """Raises ``error`` if it is about the request, ServerRefused if no server answers any request of this run."""
        record = self._records[server]
        if record.answered:
            raise error
        record.add(entry_id, error.status)
        in_doubt = self._in_doubt(record)
        if not in_doubt and (self._answered_before or error.status not in ABOUT_THE_MODEL):
            raise error
        if in_doubt:
            self._pool.set_cap(server, 0)
        await self._pool.without_slot(self._verdict(server, record))
        if record.answered:
            raise error
        self._breaker.drop(server, self._refused(record, error))

    def _in_doubt(self, record: Record) -> bool:
        entries, times = distinct(record.entry_ids), PROVEN if self._answered_before else 1
        few = FEW if record.status in ABOUT_THE_MODEL and times == 1 else math.inf
        return entries >= few or (len(record.entry_ids) >= MANY * times and entries >= ENTRIES * times)

    async def _verdict(self, server: Server, record: Record) -> None:
        """Returns once it is known whether the server answers or refuses everything."""
        quiet = 0
        while not (record.answered or record.refuses):
            await self._sleep(LOOK_EVERY)
            await asyncio.sleep(0)  # even a sleep that takes no time lets the others go on
            quiet = quiet + 1 if self._pool.quiet() else 0
            over = server.in_flight == 0 and self._in_doubt(record)
            record.refuses = not record.answered and (over or quiet >= QUIET_LOOKS)

    def _refused(self, record: Record, error: RequestFailed) -> ServerRefused:
        if error.status in HINTS:
            return ServerRefused(f"{error}{HINTS[error.status]}")
        return ServerRefused(
            f"{error}; each of the first {len(record.entry_ids)} requests ended like this: correct the key, the model "
            "or the fields of the requests (--extra_body; null leaves one out), and run the same command again"
        )
