"""Checks one answer's code in processes of its own: one for the answer (in a sandbox), and one for the tests.

This process watches both: their time, and the memory and number of the answer's processes. It believes a result only if
it comes with the token of this check, which the tests' process sends after the last test. An exit code says nothing.

Example: ``load_rule("unshare", "30").check(json.dumps([{"test": "assert f() == 1"}, "test", ""]), None, answer)``
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict
from typing import Any

from .code_checker import Outcome, check, leave_streams
from .code_confine import MEMORY, PROCESSES, protect
from .code_remote import Remote
from .code_sandbox import command, environment
from .code_tests import RowTests, read_tests
from .process_tree import HAS_GUARD, SET_CHILD_SUBREAPER, _prctl, descendants, end_all
from .rules import Rule, Verdict

GRACE = 2.0  # seconds for the tests' process to say what happened, after the answer's was killed
OWN_PROCESSES = 16  # more than those of the sandbox, and of code that the system counts otherwise
LOOK_EVERY = 0.1  # seconds between two looks at the memory and the number of the answer's processes
CHECKER_MEMORY = 4 << 30  # bytes of address space of the tests' process


def load_rule(sandbox: str, timeout: str) -> Rule:
    """The rule ``check(question and tests, None, answer)``, whose ``why`` is the outcome as JSON."""
    protect()
    _prctl(SET_CHILD_SUBREAPER, 1)

    def rule(job: str, reference: str | None, answer: str, row: object = None) -> Verdict:
        extra, key, question = json.loads(job)
        tests = read_tests(extra, key, question)
        outcome = Outcome(why=tests) if isinstance(tests, str) else run(tests, answer, sandbox, float(timeout))
        value = None if outcome.why else outcome.of > 0 and outcome.passed == outcome.of
        return Verdict(value, json.dumps(asdict(outcome)))

    return Rule("code", rule)


def run(tests: RowTests, answer: str, sandbox: str, timeout: float) -> Outcome:
    """What the tests say of an answer's code."""
    folder = tempfile.mkdtemp(prefix="answer-")
    try:
        process = subprocess.Popen(
            command(sandbox, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment(),
        )
        try:
            return _watched(tests, answer, process, timeout)
        finally:
            _end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(tests: RowTests, answer: str, process: subprocess.Popen[bytes], timeout: float) -> Outcome:
    """The outcome that the tests' process sends, or why it sends none in time."""
    token = secrets.token_hex(16)
    read, write = os.pipe()
    checker = os.fork()
    if checker == 0:
        _run_checker(tests, answer, process, write, token)
    os.close(write)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        stopped, said = _wait(read, process.pid, timeout)
    finally:
        os.close(read)
        with contextlib.suppress(ProcessLookupError):
            os.kill(checker, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(checker, 0)
    return _outcome_of(said, token, stopped)


def _outcome_of(said: bytes, token: str, stopped: str | None) -> Outcome:
    sent, _, result = said.decode(errors="replace").partition("\n")
    if sent != token or not result.endswith("\n"):
        return Outcome(0, 1, stopped or "the process of the tests ended before the last test")
    outcome = Outcome(**json.loads(result))
    if stopped is not None:
        outcome.why, outcome.of = None, max(outcome.of, 1)
        outcome.passed = min(outcome.passed, outcome.of - 1)
        outcome.first_failure = stopped
    return outcome


def _run_checker(tests: RowTests, answer: str, process: subprocess.Popen[bytes], write: int, token: str) -> None:
    """In the tests' process: sends the token and the outcome after the last test, and ends."""
    try:
        _limit_memory()
        protect()
        leave_streams()
        os.environ.clear()
        outcome = Outcome()
        assert process.stdin is not None
        assert process.stdout is not None
        check(tests, answer, Remote(process.stdin, process.stdout), outcome)
        result = f"{token}\n{json.dumps(asdict(outcome))}\n".encode()
        while result:
            result = result[os.write(write, result) :]
    finally:
        os._exit(0)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (CHECKER_MEMORY, CHECKER_MEMORY))


def _wait(read: int, answer: int, timeout: float) -> tuple[str | None, bytes]:
    """(why the answer was stopped, what the tests' process sent)."""
    end, stopped, said = time.monotonic() + timeout, None, b""
    while True:
        left = end - time.monotonic()
        if select.select([read], [], [], max(0.0, min(left, LOOK_EVERY)))[0]:
            part = os.read(read, 1 << 16)
            said += part
            if not part:
                return stopped, said
        elif stopped is not None and left <= 0:
            return stopped, said
        elif stopped is None:
            stopped = f"it took longer than {timeout:g} s" if left <= 0 else _excess(answer)
            if stopped is not None:
                _kill_all(answer)
                end = time.monotonic() + GRACE


def _excess(answer: int) -> str | None:
    """The limit that the answer's processes are over, if any."""
    if not HAS_GUARD:
        return None
    below = descendants(answer)
    if len(below) > PROCESSES + OWN_PROCESSES:
        return f"it started more than {PROCESSES} processes"
    if sum(map(_memory, [answer, *below])) > MEMORY:
        return f"it used more than {MEMORY >> 30} GB of memory"
    return None


def _memory(pid: int) -> int:
    """The bytes of memory of a process."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _kill_all(answer: int) -> None:
    """Kills the answer's process and all that it started. Those in a sandbox end with its first process."""
    end_all(lambda: descendants(answer))
    with contextlib.suppress(ProcessLookupError):
        os.kill(answer, signal.SIGKILL)


def _end(process: subprocess.Popen[Any]) -> None:
    _kill_all(process.pid)
    process.wait()
    if HAS_GUARD:
        end_all(lambda: descendants(os.getpid()))  # what it left to others was given to this process
