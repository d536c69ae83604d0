"""An engine processes entries. There are two: this process (LocalEngine), and a Ray cluster (ray_cluster.py).

The run admits entries as the engine has room for them, and keeps what the engine reports.

Example: ``async with LocalEngine(pipeline, stop) as engine: stopped_by = await engine.process(state, ledger.append)``
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Callable, Protocol

from ..errors import BudgetSpent, RunStopped
from ..records import Record
from .candidates import Candidates
from .entry_state import EntryState
from .job import Pipeline

SCORER_QUEUE = 8  # answers that may wait for the scorer, in multiples of its concurrency, before no entry is begun

FEW = 1  # the same, where a target or a time ends the run: it samples no more than it scores

Keep = Callable[[Record], None]  # is given each ledger line as its answer or score arrives
Stop = Callable[[BaseException], None]  # is told the error that ends the whole run


class Engine(Protocol):
    """What processes entries, used as ``async with``. A failure of the whole run goes to the ``stop`` it was made
    with."""

    async def __aenter__(self) -> Engine: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def room(self) -> None:
        """Returns once another entry can begin."""

    async def process(self, state: EntryState, keep: Keep) -> str | None:
        """Samples and scores what the entry lacks, into ``state``. Returns the flag that stopped its sampling early.

        Raises EntryFailed if the entry fails, BudgetSpent if the budget ended before the entry was complete.
        """

    def all_admitted(self) -> None:
        """The run has no further entry: requests that may turn out to be unnecessary cost nothing now."""

    def sample_no_more(self, reason: str) -> None:
        """Sends no further request for answers: each raises BudgetSpent with this reason."""

    def end(self, error: RunStopped) -> None:
        """Sends no further request: each that waits raises ``error``."""


def most_visits(pipeline: Pipeline) -> int:
    """How many visits keep all servers busy, one request for answers each, while few answers wait for the scorer.

    These are the requests that are in flight at once to all servers, and those that wait for a retry without a slot. A
    scorer without servers counts as one that has as many slots as the generator.
    """
    slots = {"generator": 0, "scorer": 0}
    for client in pipeline.clients:
        slots[pipeline.role_of(client)] += client.pool.concurrency + client.pool.backing_off
    answers_each = 1 if pipeline.sampler is None else pipeline.sampler.group_size
    return slots["generator"] + -(-(slots["scorer"] or slots["generator"]) // answers_each)


class LocalEngine:
    """Processes entries in this process, with its own clients.

    ``check_budget`` is called before each request for answers; it raises BudgetSpent when no more may be sent.
    ``scorer_queue`` says how many answers may wait for the scorer, in multiples of its concurrency.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        stop: Stop,
        check_budget: Callable[[], None] | None = None,
        scorer_queue: int = SCORER_QUEUE,
    ) -> None:
        self._pipeline = pipeline
        self._scorer_queue = scorer_queue
        self._stop = stop
        self._all_admitted = False
        self._resources = contextlib.AsyncExitStack()
        if pipeline.sampler is not None and check_budget is not None:
            pipeline.sampler.may_start(check_budget)

    async def __aenter__(self) -> LocalEngine:
        async with contextlib.AsyncExitStack() as stack:
            for client in self._pipeline.clients:
                await stack.enter_async_context(client)
            if self._pipeline.scorer is not None:
                stack.callback(self._pipeline.scorer.close)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def room(self) -> None:
        """Returns once few requests wait for the servers of each role."""
        _, sampler, scorer, _ = self._pipeline
        if sampler is not None:
            await sampler.room()
        if scorer is not None:
            await scorer.room(1 if sampler is None else self._scorer_queue)

    async def process(self, state: EntryState, keep: Keep) -> str | None:
        return await Candidates(state, self._pipeline, keep, self._stop, self._servers_idle).run()

    def all_admitted(self) -> None:
        self._all_admitted = True

    def sample_no_more(self, reason: str) -> None:
        def refuse() -> None:
            raise BudgetSpent(reason)

        if self._pipeline.sampler is not None:
            self._pipeline.sampler.may_start(refuse)
            self._pipeline.sampler.stop(BudgetSpent(reason))

    def end(self, error: RunStopped) -> None:
        for client in self._pipeline.clients:
            client.stop(error)

    def _servers_idle(self) -> bool:
        """Whether the servers have nothing better to do than requests that may turn out to be unnecessary."""
        _, sampler, scorer, _ = self._pipeline
        both_idle = sampler is not None and sampler.idle() and scorer is not None and scorer.idle()
        return self._all_admitted and both_idle
