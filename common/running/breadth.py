"""The order of work: which entry is next, and how many answers it samples before another one is next.

Depth first, each entry of the input has one visit, in which it gets all its answers. Breadth first, a visit is one
request. An entry that needs more waits for its next visit, and the entries with the fewest answers come first. No round
waits for the last requests of the round before. With an ``Acceptance`` (a budget ends the run), the entry is next whose
next answer is likeliest to be accepted, per token. Entries with an accepted answer come after those without one.

Memory holds a few numbers for each entry that waits. The entry itself waits in a temporary file.

Example: ``async for visit in Breadth(Spool("out"), 1, seen_before).visits(entries): ...; order.back(visit, seen)``
"""

from __future__ import annotations

import asyncio
import heapq
import pickle
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, AsyncGenerator, Callable, Iterator, NamedTuple, Optional, Protocol

from ..errors import RunStopped
from ..records import PendingEntry
from ..scoring.shapes import AnswerScorer
from .job import Job
from .posterior import Acceptance, Seen

Entries = Iterator[Optional[PendingEntry]]  # a None lets the event loop have its turn
ALL = sys.maxsize  # the answers of a visit that samples all that can be sampled now
WAITING_AT_ONCE = 256  # entries that are put in the queues before the event loop has its turn


class Waiting(NamedTuple):
    """An entry that waits: what sorts it among those with the same answers, its number, its place in the spool."""

    order: int
    number: int
    place: int


@dataclass(eq=False)
class Visit:
    """An entry's visit. It samples at most ``most`` answers (None: all that it lacks, in its only visit)."""

    pending: PendingEntry
    most: int | None = None
    number: int = 0  # of the entry, in the order of the input
    place: int | None = None  # of the entry in the spool, once it is there
    is_first: bool = True  # in this run


class Order(Protocol):
    """Gives the entries their visits. Each visit ends with ``back`` or with ``end``."""

    def visits(self, entries: Entries) -> AsyncGenerator[Visit, None]:
        """The visits of all entries, until none needs another one."""

    def back(self, visit: Visit, seen: Seen) -> None:
        """The visit is over, and its entry needs more."""

    def end(self, visit: Visit) -> None:
        """The entry is complete."""

    def leave(self, visit: Visit) -> None:
        """The entry needs more, but not in this run: it failed, or nothing can be sampled for it now."""

    def learn(self, before: Seen, after: Seen) -> None:
        """An entry had that, and has this after its visit."""

    def unfinished(self) -> Iterator[PendingEntry]:
        """The entries that were begun and need more, in the order of the input."""

    @property
    def open(self) -> int:
        """How many entries were begun and need more."""


class DepthFirst:
    """Each entry has one visit. What is left of it is not looked at again in this run."""

    open = 0

    async def visits(self, entries: Entries) -> AsyncGenerator[Visit, None]:
        for pending in entries:
            if pending is None:
                await asyncio.sleep(0)
            else:
                yield Visit(pending)

    def back(self, visit: Visit, seen: Seen) -> None:
        pass

    def end(self, visit: Visit) -> None:
        pass

    def leave(self, visit: Visit) -> None:
        pass

    def learn(self, before: Seen, after: Seen) -> None:
        pass

    def unfinished(self) -> Iterator[PendingEntry]:
        return iter(())


class Spool:
    """Entries in a temporary file in ``folder``, which is made with the first of them."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def add(self, pending: PendingEntry) -> int:
        """The place of an entry that is added. RunStopped if it cannot be written."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)
            place = self._file.seek(0, 2)
            pickle.dump(pending, self._file)
            self._file.flush()
        except OSError as error:
            raise RunStopped(f"cannot write a temporary file in {self._folder}: {error.strerror}") from error
        return place

    def read(self, place: int) -> PendingEntry:
        """The entry at a place."""
        assert self._file is not None
        self._file.seek(place)
        pending: PendingEntry = pickle.load(self._file)
        return pending

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Breadth:
    """A visit for every entry, then a second one where it is needed, and so on.

    A visit samples ``size`` answers. ``seen_before`` says what earlier runs have of an entry; None if it is nothing, or
    if nothing is to be sampled. With ``acceptance``, the best entry is next. ``drained`` is called, if it is given,
    once no entry waits: from then on, an entry gets all that it lacks in one visit as long as no other one waits.
    """

    def __init__(
        self,
        spool: Spool,
        size: int,
        seen_before: Callable[[PendingEntry], Seen | None],
        acceptance: Acceptance | None = None,
        drained: Callable[[], None] | None = None,
    ) -> None:
        self._spool = spool
        self._size = size
        self._seen_before = seen_before
        self._acceptance = acceptance
        self._drained = drained
        self._is_drained = False
        self._queues: dict[tuple[int, int], list[Waiting]] = {}  # by (answers, accepted)
        self._out: dict[int, Visit] = {}  # by the numbers of their entries
        self._left: dict[int, int] = {}  # the places of those that are left for the next run, by their numbers
        self._came_back: asyncio.Future[None] | None = None

    async def visits(self, entries: Entries) -> AsyncGenerator[Visit, None]:
        for number, pending in enumerate(entries):
            if pending is None or number % WAITING_AT_ONCE == 0:
                await asyncio.sleep(0)
            if pending is None:
                continue
            visit, seen = Visit(pending, self._size, number), self._seen_before(pending)
            if seen is not None:
                self.back(visit, seen)
                continue
            while self._queues and self._rank(self._best()) < self._rank(Seen()):
                yield self._next()
            self._out[number] = visit
            yield visit
        while self.open:
            if self._queues:
                yield self._next(is_rest=self._drained is not None)
            else:
                await self._until_one_is_back()

    async def _until_one_is_back(self) -> None:
        self._came_back = asyncio.get_running_loop().create_future()
        await self._came_back

    def _best(self) -> Seen:
        """What the entry has that is next of those that wait."""
        heads = (Seen(*key, queue[0].order) for key, queue in self._queues.items())
        return min(heads, key=self._rank)

    def _rank(self, seen: Seen) -> tuple[float, ...]:
        """Sorts the entries by what they have: the next one first."""
        if self._acceptance is None:
            return seen  # the fewest answers first
        return (seen.accepted > 0, -self._acceptance.value(seen))

    def _next(self, is_rest: bool = False) -> Visit:
        """The visit of the best entry that waits."""
        answers, accepted, _ = self._best()
        queue = self._queues[answers, accepted]
        _, number, place = heapq.heappop(queue)
        if not queue:
            del self._queues[answers, accepted]
        visit = Visit(self._spool.read(place), self._size, number, place, is_first=False)
        if is_rest and not self._queues:
            visit.most = ALL
            if self._drained is not None and not self._is_drained:
                self._is_drained = True
                self._drained()
        self._out[number] = visit
        return visit

    def back(self, visit: Visit, seen: Seen) -> None:
        self._out.pop(visit.number, None)
        order = 0 if self._acceptance is None else seen.tokens
        queue = self._queues.setdefault((seen.answers, seen.accepted), [])
        heapq.heappush(queue, Waiting(order, visit.number, self._place_of(visit)))
        self._wake()

    def leave(self, visit: Visit) -> None:
        self._left[visit.number] = self._place_of(visit)
        self.end(visit)

    def _place_of(self, visit: Visit) -> int:
        return self._spool.add(visit.pending) if visit.place is None else visit.place

    def learn(self, before: Seen, after: Seen) -> None:
        if self._acceptance is not None:
            self._acceptance.learn(before, after)

    def end(self, visit: Visit) -> None:
        del self._out[visit.number]
        self._wake()

    def _wake(self) -> None:
        if self._came_back is not None and not self._came_back.done():
            self._came_back.set_result(None)

    def unfinished(self) -> Iterator[PendingEntry]:
        waiting = {number: place for queue in self._queues.values() for _, number, place in queue}
        places = {**waiting, **self._left}
        for number in sorted([*places, *self._out]):
            yield self._out[number].pending if number in self._out else self._spool.read(places[number])

    @property
    def open(self) -> int:
        return len(self._out) + sum(map(len, self._queues.values()))


def is_guided(job: Job) -> bool:
    """Whether the run learns which entries are easy: a budget or a target ends it, and scores come with the answers."""
    is_bounded = (job.token_budget, job.time_budget, job.target_accepted) != (None, None, None)
    is_learnt = job.results.selection.passes is not None and isinstance(job.pipeline.scorer, AnswerScorer)
    return is_bounded and is_learnt
