r"""Runs a rule in processes that can be killed.

The processes are started when they are first needed, at most one per CPU. A check that takes too long is ended with its
process, and the next check gets a new process. The processes end with this one, however it ends, and all that they
started ends with them (``process_tree``). A watchdog that needs no Python ends a hang that nobody else ends.

Example: ``verdict = await RuleProcesses("math", load_math).check("Half of 1?", r"\frac{1}{2}", r"\boxed{0.5}")``
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Sequence, Union

from ..errors import RunStopped, UsageError
from .process_tree import HAS_GUARD, EndsForks, descendants, end_all, guard
from .rules import NamedErrors, Row, Rule, RuleFailed, Turns, Verdict, refuse_if_closed

START_LIMIT = 300  # seconds that a process may take to start: the user's file may load a model
LONGEST_END = 10  # seconds that a process may take to end once it was told to
GRACE = 3  # seconds after the time limit when a process that nobody killed ends itself
ROOT = str(Path(__file__).resolve().parents[__name__.count(".")])
# by -c, not -m: the current folder stays the user's own, and so does what can be imported from it
START = f"import sys; sys.path.insert(0, sys.argv[1]); from {__name__} import serve; serve(*sys.argv[2:])"

_Reply = Union[Dict[str, Any], str]  # a process's reply, or how it failed to give one


class RuleProcesses:
    """A rule and its processes. It is used within one event loop, and starts nothing before the first check.

    ``load(*arguments)`` is a module's function; each process calls it to get the rule. ``name`` is used in messages,
    ``timeout`` is in seconds per check, and ``processes`` (None: one per CPU) is their largest number.
    """

    def __init__(
        self,
        name: str,
        load: Callable[..., Rule],
        arguments: Sequence[str] = (),
        timeout: float = 30,
        processes: int | None = None,
    ) -> None:
        self.turns = Turns(processes or os.cpu_count() or 1)
        self.takes_row = False
        self._name = name
        self._command = [sys.executable, "-c", START, ROOT, str(timeout), load.__module__, load.__name__, *arguments]
        self._timeout = timeout
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._all: set[_Process] = set()
        self._idle: list[_Process] = []
        self._closed = False

    async def check(self, question: str, reference: str | None, answer: str, row: Row = None) -> Verdict:
        """The verdict on one answer.

        RuleFailed names what the rule did wrong. RunStopped if no process can start.
        """
        async with self.turns:
            refuse_if_closed(self._closed, self._name)
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.turns.size, thread_name_prefix="rule")
            check = functools.partial(self._check, [question, reference, answer, row])
            return await asyncio.get_running_loop().run_in_executor(self._threads, check)

    def close(self) -> None:
        """Kills every process, also during a check, and waits for its end; no check can begin after this."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()
        if self._threads is not None:
            self._threads.shutdown()
        for process in list(self._all):
            self._end(process)

    def _check(self, request: list[Any]) -> Verdict:
        """One check, in a thread of its own: its process is idle again afterwards, or has ended."""
        process = self._idle_process()
        reply = process.ask(json.dumps(request).encode() + b"\n", self._timeout)
        if isinstance(reply, str):
            self._end(process)
            if self._closed:
                raise RunStopped(f"{self._name} was closed during a check")
            raise RuleFailed(f"{self._name} {reply}")
        with self._lock:
            self._idle.append(process)
        if "error" in reply:
            raise RuleFailed(reply["error"])
        return Verdict(reply["value"], reply["why"])

    def _idle_process(self) -> _Process:
        """A process that is ready: an idle one, or else a new one. RunStopped if it cannot start."""
        with self._lock:
            refuse_if_closed(self._closed, self._name)
            if self._idle:
                return self._idle.pop()
            try:
                process = _Process(self._command)
            except OSError as error:
                raise RunStopped(f"{self._name}: cannot start a process: {error.strerror}") from error
            self._all.add(process)
        reply = process.ask(b"", START_LIMIT)
        problem = f"it {reply}" if isinstance(reply, str) else reply.get("error")
        if problem is not None:
            self._end(process)
            raise RunStopped(f"{self._name}: its process did not start: {problem}")
        return process

    def _end(self, process: _Process) -> None:
        process.end()
        with self._lock:
            self._all.discard(process)


class _Process:
    """One process of a rule: it replies to each line with a line of JSON, and says first that it is ready."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle, and what it starts can be killed with it
        )

    def ask(self, line: bytes, limit: float) -> _Reply:
        """The reply to a line; if none comes within ``limit`` seconds or the process dies, how it failed."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self.kill()

        timer = threading.Timer(limit, expire)
        timer.start()
        reply = self._exchange(line)
        timer.cancel()
        timer.join()
        if reply.endswith(b"\n") and not expired.is_set():
            result: dict[str, Any] = json.loads(reply)
            return result
        code = self.end()
        return f"took longer than {limit:g} s" if expired.is_set() else f"ended its process (exit code {code})"

    def _exchange(self, line: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # a broken pipe: the process died before it was asked
            self._process.stdin.write(line)
            self._process.stdin.flush()
            return self._process.stdout.readline()
        return b""

    def kill(self) -> None:
        """Kills the process and everything that it started, unless its end was waited for."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if HAS_GUARD:
                os.kill(self._process.pid, signal.SIGTERM)  # the guard ends all that is below it
            else:
                end_all(lambda: descendants(self._process.pid))
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kills the process and gives its exit code, which is negative for the signal that ended it before."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # text that was not written yet is of no use any more
                    pipe.close()
        try:
            return self._process.wait(LONGEST_END)
        except subprocess.TimeoutExpired:
            end_all(lambda: [*descendants(self._process.pid), self._process.pid])
            return self._process.wait()


def serve(timeout: str, module: str, load: str, *arguments: str) -> None:
    """Runs in the process: replies with a line of JSON to each check it is sent, until standard input ends.

    Standard input and output are put aside first: the rule's own reading and printing is not part of the replies.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard(stdin=0)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    for pipe in (requests, replies):
        os.register_at_fork(after_in_child=pipe.close)  # a rule's child has no part in this
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        _reply_to_all(requests, replies, functools.partial(_load, module, load, arguments), float(timeout), null)
    except BrokenPipeError:
        os._exit(1)  # nobody is there to read it


def _reply_to_all(requests: BinaryIO, replies: Any, load: Callable[[], Rule | str], timeout: float, null: int) -> None:
    rule = load()
    _send(replies, {"error": rule} if isinstance(rule, str) else {})
    for line in requests if isinstance(rule, Rule) else ():
        assert isinstance(rule, Rule)
        faulthandler.dump_traceback_later(timeout + GRACE, exit=True, file=null)
        reply = _checked(rule, json.loads(line))
        faulthandler.cancel_dump_traceback_later()
        _send(replies, reply)


def _load(module: str, load: str, arguments: Sequence[str]) -> Rule | str:
    """The rule, or why it cannot be loaded."""
    try:
        with EndsForks():
            rule: Rule = getattr(importlib.import_module(module), load)(*arguments)
            return rule
    except (ImportError, UsageError) as error:
        return str(error)


def _checked(rule: Rule, request: list[Any]) -> dict[str, Any]:
    try:
        with NamedErrors(rule.name, RuleFailed, rule.file), EndsForks():
            return rule.check(*request)._asdict()
    except RuleFailed as error:
        return {"error": str(error)}


def _send(replies: Any, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
