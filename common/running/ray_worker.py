"""A worker: processes entries for another process, with a LocalEngine, and reports what arrives.

ray_cluster.py runs one on each node. A worker begins entries as its servers have room for them, and gathers its report
for a hundredth of a second. If nobody asks for its report for long, it sends nothing more: its entries may have been
given to others. It knows nothing of Ray.

Example: ``await worker.open(plan, False); await worker.take([assignment]); report = await worker.report()``
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import traceback
from dataclasses import dataclass, field
from typing import Any, Coroutine, NamedTuple

from ..errors import BudgetSpent, EntryFailed, RunStopped, ToolkitError
from ..records import Record
from ..servers.client import Traffic, need_open_files
from .engine import LocalEngine
from .entry_state import EntryState
from .job import Pipeline

REPORT_EVERY = 0.01  # seconds that are gathered: one report costs as much as a hundred lines
HEARTBEAT = 5.0  # seconds after which there is a report, even if nothing happened
LEASE = 15.0  # seconds without a call for its report after which a worker sends nothing more


class LeaseExpired(RunStopped):
    """Nobody asked for this worker's report in time: it was frozen, or cut off, or the other process was."""


class Assignment(NamedTuple):
    """An entry on its way to a worker, with all that is known of it."""

    number: int
    state: EntryState


@dataclass
class WorkerReport:
    """What happened since the last report. Entries are named by their assignment's number."""

    lines: list[tuple[int, Record]] = field(default_factory=list)  # ledger lines
    begun: list[int] = field(default_factory=list)
    ended: list[tuple[int, ToolkitError | str | None]] = field(default_factory=list)  # a failure, or what stopped it
    traffic: list[Traffic] = field(default_factory=list)  # per client
    warnings: list[str] = field(default_factory=list)
    stopped: BaseException | None = None


class Worker:
    """A node's part of the run, as a Ray actor: ``open`` it, let it ``take`` entries, and ask for its ``report``."""

    def __init__(self) -> None:
        self._pipeline = Pipeline([])
        self._engine = LocalEngine(self._pipeline, self._stop)
        self._report = WorkerReport()
        self._tasks: set[asyncio.Future[Any]] = set()

    async def open(self, pipeline: bytes, all_admitted: bool) -> None:
        """Makes what the job's entries need from the pickled pipeline; ToolkitError if this node cannot."""
        self._pipeline = pickle.loads(pipeline)
        need_open_files(self._pipeline.clients)
        # made here, not in __init__: before Python 3.10 these bind to the loop that is current when they are made
        self._changed = asyncio.Event()
        self._taken: asyncio.Queue[Assignment] = asyncio.Queue()
        logging.getLogger(__name__.split(".")[0]).addHandler(ForwardWarnings(self))
        self._engine = LocalEngine(self._pipeline, self._stop)
        for client in self._pipeline.clients:
            client.may_start = self._check_lease
        await self._engine.__aenter__()
        if all_admitted:
            self._engine.all_admitted()
        self._heard = asyncio.get_running_loop().time()
        self._begin(self._admit())

    async def take(self, batch: list[Assignment]) -> None:
        """Processes these entries once there is room."""
        for assignment in batch:
            self._taken.put_nowait(assignment)

    async def all_admitted(self) -> None:
        """No further entry waits anywhere."""
        self._engine.all_admitted()

    async def sample_no_more(self, reason: str) -> None:
        """The budget is spent: sends no further request for answers."""
        self._engine.sample_no_more(reason)

    async def report(self) -> WorkerReport:
        """All that happened since the last call, once something has; or after a moment, as a sign of life."""
        try:
            self._check_lease()
        except LeaseExpired as error:  # even if it has nothing to send: its entries may be others' now
            self._stop(error)
        self._heard = asyncio.get_running_loop().time()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), HEARTBEAT)
        await asyncio.sleep(REPORT_EVERY)
        self._changed.clear()
        report, self._report = self._report, WorkerReport()
        for client in self._pipeline.clients:
            report.traffic.append(client.traffic)
            client.traffic = Traffic()
        return report

    def _check_lease(self) -> None:
        silence = asyncio.get_running_loop().time() - self._heard
        if silence > LEASE:
            raise LeaseExpired(f"was cut off for {silence:.0f} s")

    def next_report(self) -> WorkerReport:
        """The next report, to add to it."""
        self._changed.set()
        return self._report

    async def _admit(self) -> None:
        while True:
            assignment = await self._taken.get()
            await self._engine.room()
            self.next_report().begun.append(assignment.number)
            self._begin(self._process(*assignment))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Reports a failure that is not one entry's own, and sends nothing more."""
        self.next_report().stopped = error if isinstance(error, ToolkitError) else RuntimeError(_trace(error))
        self._engine.end(error if isinstance(error, RunStopped) else RunStopped(str(error)))

    async def _process(self, number: int, state: EntryState) -> None:
        try:
            stopped_by = await self._engine.process(state, lambda line: self.next_report().lines.append((number, line)))
            self.next_report().ended.append((number, stopped_by))
        except (EntryFailed, BudgetSpent) as error:
            self.next_report().ended.append((number, error))


class ForwardWarnings(logging.Handler):
    """Puts a worker's warnings into its report."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(logging.WARNING)
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        self._worker.next_report().warnings.append(record.getMessage())


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))
