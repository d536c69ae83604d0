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
import contextlib
import dataclasses
import logging
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Deque, Dict, List, Optional, Union
from urllib.parse import urlsplit

from ..errors import BudgetSpent, EntryFailed, RunStopped, ServerGone, ToolkitError, UsageError
from ..records import Record
from .candidates import Candidates
from .ray_worker import Handed, News, Plan, Worker

log = logging.getLogger(__name__)

NODES_EVERY = 2.0  # seconds between two looks at which nodes there are
PATIENCE = 30.0  # seconds without any worker, or any word from Ray, that end the run
LONGEST_REST = 600.0  # seconds at most before a node whose worker failed is given another
SHUTDOWN_LIMIT = 5.0  # seconds for leaving the cluster
READY = 16  # entries that are opened before a worker wants them
MANY = 64  # requests that may wait at a worker that finds its own number in flight
LOSSES = 5  # workers that an entry may have lost: after so many it is taken for their cause


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
        self._slots = max([client.concurrency or MANY for client in plan.clients] or [16])
        self._all_admitted = False
        self._over = False
        self._asking: Optional[asyncio.Future[Any]] = None  # Ray, for its nodes
        self._spent: Optional[str] = None
        self._gone: Optional[ServerGone] = None
        self._room: Optional[asyncio.Future[None]] = None

    async def __aenter__(self) -> Cluster:
        self._loop = asyncio.get_running_loop()
        self._ray = await in_thread(connect, self._address)
        self._blob = self._ray.cloudpickle.dumps(self._plan)
        self._actor_class = self._ray.remote(Worker)
        self._looking = asyncio.ensure_future(self._look_for_nodes())
        self._looking.add_done_callback(self._watch)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        self._looking.cancel()
        await asyncio.sleep(0)  # what is to be sent in this turn goes first: after its shutdown Ray ends who calls it
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=SHUTDOWN_LIMIT)
        if self._asking is None or self._asking.done():
            await asyncio.wait([in_thread(self._ray.shutdown)], timeout=SHUTDOWN_LIMIT)
        for node in self._nodes.values():  # not before: Ray's client complains of calls whose futures were cancelled
            if node.attending is not None:
                node.attending.cancel()

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
            nodes = await self._nodes_there()
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
                raise RunStopped("no node is left in the Ray cluster; run the same command again to go on")
            await asyncio.sleep(NODES_EVERY)

    async def _nodes_there(self) -> List[Dict[str, Any]]:
        try:
            self._asking = in_thread(self._ray.nodes)
            nodes: List[Dict[str, Any]] = await asyncio.wait_for(asyncio.shield(self._asking), PATIENCE)
            return nodes
        except (asyncio.TimeoutError, RunStopped) as error:
            raise RunStopped("the Ray cluster does not answer; run the same command again to go on") from error

    def _begin(self, node_id: str, host: str) -> None:
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor = self._actor_class.options(num_cpus=0, max_concurrency=100, scheduling_strategy=there).remote()
        node = self._nodes[node_id] = _Node(node_id, host, actor)
        node.attending = asyncio.ensure_future(self._attend(node))
        node.attending.add_done_callback(self._watch)

    def _watch(self, task: asyncio.Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._stop(error)

    async def _attend(self, node: _Node) -> None:
        """Opens a worker and hears what it tells, until it ends."""
        try:
            await node.actor.open.remote(self._blob, self._all_admitted)
            if self._over:
                return
            node.is_open = True
            if self._spent is not None:
                node.actor.draw_no_more.remote(self._spent)
            self._deal()
            while node.is_open:
                news = await node.actor.news.remote()
                if self._over:
                    return
                self._hear(node, news)
        except ToolkitError as error:  # Ray raises what the worker raised as an error of both kinds
            raise RunStopped(f"the worker on {node.host}: {getattr(error, 'cause', error)}") from error
        except (self._ray.exceptions.RayError, ConnectionError) as error:  # the latter is the client's, of ray://
            if self._over:
                return
            why = f"the worker on {node.host} died"
            if not node.is_open:
                why = f"no worker could start on {node.host}: {_last_line(error)}"
            self._lose(node, why, None if node.is_open else RunStopped(why))

    def _hear(self, node: _Node, news: News) -> None:
        for text in news.said:
            log.warning("%s: %s", node.host, text)
        for ours, theirs in zip(self._plan.clients, news.traffic):
            for name, value in dataclasses.asdict(theirs).items():
                setattr(ours.traffic, name, getattr(ours.traffic, name) + value)
        for number, line in news.lines:
            node.entries[number].hear(line)
        for number in news.begun:
            node.asked -= node.unbegun.pop(number)
        for number, how in news.ended:
            node.entries.pop(number).end(how)
        if isinstance(news.stopped, ServerGone):
            self._gone = news.stopped
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
        for one in reversed(list(node.entries.values())):  # the oldest shall stand first
            one.losses += error is None
            if one.losses < LOSSES:
                self._ready.appendleft(one)
            else:
                one.end(EntryFailed(f"{LOSSES} workers were lost with this entry; the last: {why}"))
        if error is not None and not self._nodes:
            self._stop(self._gone or error)  # a node that just died may still pass for alive, and take no worker
        elif failures == 1:
            log.warning("%s; its entries go to the others", why)
        self._deal()


def in_thread(function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
    """Calls a function of Ray's, which may hang, in a thread that does not keep this process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(settle: Callable[[Any], None], result: Any) -> None:
        if not done.done():
            settle(result)

    def call() -> None:
        try:
            settle, result = done.set_result, function(*args)
        except ToolkitError as error:
            settle, result = done.set_exception, error
        except need_ray().exceptions.RayError as error:
            settle, result = done.set_exception, RunStopped(_last_line(error))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, settle, result)

    threading.Thread(target=call, daemon=True).start()
    return done


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1].strip()


def need_ray() -> Any:
    """The package ray; UsageError with the install command if it is not there."""
    try:
        import ray.util.scheduling_strategies
    except ImportError as error:
        install = "pip install -r requirements/ray.txt (Python 3.10 or newer)"
        raise UsageError(f"--ray needs the package ray: {install}") from error
    return ray


def connect(address: str) -> Any:
    """Joins the cluster at ``address`` (empty: the one that runs here, else a new one); RunStopped if it cannot."""
    ray = need_ray()
    try:
        if ":" in address:  # Ray itself tries for minutes
            parts = urlsplit(address if "//" in address else f"ray://{address}")
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()
        ours = {"py_modules": [str(Path(__file__).resolve().parents[1])]}  # Ray brings them to the nodes
        ray.init(address or None, logging_level=logging.ERROR, log_to_driver=False, runtime_env=ours)
    except (OSError, RuntimeError, ValueError) as error:
        asked = f"--ray {address}".rstrip()
        raise RunStopped(f"{asked}: cannot join the cluster: {_last_line(error)}") from error
    return ray
