r"""Rules that score an answer, run where they can be killed: ``math``, and a user's ``python:FILE.py:FUNCTION``.

A rule that does not need the event loop runs in worker processes, started when first needed, one a CPU at most. A check
that takes too long costs its worker its life; the next check gets a new one. Workers end with this process, however
that ends: their standard input closes, or, amid a hang, a watchdog that needs no Python ends them.
An async function is awaited in the event loop.

Example: ``verdict = await Verifier("math").check("Half of 1?", r"\frac{1}{2}", r"It is \boxed{0.5}.")``
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import math
import numbers
import os
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple, Type, Union

from ..errors import EntryFailed, RunStopped, ToolkitError, UsageError
from ..records import fingerprint
from .math_equal import Verdict, check_math

START_LIMIT = 300  # seconds a worker may take to start: the user's file may load a model
GRACE = 3  # seconds after which a worker that nobody killed ends itself
MATH_MEMORY = 4 << 30  # bytes of address space of a worker that does math: an answer may be 10^{10^{10}}
INSTALL_MATH = "pip install -r requirements/math.txt (Python 3.10 or newer)"
ROOT = str(Path(__file__).resolve().parents[__name__.count(".")])
# By -c, not -m: the current folder stays the user's own, and so does what can be imported from it.
START = f"import sys; sys.path.insert(0, sys.argv[1]); from {__name__} import serve; serve(*sys.argv[2:])"


class VerifierFailed(EntryFailed):
    """The user's function raised, hung, ended its process or gave no score: said with its name."""

    stage = "score"


class Check(NamedTuple):
    """A rule: its name in messages, what is called with question, reference and answer, and whether it is awaited."""

    name: str
    function: Callable[[str, Optional[str], str], Any]
    is_async: bool


class Verifier:
    """A rule and what runs it; used within one event loop, nothing is started before the first check.

    ``target`` is ``math`` or ``python:FILE.py:FUNCTION``; ``concurrency`` bounds the checks of an async function,
    ``workers`` (default: one a CPU) the processes of any other; ``timeout`` is seconds one check may take.
    Raises UsageError if a package is missing or the function cannot be used.
    """

    def __init__(self, target: str, concurrency: int = 16, timeout: float = 30, workers: Optional[int] = None) -> None:
        if target == "math":
            need_math_verify()
            self._check = Check("math", check_math, False)
        elif target.startswith("python:"):
            self._check = load_check(target[len("python:") :])
            target = "python:" + os.path.abspath(target[len("python:") :])  # the workers may start in another folder
        else:
            raise UsageError(f"--scorer {target}: it must be math or python:FILE.py:FUNCTION")
        self.target = target
        self.timeout = timeout
        self._made_of = (target, concurrency, timeout, workers)
        self.size = concurrency if self._check.is_async else workers or os.cpu_count() or 1
        self.queued = 0  # checks that wait for their turn
        self._slots: Optional[asyncio.Semaphore] = None
        self._moved: Optional[asyncio.Event] = None
        self._threads: Optional[ThreadPoolExecutor] = None
        self._lock = threading.Lock()
        self._children: Set[subprocess.Popen[bytes]] = set()
        self._idle: List[subprocess.Popen[bytes]] = []
        self._closed = False

    def __reduce__(self) -> Tuple[Type[Verifier], Tuple[Any, ...]]:
        return Verifier, self._made_of  # another process makes its own, from the file at the same path

    async def check(self, question: str, reference: Optional[str], answer: str) -> Verdict:
        """The verdict on one answer; a ``math`` check that hangs or dies is undecided.

        Raises VerifierFailed naming what the user's function did wrong, RunStopped if no worker can start.
        """
        if self._slots is None or self._moved is None:
            # made here, not in __init__: before Python 3.10 these bind to the loop that is current when they are made
            self._slots, self._moved = asyncio.Semaphore(self.size), asyncio.Event()
        self.queued += 1
        try:
            await self._slots.acquire()
        finally:
            self.queued -= 1
            self._moved.set()
        try:
            if self._closed:
                raise RunStopped(f"{self._check.name}: the verifier is closed")
            if self._check.is_async:
                return await self._awaited(question, reference, answer)
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="verifier")
            ask = functools.partial(self._ask, [question, reference, answer])
            return await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        finally:
            self._slots.release()

    def idle(self) -> bool:
        """Whether a check made now would be begun at once."""
        return self._slots is None or (self.queued == 0 and not self._slots.locked())

    async def room(self, depth: int = 1) -> None:
        """Returns once fewer than ``depth`` times as many checks wait as run at once."""
        while self._moved is not None and self.queued >= depth * self.size:
            self._moved.clear()
            await self._moved.wait()

    def close(self) -> None:
        """Kills every worker, whatever it is doing, and waits for its end; no check can be made after it."""
        with self._lock:
            self._closed = True
            for child in self._children:
                _kill(child)
        if self._threads is not None:
            self._threads.shutdown()
        for child in list(self._children):
            self._end(child)

    async def _awaited(self, question: str, reference: Optional[str], answer: str) -> Verdict:
        try:
            return await asyncio.wait_for(self._call(question, reference, answer), self.timeout)
        except asyncio.TimeoutError as error:
            raise VerifierFailed(f"{self._check.name} took longer than {self.timeout:g} s") from error

    async def _call(self, question: str, reference: Optional[str], answer: str) -> Verdict:
        with _Naming(self._check.name, VerifierFailed):
            return verdict_of(await self._check.function(question, reference, answer), self._check.name)

    def _ask(self, request: List[Optional[str]]) -> Verdict:
        """One check, in a thread of the pool: its worker goes back to the idle ones, or dies."""
        child = self._worker()
        reply = self._converse(child, json.dumps(request).encode() + b"\n", self.timeout)
        if isinstance(reply, dict):
            with self._lock:
                self._idle.append(child)
        elif self._closed:
            raise RunStopped(f"{self._check.name}: the verifier was closed amid a check")
        failure = f"{self._check.name} {reply}" if isinstance(reply, str) else reply.get("error")
        if failure is None and isinstance(reply, dict):
            return Verdict(reply["value"], reply["why"])
        if self._check.name == "math":
            return Verdict(None, failure)
        raise VerifierFailed(failure)

    def _worker(self) -> subprocess.Popen[bytes]:
        """A worker that is ready: an idle one, else a new one. RunStopped if it cannot start."""
        with self._lock:
            if self._closed:
                raise RunStopped(f"{self._check.name}: the verifier is closed")
            if self._idle:
                return self._idle.pop()
            child = self._started()
            self._children.add(child)
        reply = self._converse(child, b"", START_LIMIT)
        if isinstance(reply, str) or "error" in reply:
            said = reply if isinstance(reply, str) else reply["error"]
            self._end(child)
            raise RunStopped(f"{self._check.name}: its worker did not start: it {said}")
        return child

    def _started(self) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [sys.executable, "-c", START, ROOT, self.target, str(self.timeout)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is ours to handle, and what it starts can be killed with it
            )
        except OSError as error:
            raise RunStopped(f"{self._check.name}: cannot start a worker: {error.strerror}") from error

    def _converse(self, child: subprocess.Popen[bytes], line: bytes, limit: float) -> Union[Dict[str, Any], str]:
        """The worker's reply to a line; if it gave none in ``limit`` seconds, or died, what it did: it is ended."""
        assert child.stdin is not None
        assert child.stdout is not None
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            _kill(child)

        timer = threading.Timer(limit, expire)
        timer.start()
        reply = b""
        with contextlib.suppress(OSError):  # a broken pipe: it died before it was asked
            child.stdin.write(line)
            child.stdin.flush()
            reply = child.stdout.readline()
        timer.cancel()
        timer.join()
        if reply.endswith(b"\n") and not expired.is_set():
            found: Dict[str, Any] = json.loads(reply)
            return found
        code = self._end(child)
        return f"took longer than {limit:g} s" if expired.is_set() else f"ended its process (exit code {code})"

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        """Kills a worker and gives its exit code, negative for the signal that ended it before."""
        _kill(child)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what could not be written is of no use any more
                    pipe.close()
        with self._lock:
            self._children.discard(child)
        return child.wait()


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kills a worker and all that it started, unless it was waited for."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()


def need_math_verify() -> str:
    """The version of math-verify that is installed; UsageError with the install command if none is."""
    try:
        return importlib.metadata.version("math-verify")
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(f"--scorer math needs the package math-verify: {INSTALL_MATH}") from error


def source_of(spec: str) -> str:
    """12 hex digits that change with the file's bytes or the function's name of ``FILE.py:FUNCTION``.

    UsageError if the file cannot be read.
    """
    path, function = _parts(spec)
    try:
        with open(path, "rb") as file:
            return fingerprint({"function": function, "source": file.read().decode("latin-1")})
    except OSError as error:
        raise UsageError(f"--scorer python:{spec}: cannot read {path}: {error.strerror}") from error


def _parts(spec: str) -> Tuple[str, str]:
    path, _, function = spec.rpartition(":")  # the last colon: C:\check.py:verify
    if not path or not function.isidentifier():
        raise UsageError(f"--scorer python:{spec}: it must be python:FILE.py:FUNCTION")
    if not os.path.isfile(path):
        raise UsageError(f"--scorer python:{spec}: no file {path}")
    return path, function


def load_check(spec: str) -> Check:
    """The function that ``FILE.py:FUNCTION`` names, its file imported; what the file prints goes to stderr.

    UsageError if there is no such file or function, the file raises (with its line), or the function does not take
    question, reference and answer.
    """
    path, name = _parts(spec)
    flag = f"--scorer python:{spec}"
    function = getattr(_imported(path, flag), name, None)
    if function is None:
        raise UsageError(f"{flag}: {path} has no function {name}")
    if not callable(function):
        raise UsageError(f"{flag}: {name} is no function but of type {type(function).__name__}")
    try:
        inspect.signature(function).bind("question", "reference", "answer")
    except TypeError as error:
        raise UsageError(f"{flag}: {name} must take question, reference and answer ({error})") from error
    except ValueError:
        pass  # written in C, it may say nothing of what it takes
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    return Check(f"{os.path.basename(path)}:{name}", function, is_async)


def _imported(path: str, flag: str) -> Any:
    """The module of a file, under a name that hides no other; its folder is where it finds its neighbours."""
    folder, file = os.path.split(os.path.abspath(path))
    name = f"verifier_{os.path.splitext(file)[0]}"
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, file))
    if spec is None or spec.loader is None:
        raise UsageError(f"{flag}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and pickle look there
    vars(module)["print"] = _print
    here = os.getcwd()
    try:
        with contextlib.redirect_stdout(sys.stderr), _Naming(f"{flag}: {file}", UsageError, file):
            spec.loader.exec_module(module)
    finally:
        os.chdir(here)  # the run's own paths are relative to it
    return module


def _print(*values: object, **options: Any) -> None:
    """The user's ``print``: stdout is the run's own."""
    print(*values, **{"file": sys.stderr, **options})


class _Naming:
    """Turns what the user's code raises into an error of ours that names it, its message and its line."""

    def __init__(self, name: str, kind: Type[ToolkitError], file: Optional[str] = None) -> None:
        self._name = name
        self._kind = kind
        self._file = file or name.rpartition(":")[0]

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, ToolkitError):
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            lines = [number for frame, number in traceback.walk_tb(trace) if self._is_its(frame.f_code.co_filename)]
            if isinstance(error, SyntaxError) and error.filename and self._is_its(error.filename):
                lines.append(error.lineno or 0)
            where = f" ({self._file} line {lines[-1]})" if lines else ""
            raise self._kind(f"{self._name} raised {said}{where}") from error

    def _is_its(self, path: str) -> bool:
        return os.path.basename(path) == self._file


def verdict_of(result: object, name: str) -> Verdict:
    """What a function returned, as a verdict: a finite number, a bool or None, also numpy's and torch's.

    VerifierFailed, naming the function, for anything else.
    """
    if not isinstance(result, (numbers.Number, Decimal)) and hasattr(result, "item"):
        result = result.item()
    if result is None or isinstance(result, bool):
        return Verdict(result)
    if not isinstance(result, (numbers.Real, Decimal)):
        raise VerifierFailed(f"{name} gave a {type(result).__name__}, not a number, a bool or None")
    try:
        value = float(result)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise VerifierFailed(f"{name} gave {value}, which is no score")
    return Verdict(value)


def serve(target: str, timeout: str) -> None:
    """The worker process: a line of JSON for each check it is sent, until standard input ends.

    Standard input and output are put aside first: what the user's function reads and prints is not the protocol.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        check, ready = _load(target)
        _reply(replies, ready)
        for line in requests if check else ():
            faulthandler.dump_traceback_later(float(timeout) + GRACE, exit=True, file=null)
            reply = _answer(check, json.loads(line))
            faulthandler.cancel_dump_traceback_later()
            _reply(replies, reply)
    except BrokenPipeError:
        os._exit(1)  # nobody is there to read it


def _reply(replies: Any, reply: Dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")


def _load(target: str) -> Tuple[Optional[Check], Dict[str, Any]]:
    """The rule, and the line that says it is ready, or why it is not."""
    try:
        if target != "math":
            return load_check(target[len("python:") :]), {}
        _limit_memory()
        logging.disable()  # it would say that its own time-outs are off
        check_math("", "x=1", "2")  # what is loaded late is loaded before the clock runs
        return Check("math", check_math, False), {}
    except (ImportError, UsageError) as error:
        return None, {"error": f"said {error}"}


def _limit_memory() -> None:
    """Bounds this process's memory, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        resource = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_AS, (MATH_MEMORY, MATH_MEMORY))


def _answer(check: Optional[Check], request: List[Any]) -> Dict[str, Any]:
    assert check is not None
    try:
        with _Naming(check.name, VerifierFailed):
            result = check.function(*request)
            verdict = result if isinstance(result, Verdict) else verdict_of(result, check.name)
            return verdict._asdict()
    except VerifierFailed as error:
        return {"error": str(error)}
