"""The engine of ``--ray``: a worker on each node of a Ray cluster sends to the servers there.

The run's own process admits entries, reads their images, and alone writes ledger, output and errors. A worker gets
entries as its servers have room for them, and reports what arrives within a few hundredths of a second. If a worker or
its node dies or falls silent, or its servers stay away, its entries go to the other workers with all that it reported
of them. So only what was in flight is requested again. Nodes that join get a worker.

The entries that a lost worker had begun are suspects: each may be the cause of the loss. They go on in small groups, on
workers that have no other entries, and at last alone. So an entry that ends its worker fails, and no other entry does.

Example: ``python sampling.py --ray auto --port 8000 ...``
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import math
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

from ..errors import BudgetSpent, EntryFailed, RunStopped, ServerGone, ToolkitError
from ..records import Record
from .engine import Keep, Stop
from .entry_state import EntryState
from .job import Pipeline
from .ray_connection import RayThread, join, last_line
from .ray_worker import Assignment, LeaseExpired, Worker, WorkerReport

log = logging.getLogger(__name__)

NODES_EVERY = 2.0  # seconds between two looks at the list of nodes
PATIENCE = 30.0  # seconds without any worker, or without an answer from Ray, that end the run
LONGEST_REST = 600.0  # seconds at most before a node whose worker failed gets another one
SHUTDOWN_LIMIT = 5.0  # seconds for leaving the cluster
READY = 16  # entries that wait for a worker before the run admits no more
MANY = 64  # requests that may wait at a worker that finds its own concurrency
SILENCE = 20.0  # seconds without a report after which a worker is lost; longer than its LEASE
OPEN_LIMIT = 120.0  # seconds for a worker to start
FEW = 8  # suspects of a loss that each go on alone; of more, groups do first
LOSSES_ALONE = 2  # workers that an entry may lose alone before it fails


class RemoteEntry:
    """An entry that a worker processes: it keeps what the worker reports of it."""

    def __init__(self, state: EntryState, pipeline: Pipeline, keep: Keep) -> None:
        self.state = state
        self.losses = 0  # workers lost with it
        self.losses_alone = 0
        self.outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._pipeline = pipeline
        self._keep = keep

    @property
    def requests(self) -> int:
        """How many requests it will take, roughly."""
        return max(1, self.state.to_sample(self._pipeline.sampler) or len(self.state.answers))

    def take(self, lines: Sequence[Record]) -> None:
        """Keeps answers and scores."""
        for line in lines:
            self._keep(line)
        self.state.recall(lines, self._pipeline)

    def end(self, outcome: BaseException | str | None) -> None:
        """Ends the wait for the entry: with a failure, or with the flag that stopped its sampling."""
        self.state.prompts = {}  # megabytes, where there are images
        if self.outcome.done():
            return
        if isinstance(outcome, BaseException):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


@dataclass(eq=False)
class Node:
    """A worker as the run sees it: ``queued`` is how many requests its entries take that it has not begun."""

    node_id: str
    host: str
    actor: Any
    is_open: bool = False
    entries: dict[int, RemoteEntry] = field(default_factory=dict)
    not_begun: dict[int, int] = field(default_factory=dict)
    queued: int = 0
    batch: list[Assignment] = field(default_factory=list)
    listener: asyncio.Future[None] | None = None
    silent: float = 0.0  # seconds since its last report, as long as this process ran
    tests: bool = False  # it takes suspects only

    def send(self) -> None:
        """Sends the entries of this turn of the loop in one call."""
        batch, self.batch = self.batch, []
        self.actor.take.remote(batch)


class RayEngine:
    """Processes entries on the workers of the Ray cluster at ``address``, used as ``async with``.

    ``stop`` is told the error that ends the run. ``check_budget`` is called each time tokens were spent; it raises
    BudgetSpent when no more may be.
    """

    def __init__(
        self, address: str, pipeline: Pipeline, stop: Stop, check_budget: Callable[[], None] | None = None
    ) -> None:
        self._address = address
        self._pipeline = pipeline
        self._stop = stop
        self._check_budget = check_budget or (lambda: None)
        self._ready: collections.deque[RemoteEntry] = collections.deque()
        self._suspects: collections.deque[list[RemoteEntry]] = collections.deque()  # in the groups that go on together
        self._thread = RayThread()
        self._nodes: dict[str, Node] = {}
        self._failures: dict[str, int] = {}  # of each node's workers
        self._rest_until: dict[str, float] = {}
        self._number = 0
        self._slots = slots_of(pipeline)
        self._all_admitted = False
        self._over = False
        self._asking: asyncio.Future[Any] | None = None  # Ray, for its nodes
        self._watching: asyncio.Future[None] | None = None
        self._budget_spent: str | None = None
        self._gone: ServerGone | None = None
        self._room: asyncio.Future[None] | None = None
        self._ray: Any = None
        self._pickled = b""
        self._actor_class: Any = None

    async def __aenter__(self) -> RayEngine:
        self._ray = await join(self._thread, self._address)
        self._pickled = self._ray.cloudpickle.dumps(self._pipeline)
        self._actor_class = self._ray.remote(Worker)
        self._watching = asyncio.ensure_future(self._watch_nodes())
        self._watching.add_done_callback(self._stop_on_failure)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.sleep(0)  # what is to be sent in this turn goes first: after its shutdown Ray ends the caller
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=SHUTDOWN_LIMIT)
        if self._asking is None or self._asking.done():
            await asyncio.wait([self._thread.call(self._ray.shutdown)], timeout=SHUTDOWN_LIMIT)
        for node in self._nodes.values():  # not before: Ray's client complains of calls whose futures were cancelled
            if node.listener is not None:
                node.listener.cancel()

    async def room(self) -> None:
        """Returns once few entries wait for a worker."""
        while len(self._ready) >= READY:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    async def process(self, state: EntryState, keep: Keep) -> str | None:
        entry = RemoteEntry(state, self._pipeline, keep)
        self._ready.append(entry)
        self._dispatch()
        return await entry.outcome

    def all_admitted(self) -> None:
        self._all_admitted = True
        for node in self._nodes.values():
            node.actor.all_admitted.remote()

    def sample_no_more(self, reason: str) -> None:
        self._budget_spent = reason
        for node in self._nodes.values():
            node.actor.sample_no_more.remote(reason)

    def end(self, error: RunStopped) -> None:
        """Does nothing here: the workers end when the run leaves the engine."""

    def _dispatch(self) -> None:
        """Gives ready entries to the open workers that have room."""
        self._dispatch_suspects()
        nodes = [node for node in self._nodes.values() if node.is_open and not node.tests]
        while self._ready and nodes:
            node = min(nodes, key=lambda node: node.queued)
            if node.queued >= self._slots:
                break
            self._assign(node, self._ready.popleft())
        if self._room is not None and len(self._ready) < READY and not self._room.done():
            self._room.set_result(None)

    def _dispatch_suspects(self) -> None:
        """Gives each group of suspects a worker without entries; if there is none, one worker takes no more entries."""
        nodes = [node for node in self._nodes.values() if node.is_open]
        for node in nodes:
            if not node.entries:
                node.tests = bool(self._suspects)
                for entry in self._suspects.popleft() if self._suspects else ():
                    self._assign(node, entry)
        if self._suspects and nodes and not any(node.tests for node in nodes):
            min(nodes, key=lambda node: node.queued).tests = True

    def _assign(self, node: Node, entry: RemoteEntry) -> None:
        self._number += 1
        node.entries[self._number] = entry
        node.not_begun[self._number] = entry.requests
        node.queued += entry.requests
        node.batch.append(Assignment(self._number, entry.state))
        if len(node.batch) == 1:
            asyncio.get_running_loop().call_soon(node.send)

    async def _watch_nodes(self) -> None:
        """Gives each node a worker, and ends the run if there has been none for long."""
        loop = asyncio.get_running_loop()
        alone_since = loop.time()
        while True:
            nodes = await self._list_nodes()
            now = loop.time()
            nobody = not self._nodes
            for node in nodes:
                node_id = node["NodeID"]
                rested = nobody or now >= self._rest_until.get(node_id, 0.0)
                if node["Alive"] and node_id not in self._nodes and rested:
                    self._start_worker(node_id, node["NodeManagerAddress"])
            if self._nodes:
                alone_since = now
            elif now - alone_since > PATIENCE:
                raise RunStopped("no node is left in the Ray cluster; run the same command again to go on")
            self._lose_silent_workers()
            await asyncio.sleep(NODES_EVERY)

    async def _list_nodes(self) -> list[dict[str, Any]]:
        try:
            self._asking = self._thread.call(self._ray.nodes)
            nodes: list[dict[str, Any]] = await asyncio.wait_for(asyncio.shield(self._asking), PATIENCE)
            return nodes
        except (asyncio.TimeoutError, RunStopped) as error:
            raise RunStopped("the Ray cluster does not answer; run the same command again to go on") from error

    def _lose_silent_workers(self) -> None:
        """Counts the seconds of silence by the looks at the nodes, so that a pause of this process does not count."""
        for node in list(self._nodes.values()):
            node.silent += NODES_EVERY
            if node.is_open and node.silent > SILENCE:
                self._drop_worker(node, f"the worker on {node.host} was silent for {SILENCE:g} s", None)
            elif node.silent > OPEN_LIMIT:
                reason = f"no worker could start on {node.host} within {OPEN_LIMIT:g} s"
                self._drop_worker(node, reason, RunStopped(reason))

    def _start_worker(self, node_id: str, host: str) -> None:
        on_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._actor_class.options(num_cpus=0, max_concurrency=100, scheduling_strategy=on_node).remote()
        node = self._nodes[node_id] = Node(node_id, host, actor)
        node.listener = asyncio.ensure_future(self._run_worker(node))
        node.listener.add_done_callback(self._stop_on_failure)

    def _stop_on_failure(self, task: asyncio.Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._stop(error)

    async def _run_worker(self, node: Node) -> None:
        """Opens a worker and handles its reports until it ends."""
        try:
            await node.actor.open.remote(self._pickled, self._all_admitted)
            if self._has_left(node):
                return
            node.is_open, node.silent = True, 0.0
            if self._budget_spent is not None:
                node.actor.sample_no_more.remote(self._budget_spent)
            self._dispatch()
            while node.is_open:
                report = await node.actor.report.remote()
                if self._has_left(node):
                    return  # what it reports was given to others
                node.silent = 0.0
                self._handle_report(node, report)
        except ToolkitError as error:  # Ray raises the worker's error as an error of both kinds
            if self._has_left(node):
                return
            raise RunStopped(f"the worker on {node.host}: {getattr(error, 'cause', error)}") from error
        except (self._ray.exceptions.RayError, ConnectionError) as error:  # the latter is the client's, of ray://
            if self._has_left(node):
                return
            if node.is_open:
                self._drop_worker(node, f"the worker on {node.host} died", None, f": {death(error)}")
            else:
                reason = f"no worker could start on {node.host}: {last_line(error)}"
                self._drop_worker(node, reason, RunStopped(reason))

    def _has_left(self, node: Node) -> bool:
        """Whether its reports no longer count."""
        return self._over or self._nodes.get(node.node_id) is not node

    def _handle_report(self, node: Node, report: WorkerReport) -> None:
        for text in report.warnings:
            log.warning("%s: %s", node.host, text)
        for ours, theirs in zip(self._pipeline.clients, report.traffic):
            for name, value in dataclasses.asdict(theirs).items():
                setattr(ours.traffic, name, getattr(ours.traffic, name) + value)
        lines: dict[int, list[Record]] = {}
        for number, line in report.lines:
            lines.setdefault(number, []).append(line)
        for number, lines_of_entry in lines.items():
            node.entries[number].take(lines_of_entry)
        for number in report.begun:
            node.queued -= node.not_begun.pop(number)
        for number, outcome in report.ended:
            node.entries.pop(number).end(outcome)
        if isinstance(report.stopped, ServerGone):
            self._gone = report.stopped
            self._drop_worker(node, f"{node.host}: {report.stopped}", report.stopped)
        elif isinstance(report.stopped, LeaseExpired):
            self._drop_worker(node, f"the worker on {node.host} {report.stopped}", None)
        elif report.stopped is not None:
            self._stop(report.stopped)
        self._watch_budget()
        self._dispatch()

    def _watch_budget(self) -> None:
        """Lets no worker sample any more once the budget is spent."""
        try:
            if self._budget_spent is None:
                self._check_budget()
        except BudgetSpent as error:
            self.sample_no_more(str(error))
        except RunStopped as error:
            self._stop(error)

    def _drop_worker(self, node: Node, reason: str, error: RunStopped | None, detail: str = "") -> None:
        """Hands a worker's entries to the others; ``error``, if any, ends the run if there are no others.

        Without ``error``, one of its entries may be the cause.
        """
        node.is_open = False
        del self._nodes[node.node_id]
        self._ray.kill(node.actor)
        failures = self._rest(node)
        if error is None:
            self._suspect(node, reason + detail)
        else:
            self._ready.extendleft(reversed(list(node.entries.values())))  # so that the oldest stands first
        if error is not None and not self._nodes:
            self._stop(self._gone or error)  # a node that just died may still count as alive, and take no worker
        elif failures == 1:
            log.warning("%s; its entries go to the others", reason)
        self._dispatch()

    def _rest(self, node: Node) -> int:
        """Lets a node rest before it gets another worker, unless its entries are the likely cause; its failures."""
        if node.tests:
            return 0
        failures = self._failures[node.node_id] = self._failures.get(node.node_id, 0) + 1
        rest = min(LONGEST_REST, 5.0 * 2**failures)
        self._rest_until[node.node_id] = asyncio.get_running_loop().time() + rest
        return failures

    def _suspect(self, node: Node, reason: str) -> None:
        """Divides the entries of a lost worker into suspects, whose groups grow smaller with each loss, and others."""
        alone = len(node.entries) == 1
        suspects = []
        for number, entry in reversed(list(node.entries.items())):  # so that the oldest stands first
            entry.losses += 1
            entry.losses_alone += alone
            if entry.losses_alone >= LOSSES_ALONE:
                entry.end(self._failure(entry, reason))
            elif number in node.not_begun and entry.losses == 1:
                self._ready.appendleft(entry)
            else:
                suspects.append(entry)
        size = 1 if len(suspects) <= FEW else math.isqrt(len(suspects))
        self._suspects.extend(suspects[start : start + size] for start in range(0, len(suspects), size))

    def _failure(self, entry: RemoteEntry, reason: str) -> EntryFailed:
        lost = f"{entry.losses} workers were lost with it, the last {entry.losses_alone} without other entries"
        failure = EntryFailed(f"this entry ends its worker: {lost}; {reason}")
        failure.stage = "sample" if entry.state.missing(self._pipeline.sampler) else "score"
        return failure


def slots_of(pipeline: Pipeline) -> int:
    """How many requests may wait at a worker: as many as its fullest role has in flight."""
    by_role: collections.Counter[str] = collections.Counter()
    for client in pipeline.clients:
        by_role[pipeline.role_of(client)] += client.concurrency or MANY
    return max(by_role.values(), default=16)


def death(error: BaseException) -> str:
    """How a worker died, from the many lines of Ray's error."""
    found = re.search(r"exit detail: (.+?)(?: Some common causes|$)", str(error), re.M)
    if found is None:
        return last_line(error)
    if "End of file" in found[1]:  # all that Ray knows
        return "its process crashed or was killed, perhaps for lack of memory"
    return found[1]
