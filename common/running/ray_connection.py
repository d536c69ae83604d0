"""Joins a Ray cluster within a bounded time, or says in one line why it cannot. The only module that starts Ray.

All calls that may hang are made in one thread. Ray ends the processes that it started when the thread that started them
ends, so the thread lives as long as this process.

Example: ``thread = RayThread(); ray = await join(thread, "auto"); nodes = await thread.call(ray.nodes)``
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import queue
import re
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple
from urllib.parse import urlsplit

from ..errors import RunStopped, ToolkitError
from ..extras import require

PROBE_LIMIT = 10.0  # seconds for a program at the address to show that it may be Ray
JOIN_LIMIT = 60.0  # seconds for joining a cluster, or starting one; Ray itself tries for minutes
SIGNALS_EVERY = 0.05  # seconds between two looks after the signal handlers while Ray starts
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # the preface and empty settings
HTTP2_SETTINGS = 4  # the type of the frame that every gRPC server sends first


class Cluster(NamedTuple):
    """A cluster as the user named it: the flag, and the address with what named it, if it is known."""

    flag: str
    address: str = ""
    named_by: str = ""

    @property
    def is_new(self) -> bool:
        """Whether Ray starts it for this run."""
        return not self.address and self.flag != "--ray auto"

    def __str__(self) -> str:
        if self.is_new:
            return f"{self.flag}: cannot start a cluster"
        named_by = f" at {self.address} (named by {self.named_by})" if self.named_by else ""
        return f"{self.flag}: cannot join the cluster{named_by}"


class RayThread:
    """The thread for Ray's calls. It does not keep this process from ending."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._calls.get()()

    def call(self, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Calls a function of Ray's after those before it; RunStopped if Ray fails."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls.put(functools.partial(_settle, asyncio.get_running_loop(), done, function, args))
        return done


def _settle(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], function: Callable[..., Any], args: Any
) -> None:
    def tell(settle: Callable[[Any], None], result: Any) -> None:
        if not done.done():
            settle(result)

    try:
        settle, result = done.set_result, function(*args)
    except ToolkitError as error:
        settle, result = done.set_exception, error
    except import_ray().exceptions.RayError as error:
        settle, result = done.set_exception, RunStopped(last_line(error))
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(tell, settle, result)


async def join(thread: RayThread, address: str) -> Any:
    """The package ray, once it has joined the cluster at ``address``; RunStopped if it cannot, or not in time.

    An empty address is the cluster that runs here, else a new one.
    """
    loop = asyncio.get_running_loop()
    joining, end = thread.call(connect, address), loop.time() + JOIN_LIMIT
    with silent_stderr():
        while not joining.done() and loop.time() < end:
            await asyncio.wait([joining], timeout=SIGNALS_EVERY)
            take_signals_back()
    if not joining.done():
        late = f"Ray did not succeed within {JOIN_LIMIT:g} s; is this machine one of its nodes?"
        raise RunStopped(f"{find_cluster(address)}: {late}")
    return joining.result()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what Ray's C++ part writes about each of its attempts."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(nowhere)
        os.close(saved)


def take_signals_back() -> None:
    """Has Python handle SIGINT and SIGTERM again: Ray's C++ part, as it starts, lets them print a stack and abort."""
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)
            signal.siginterrupt(number, False)


def connect(address: str) -> Any:
    """Joins the cluster at ``address``; RunStopped if it cannot."""
    ray, cluster = import_ray(), find_cluster(address)
    try:
        if ":" in cluster.address:
            check_answers(cluster.address)
        elif address == "auto" and not ray_runs_here():
            raise ConnectionError("none runs on this machine")
        ours = {"py_modules": [str(Path(__file__).resolve().parents[1])]}  # Ray brings them to the nodes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's client, about what it raises too
            ray.init(address or None, logging_level=logging.ERROR, log_to_driver=False, runtime_env=ours)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunStopped(f"{cluster}: {reason_of(error, cluster.is_new)}") from error
    return ray


def find_cluster(address: str) -> Cluster:
    """The cluster that Ray would join, as far as it is known without asking Ray."""
    flag = f"--ray {address}".rstrip()
    if address not in ("", "auto"):
        return Cluster(flag, address if address != "local" else "")
    if os.environ.get("RAY_ADDRESS"):
        return Cluster(flag, os.environ["RAY_ADDRESS"], "RAY_ADDRESS")
    file = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    if file.exists() and not (address and ray_runs_here()):  # "auto" prefers a cluster that runs here to the file
        return Cluster(flag, file.read_text().strip(), str(file))
    return Cluster(flag)


def ray_runs_here() -> bool:
    """Whether a node of a Ray cluster runs on this machine."""
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has ended
            if file.read_text().strip() == "raylet":
                return True
    return False


def check_answers(address: str) -> None:
    """ConnectionError if no program listens at the address, or one that does not speak gRPC, as Ray does."""
    parts = urlsplit(address if "//" in address else f"ray://{address}")
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PROBE_LIMIT) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        connection.sendall(HTTP2_HELLO)
        try:
            reply = connection.recv(4)
        except OSError:  # it waits, or has hung up
            reply = b""
    if len(reply) < 4 or reply[3] != HTTP2_SETTINGS:
        raise ConnectionError("another program than Ray listens there")


def reason_of(error: Exception, is_new: bool) -> str:
    """Why Ray could not join, as one line that says what to do."""
    versions = re.findall(r"(Ray|Python): (\S+)", str(error)) if "Version mismatch" in str(error) else []
    if len(versions) == 4:
        theirs, ours = (f"Ray {pair[0][1]} with Python {pair[1][1]}" for pair in (versions[:2], versions[2:]))
        return f"its nodes run {theirs}, this machine {ours}; install the same versions"
    if not isinstance(error, OSError):
        return last_line(error)
    if is_new:
        return f"{last_line(error)}; the variable RAY_TMPDIR names the folder for Ray's files"
    text = error.strerror or last_line(error)
    return f"{text}; start the cluster, or name another address (--ray local starts one for this run)"


def last_line(error: BaseException) -> str:
    """The last line of an error of Ray's, which is the one that says most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def import_ray() -> Any:
    """The package ray; UsageError with the install command if it is missing."""
    require("ray.util.scheduling_strategies", "--ray", "ray")
    return require("ray", "--ray", "ray")
