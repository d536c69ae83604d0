"""Runs a job's entries on a Ray cluster: a worker on each node asks the servers there, the driver keeps what comes.

The driver admits entries, reads their images, and alone writes ledger, output and errors. A worker holds the job's
clients, sampler and scorer; it is handed entries as its servers have room for them, and tells what arrives within a few
hundredths of a second. Where a worker or its node dies, or its servers stay away, its entries go to the others with all
that was told of them, so that what was in flight is asked for again at most. Nodes that join get a worker.

Example: ``python sampling.py --ray auto --port 8000 ...``
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import pickle
import socket
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import urlsplit

from common.candidates import Candidates, room_for_more
from common.client import ChatClient, Meter
from common.errors import BudgetSpent, EntryFailed, RunStopped, ServerGone, ToolkitError, UsageError
from common.records import Answer, Entry, Record, Score
from common.sampler import Sampler
from common.scorers import Scorer
from common.stopping import StopRule

log = logging.getLogger(__name__)

TELL_EVERY = 0.01  # seconds that a worker gathers what it tells: each time costs as much as a hundred lines
NODES_EVERY = 2.0  # seconds between two looks at which nodes there are
PATIENCE = 60.0  # seconds without any worker that end the run
LONGEST_REST = 600.0  # seconds at most before a node whose worker failed is given another
READY = 16  # entries that are opened before a worker wants them
LOSSES = 5  # workers that an entry may have lost: after so many it is taken for their cause


class Plan(NamedTuple):
    """What a worker needs to do entries as this process would."""

    clients: Sequence[ChatClient]
    sampler: Optional[Sampler]
    scorer: Optional[Scorer]
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
    meters: List[Meter] = field(default_factory=list)
    said: List[str] = field(default_factory=list)
    stopped: Optional[BaseException] = None


class Worker:
    """A node's part of the run, as a Ray actor: ``open`` it, let it ``take`` entries, and ask it for ``news``."""

    async def open(self, plan: bytes, all_admitted: bool) -> None:
        """Makes what the job's entries need; ToolkitError if this node cannot."""
        self._plan: Plan = pickle.loads(plan)
        self._news = News()
        self._something = asyncio.Event()
        self._taken: asyncio.Queue[Handed] = asyncio.Queue()
        self._tasks: Set[asyncio.Future[Any]] = set()
        self._all_admitted = all_admitted
        logging.getLogger("common").addHandler(_Said(self))
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
            told.meters.append(client.meter)
            client.meter = Meter()
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

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._watch)

    def _watch(self, task: asyncio.Future[Any]) -> None:
        """Tells of a failure that is not one entry's own, and sends nothing more."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (EntryFailed, BudgetSpent)):
            self.tell().stopped = error
            for client in self._plan.clients:
                client.stop(error if isinstance(error, RunStopped) else RunStopped(str(error)))

    def _hurry(self) -> bool:
        sampler, scorer = self._plan.sampler, self._plan.scorer
        idle = sampler is not None and sampler.client.idle() and scorer is not None and scorer.idle()
        return self._all_admitted and idle

    async def _do(self, handed: Handed) -> None:
        plan, notes = self._plan, _Notes(self, handed.number)
        candidates = Candidates(handed.entry, plan.sampler, plan.scorer, notes, self._watch, plan.rule, self._hurry)
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


class Elsewhere(Candidates):
    """An entry that a worker does: what it tells of it is kept here, and makes the record."""

    def __init__(self, cluster: Cluster, *parts: Any) -> None:
        super().__init__(*parts)
        self._cluster = cluster
        self._why: Optional[str] = None  # the flag that ended the drawing
        self.losses = 0

    def start(self, messages: bytes) -> None:
        """Hands the entry to a worker."""
        self._messages = messages
        self._cluster.hand_out(self)

    @property
    def requests(self) -> int:
        """How many it will take, roughly."""
        return max(1, len(self.missing()) or len(self.answers))

    def handed(self, number: int) -> Handed:
        """The entry as it is sent now."""
        return Handed(number, self.entry, self._messages, self.images, self.answers, self._scores)

    def hear(self, line: Record) -> None:
        """Keeps an answer or a score."""
        self._ledger.append(line)
        self.recall([line])
        self.drawn += "answer" in line

    def end(self, how: Union[BaseException, str, None]) -> None:
        """Lets ``record`` return, or raise."""
        if isinstance(how, BaseException):
            self._failure = how
        else:
            self._why = how
        self._messages = b""
        self._ended.set()

    def _stopped(self) -> Optional[str]:
        return self._why


@dataclass(eq=False)
class _Node:
    """A worker as the driver sees it: ``asked`` is how many requests the entries take that it has not begun."""

    node_id: str
    host: str
    actor: Any
    is_open: bool = False
    entries: Dict[int, Elsewhere] = field(default_factory=dict)
    unbegun: Dict[int, int] = field(default_factory=dict)
    asked: int = 0
    batch: List[Handed] = field(default_factory=list)
    attending: Optional[asyncio.Future[None]] = None

    def send(self) -> None:
        """Sends the entries of this turn of the loop in one call."""
        batch, self.batch = self.batch, []
        self.actor.take.remote(batch)


class Cluster:
    """The workers, and the entries that they do, used as ``async with``.

    ``stop`` is told what ends the run, ``check_budget`` asked (it raises) each time tokens were spent.
    """

    def __init__(
        self, address: str, plan: Plan, stop: Callable[[BaseException], None], check_budget: Callable[[], None]
    ) -> None:
        self._address = address
        self._plan = plan
        self._stop = stop
        self._check_budget = check_budget
        self._ready: Deque[Elsewhere] = collections.deque()
        self._nodes: Dict[str, _Node] = {}
        self._failures: Dict[str, int] = {}  # of each node's workers
        self._rest_until: Dict[str, float] = {}
        self._number = 0
        self._slots = max([client.concurrency for client in plan.clients] or [16])
        self._all_admitted = False
        self._spent: Optional[str] = None
        self._room: Optional[asyncio.Future[None]] = None

    async def __aenter__(self) -> Cluster:
        self._loop = asyncio.get_running_loop()
        self._ray = await self._loop.run_in_executor(None, connect, self._address)
        self._blob = self._ray.cloudpickle.dumps(self._plan)
        self._actor_class = self._ray.remote(Worker)
        self._looking = asyncio.ensure_future(self._look_for_nodes())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        for node in self._nodes.values():
            if node.attending is not None:
                node.attending.cancel()
        await self._loop.run_in_executor(None, self._ray.shutdown)

    def candidates(self, *parts: Any) -> Elsewhere:
        """An entry to be done by a worker; ``parts`` as for Candidates."""
        return Elsewhere(self, *parts)

    async def room(self) -> None:
        """Returns once few entries wait for a worker."""
        while len(self._ready) >= READY:
            self._room = self._loop.create_future()
            await self._room

    def no_more(self) -> None:
        """Every entry has been admitted."""
        self._all_admitted = True
        for node in self._nodes.values():
            node.actor.no_more.remote()

    def hand_out(self, one: Elsewhere) -> None:
        """Gives an entry to the next worker that has room."""
        self._ready.append(one)
        self._deal()

    def _deal(self) -> None:
        nodes = [node for node in self._nodes.values() if node.is_open]
        while self._ready and nodes:
            node = min(nodes, key=lambda node: node.asked)
            if node.asked >= self._slots:
                break
            self._give(node, self._ready.popleft())
        if self._room is not None and len(self._ready) < READY and not self._room.done():
            self._room.set_result(None)

    def _give(self, node: _Node, one: Elsewhere) -> None:
        self._number += 1
        node.entries[self._number] = one
        node.unbegun[self._number] = one.requests
        node.asked += one.requests
        node.batch.append(one.handed(self._number))
        if len(node.batch) == 1:
            self._loop.call_soon(node.send)

    async def _look_for_nodes(self) -> None:
        """Gives each node that is there a worker, and ends the run where there is none for long."""
        alone_since = self._loop.time()
        while True:
            nodes = await self._loop.run_in_executor(None, self._ray.nodes)
            now = self._loop.time()
            nobody = not self._nodes
            for node in nodes:
                node_id = node["NodeID"]
                rested = nobody or now >= self._rest_until.get(node_id, 0.0)
                if node["Alive"] and node_id not in self._nodes and rested:
                    self._begin(node_id, node["NodeManagerAddress"])
            if self._nodes:
                alone_since = now
            elif now - alone_since > PATIENCE:
                self._stop(RunStopped("no node is left in the Ray cluster; run the same command again to go on"))
            await asyncio.sleep(NODES_EVERY)

    def _begin(self, node_id: str, host: str) -> None:
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._actor_class.options(num_cpus=0, max_concurrency=100, scheduling_strategy=there).remote()
        node = self._nodes[node_id] = _Node(node_id, host, actor)
        node.attending = asyncio.ensure_future(self._attend(node))

    async def _attend(self, node: _Node) -> None:
        """Opens a worker and hears what it tells, until it ends."""
        try:
            await node.actor.open.remote(self._blob, self._all_admitted)
            node.is_open = True
            if self._spent is not None:
                node.actor.draw_no_more.remote(self._spent)
            self._deal()
            while node.is_open:
                self._hear(node, await node.actor.news.remote())
        except ToolkitError as error:  # Ray raises what the worker raised as an error of both kinds
            self._stop(RunStopped(f"the worker on {node.host}: {str(error).splitlines()[-1]}"))
        except self._ray.exceptions.RayError as error:
            why = f"the worker on {node.host} died"
            if not node.is_open:
                why = f"no worker could start on {node.host}: {_last_line(error)}"
            self._lose(node, why, None if node.is_open else RunStopped(why))

    def _hear(self, node: _Node, news: News) -> None:
        for text in news.said:
            log.warning("%s: %s", node.host, text)
        for ours, theirs in zip(self._plan.clients, news.meters):
            for name, value in dataclasses.asdict(theirs).items():
                setattr(ours.meter, name, getattr(ours.meter, name) + value)
        for number, line in news.lines:
            node.entries[number].hear(line)
        for number in news.begun:
            node.asked -= node.unbegun.pop(number)
        for number, how in news.ended:
            node.entries.pop(number).end(how)
        if isinstance(news.stopped, ServerGone):
            self._lose(node, f"{node.host}: {news.stopped}", news.stopped)
        elif news.stopped is not None:
            self._stop(news.stopped)
        self._spend()
        self._deal()

    def _spend(self) -> None:
        """Lets no worker draw on once the budget is spent."""
        try:
            if self._spent is None:
                self._check_budget()
        except BudgetSpent as error:
            self._spent = str(error)
            for node in self._nodes.values():
                node.actor.draw_no_more.remote(self._spent)
        except RunStopped as error:
            self._stop(error)

    def _lose(self, node: _Node, why: str, error: Optional[RunStopped]) -> None:
        """Hands a worker's entries to the others; ``error``, if any, ends the run if there are none."""
        node.is_open = False
        del self._nodes[node.node_id]
        self._ray.kill(node.actor)
        failures = self._failures[node.node_id] = self._failures.get(node.node_id, 0) + 1
        self._rest_until[node.node_id] = self._loop.time() + min(LONGEST_REST, 5.0 * 2**failures)
        for one in reversed(list(node.entries.values())):
            one.losses += 1
            if one.losses < LOSSES:
                self._ready.appendleft(one)
            else:
                one.end(EntryFailed(f"{LOSSES} workers were lost with this entry; the last: {why}"))
        if error is not None and not self._nodes:
            self._stop(error)
        elif failures == 1:
            log.warning("%s; its entries go to the others", why)
        self._deal()


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].strip()


def need_ray() -> Any:
    """The package ray; UsageError with the install command if it is not there."""
    try:
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UsageError("--ray needs the package ray: pip install -r requirements/ray.txt") from error
    return ray


def connect(address: str) -> Any:
    """Joins the cluster at ``address`` (empty: the one that runs here, else a new one); RunStopped if it cannot."""
    ray = need_ray()
    try:
        if ":" in address:  # Ray itself tries for minutes
            parts = urlsplit(address if "//" in address else f"ray://{address}")
            socket.create_connection((parts.hostname, parts.port), timeout=10).close()
        ray.init(address or None, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunStopped(f"--ray {address}: cannot join the cluster: {_last_line(error)}".replace(" :", ":")) from error
    return ray
