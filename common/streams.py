"""The streams and the signals of a command: no fault of theirs ends a run, or changes its exit code.

A reader that went away (``| head``), a full disk behind ``>`` and a closed stream cost only what was to be shown.

Example: ``open_all(); end_at_once("sampling.py"); ...; let_interrupts_raise(); ...; flush_all()``
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Iterator, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BY_DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


def open_all() -> None:
    """Opens the standard streams that are closed, on nothing: else the next file that is opened would take their place,
    and get whatever is printed."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: ``fd``
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))


def say(text: str, stream: TextIO) -> str | None:
    """Prints a text at once. Returns the reason if the stream does not take it; from then on it takes nothing."""
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        _silence(stream)
        return error.strerror or str(error)
    return None


def flush_all() -> None:
    """Flushes stdout and stderr, so that Python's own flush at the end cannot fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Leads a stream to nothing, with the rest that it still holds."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


# Signals


def end_at_once(prog: str) -> None:
    """Until ``let_interrupts_raise``, Ctrl-C and SIGTERM end the process with one line: nothing was begun yet.

    An exception would surface anywhere in the imports, and some packages lose it. Signals that are ignored stay so.
    """

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{prog}: interrupted before the run began\n".encode())
        os._exit(130)

    for name in SIGNALS:
        if signal.getsignal(name) in _BY_DEFAULT:
            signal.signal(name, end)


def let_interrupts_raise() -> None:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, if ``end_at_once`` was called before."""
    for name in SIGNALS:
        if getattr(signal.getsignal(name), "__module__", None) == __name__:
            signal.signal(name, signal.default_int_handler)


@contextlib.contextmanager
def kept_signals() -> Iterator[None]:
    """Restores the handlers of the signals, which an event loop takes away when it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(name, signal.getsignal(name)) for name in SIGNALS]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)
