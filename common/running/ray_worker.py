"""A worker: does entries for another process, and tells it what arrives. What cluster.py runs on each node.

It holds the job's clients, sampler and scorer, begins entries as its servers have room for them, and gathers what it
tells for a hundredth of a second. It knows nothing of Ray.

Example: ``await worker.open(plan, False); await worker.take([handed]); news = await worker.news()``
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from dataclasses import dataclass, field
from typing import Any, Coroutine, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ..errors import BudgetSpent, EntryFailed, RunStopped, ToolkitError
from ..records import Answer, Entry, Record, Score
from ..scoring.shapes import AnswerScorer
from ..servers.client import ChatClient, Traffic, need_open_files
from .candidates import Candidates, idle, room_for_more
from .early_stopping import StopRule
from .sampler import Sampler

TELL_EVERY = 0.01  # seconds that are gathered: to tell costs as much as a hundred lines


class Plan(NamedTuple):
    """What a worker needs to do entries as this process would."""

    clients: Sequence[ChatClient]
    sampler: Optional[Sampler]
    scorer: Optional[AnswerScorer]
    rule: Optional[StopRule]


class Handed(NamedTuple):
    """An entry on its way to a worker, with what there is of it."""

    number: int
    entry: Entry
    messages: bytes
    images: List[str]
    answers: Dict[int, Answer]
    scores: Dict[str, Score]


@dataclass
class News:
    """What a worker tells: ledger lines, entries begun, and ended with a failure or why they drew no more."""

    lines: List[Tuple[int, Record]] = field(default_factory=list)
    begun: List[int] = field(default_factory=list)
    ended: List[Tuple[int, Union[ToolkitError, str, None]]] = field(default_factory=list)
    traffic: List[Traffic] = field(default_factory=list)
    said: List[str] = field(default_factory=list)
    stopped: Optional[BaseException] = None


class Worker:
    """A node's part of the run, as a Ray actor: ``open`` it, let it ``take`` entries, and ask it for ``news``."""

    async def open(self, plan: bytes, all_admitted: bool) -> None:
        """Makes what the job's entries need; ToolkitError if this node cannot."""
        self._plan: Plan = pickle.loads(plan)
        need_open_files(self._plan.clients)
        self._news = News()
        self._something = asyncio.Event()
        self._taken: asyncio.Queue[Handed] = asyncio.Queue()
        self._tasks: Set[asyncio.Future[Any]] = set()
        self._all_admitted = all_admitted
        logging.getLogger(__name__.split(".")[0]).addHandler(_Said(self))
        for client in self._plan.clients:
            await client.__aenter__()
        self._start(self._admit())

    async def take(self, batch: List[Handed]) -> None:
        """Does these entries once there is room."""
        for handed in batch:
            self._taken.put_nowait(handed)

    async def no_more(self) -> None:
        """No further entry is waiting anywhere: draws that may not be needed cost nothing now."""
        self._all_admitted = True

    async def draw_no_more(self, why: str) -> None:
        """The budget is spent: no further draw is sent."""

        def refuse() -> None:
            raise BudgetSpent(why)

        if self._plan.sampler is not None:
            self._plan.sampler.client.may_start = refuse

    async def news(self) -> News:
        """What has come since the last call, once there is some."""
        await self._something.wait()
        await asyncio.sleep(TELL_EVERY)
        self._something.clear()
        told, self._news = self._news, News()
        for client in self._plan.clients:
            told.traffic.append(client.traffic)
            client.traffic = Traffic()
        return told

    def tell(self) -> News:
        """What is told next, to add to it."""
        self._something.set()
        return self._news

    async def _admit(self) -> None:
        while True:
            handed = await self._taken.get()
            await room_for_more(self._plan.sampler, self._plan.scorer)
            self.tell().begun.append(handed.number)
            self._start(self._do(handed))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._watch)

    def _watch(self, task: asyncio.Future[Any]) -> None:
        """Tells of a failure that is not one entry's own, and sends nothing more."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (EntryFailed, BudgetSpent)):
            self.tell().stopped = error if isinstance(error, ToolkitError) else RuntimeError(_trace(error))
            for client in self._plan.clients:
                client.stop(error if isinstance(error, RunStopped) else RunStopped(str(error)))

    def _servers_idle(self) -> bool:
        return self._all_admitted and idle(self._plan.sampler, self._plan.scorer)

    async def _do(self, handed: Handed) -> None:
        plan, notes = self._plan, _Notes(self, handed.number)
        candidates = Candidates(
            handed.entry, plan.sampler, plan.scorer, notes, self._watch, plan.rule, self._servers_idle
        )
        candidates.take_over(handed.answers, handed.scores)
        candidates.images = handed.images
        candidates.start(handed.messages)
        try:
            record, _ = await candidates.record()
            self.tell().ended.append((handed.number, record.get("stopped_by")))
        except (EntryFailed, BudgetSpent) as error:
            self.tell().ended.append((handed.number, error))
        finally:
            candidates.cancel()


class _Notes:
    """An entry's ledger on a worker: its lines are told."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number

    def append(self, line: Record) -> None:
        self._worker.tell().lines.append((self._number, line))


class _Said(logging.Handler):
    """A worker's warnings are told."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(logging.WARNING)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.tell().said.append(record.getMessage())


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
