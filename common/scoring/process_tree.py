"""Everything that a process started, also in sessions of its own: it ends with the process.

On Linux, a guard stands between this process and the one that runs a rule. It adopts what the rule's process leaves
behind, and ends all of it when that process has ended, or this one. Elsewhere, what a rule's process started is found
by ``ps`` before the process is killed.

Example: ``guard(stdin=0)`` returns in a new process, whose descendants end with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType, TracebackType
from typing import Callable, Iterator

HAS_GUARD = sys.platform == "linux"
SET_PARENT_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # of prctl
LONGEST_END = 5  # seconds until a process that does not end is left to itself


def guard(stdin: int) -> None:
    """Goes on in a child process; this process waits for the child's end, or for that of ``stdin``, and then exits.

    It exits as the child did, after it has ended all that the child started. Does nothing except on Linux.
    """
    if not HAS_GUARD:
        return
    _prctl(SET_CHILD_SUBREAPER, 1)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _ignore)
    here = os.getpid()
    child = os.fork()
    if child == 0:
        _leave_guard(here, awake, wake)
        return
    os.close(1)
    status = _status_of(child, stdin, awake)
    end_all(lambda: descendants(here))
    _exit_as(status)


def _leave_guard(parent: int, *pipe: int) -> None:
    """In the child: undoes what only the guard needs, and sees to it that the child ends with the guard."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for end in pipe:
        os.close(end)
    os.setsid()  # what a rule does to its own process group does not reach the guard
    _prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _ignore(_: int, __: FrameType | None) -> None:
    """A handler that does nothing, so that the signal only wakes the guard."""


def _prctl(option: int, value: int) -> None:
    """Sets an option of this process, if the system has it."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # not every Python has it

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _status_of(child: int, stdin: int, awake: int) -> int:
    """The child's status at its end. The child is killed once the guard is told to end, or nobody holds its stdin."""
    poll = select.poll()
    poll.register(awake, select.POLLIN)
    poll.register(stdin, 0)  # only its end
    while True:
        for ended, status in _ended_children():
            if ended == child:
                return status
        for descriptor, _ in poll.poll():
            if descriptor == stdin or signal.SIGTERM in os.read(awake, 1 << 10):
                os.kill(child, signal.SIGKILL)
                return os.waitpid(child, 0)[1]


def _ended_children() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            yield pid, status
            pid, status = os.waitpid(-1, os.WNOHANG)


def _exit_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)


def end_all(find: Callable[[], list[int]]) -> None:
    """Kills the processes that ``find`` finds, until it finds none; those that cannot be killed are left."""
    until = time.monotonic() + LONGEST_END
    found = find()
    while found and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for _ in _ended_children():
            pass
        time.sleep(0.001)
        found = find()


def descendants(pid: int) -> list[int]:
    """The processes below a process that have not ended yet."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        below = children.pop(todo.pop(), [])
        found += below
        todo += below
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all processes that have not ended."""
    if HAS_GUARD:
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]  # the name before may hold anything
                if state not in (b"Z", b"X"):
                    yield int(name), int(parent)
        return
    table = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=False).stdout
    for pid, parent_pid, stat in (line.split()[:3] for line in table.splitlines()):
        if not stat.startswith("Z"):
            yield int(pid), int(parent_pid)


class EndsForks:
    """Ends a forked copy of this process that leaves the ``with`` block: it must not go on with this one's work.

    The copy exits as if it had left the program: with 0, the code of SystemExit, or 1 after any other exception.
    """

    def __enter__(self) -> None:
        self._owner = os.getpid()

    def __exit__(self, _: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if os.getpid() != self._owner:
            if error is not None and not isinstance(error, SystemExit):
                sys.excepthook(type(error), error, trace)
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(_code_of(error))


def _code_of(error: BaseException | None) -> int:
    code = error.code if isinstance(error, SystemExit) else 0 if error is None else 1
    return code & 0xFF if isinstance(code, int) else 0 if code is None else 1
