"""Output files: append-only, mended after a crash, written by one run at a time under whatever name it knows them by.

A record's line ends with its ``entry_id``, so a line that ends so is whole, and a scan for ids parses nothing.

Example: ``file = AppendFile(path, RECORDS); done = {key for _, key in scan(path)}; file.append(record)``
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import os
import re
import sys
from typing import Any, BinaryIO, Callable, Iterable, Iterator, NamedTuple, Sequence

from filelock import FileLock, Timeout

from ..errors import RunStopped, UsageError
from ..fast_json import dumps, exact_float
from ..records import id_key

log = logging.getLogger(__name__)

PIECE = 1 << 16  # bytes read at once, from the end, to find a file's last whole line
SCAN_PIECE = 1 << 18  # bytes read at once to find ids
TAIL_LENGTH = 48  # bytes of "entry_id": "..."} and its newline; one less without the space, which we do not write
OUR_TAIL = re.compile(rb'[^\\]?"entry_id": ?"([0-9a-f]{32})"\}\n')
FIRST_LINES = 3  # by which a file is known as ours: damage to one of them says nothing of the others
HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)  # another process has the lock
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # never an existing file, nor by a link


class Kind(NamedTuple):
    """What a file of ours holds: a name, a key that each of its lines has, and how they begin."""

    name: str
    key: str
    begins: bytes


RECORDS = Kind("record", "generated_answers", b'{"original_question":')
LEDGER = Kind("ledger line", "made_by", b'{"made_by":"')
FAILURES = Kind("failure", "stage", b'{"original_question":')


class Damaged(NamedTuple):
    """A line that cannot be read: its number (from 1), where it begins, and its bytes without the newline."""

    number: int
    offset: int
    size: int


def to_line(value: object) -> bytes:
    """One line of JSON with its newline."""
    return dumps(value) + b"\n"


class AppendFile:
    """An append-only file: each line is with the system, whole, before ``append`` or ``write`` returns.

    Making one locks the file itself, so no other run can write it by another name, and mends its last line if it is of
    a ``kind``. UsageError if another run has it, or it cannot be used.
    A line that does not fit (disk full) is cut away again and RunStopped raised.
    """

    def __init__(self, path: str, kind: Kind | None = None) -> None:
        self.path = path
        self._place = os.path.abspath(path)  # a user's function may change the working folder
        if kind is not None:
            _refuse_irregular(path)
        self._fd = _open_locked(path)
        try:
            if kind is not None:
                repair_tail(path, kind)
        except UsageError:
            os.close(self._fd)
            raise
        self.size = self._synced = os.fstat(self._fd).st_size

    def append(self, value: object) -> None:
        """Writes one line."""
        self.write(to_line(value))

    def write(self, lines: bytes) -> None:
        """Writes whole lines."""
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._fd, lines[written:] if written else lines)
        except OSError as error:
            whole = lines.rfind(b"\n", 0, written) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - (written - whole))
            written = whole
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            self.size += written

    def sync(self) -> None:
        """Sees to it that what was appended survives a power loss. RunStopped if it cannot, or if the file was moved,
        removed, replaced or cut by someone else. Another thread may write at the same time."""
        try:
            self._refuse(self._change())
            if self._synced < self.size:
                size = self.size
                getattr(os, "fdatasync", os.fsync)(self._fd)
                self._synced = size
        except OSError as error:
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error

    def check(self) -> None:
        """RunStopped unless the file at the path is this one, with every line that was written, and no other."""
        self.sync()
        if os.fstat(self._fd).st_size != self.size:
            self._refuse("changed by another program")

    def close(self) -> None:
        os.close(self._fd)

    def remove(self) -> None:
        """Closes the file and removes it, if the file at the path is this one. It says so if it cannot."""
        change = self._change()
        self.close()
        try:
            if change is None:
                os.remove(self._place)
        except OSError as error:
            change = f"not removed: {error.strerror}"
        if change is not None:
            log.warning("%s is not needed any more, but it was %s", self.path, change)

    def _refuse(self, change: str | None) -> None:
        if change is not None:
            raise RunStopped(f"{self.path} was {change} while it was written; run the same command again")

    def _change(self) -> str | None:
        """What someone else did to the file since it was opened, as far as it does harm."""
        at_least = self.size
        own = os.fstat(self._fd)
        try:
            there = os.stat(self._place)
        except (FileNotFoundError, NotADirectoryError):
            return "moved" if own.st_nlink else "removed"
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            return "replaced by another file"
        return "emptied or cut" if own.st_size < at_least else None


def _open_locked(path: str) -> int:
    """A file descriptor that can read and append; the file is locked for it, and made if it is missing."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    if not _lock(fd):
        os.close(fd)
        raise UsageError(f"another run is writing {path}; wait for it, or name another file")
    return fd


def _lock(fd: int) -> bool:
    """Locks an open file until it is closed; False if another process has it.

    True where the system or the file system cannot lock: there, the file beside the output is all that keeps others
    away (``lock_output``).
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD
    return True


def _refuse_irregular(path: str) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"{path} is not a regular file")


def write_whole(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file so that it is there whole or, after a crash or a full disk, as it was. OSError if it cannot."""
    with whole_file(path) as file:
        file.writelines(pieces)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` once the block ends well, and is gone if it does not.

    Where ``path`` is a link, the file that it leads to is replaced, and the link stays.
    """
    place = os.path.realpath(path)
    fd, partial = _new_part(place)
    try:
        with open(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise


def _new_part(place: str) -> tuple[int, str]:
    """A new file beside ``place``, under a name that no file has."""
    for number in itertools.count(1):
        partial = f"{place}.{number}.part"
        with contextlib.suppress(FileExistsError):
            return os.open(partial, NEW, 0o666), partial
    raise AssertionError


def remove_parts(path: str) -> None:
    """Removes what runs that were killed while they wrote ``path`` left beside it. OSError if it cannot."""
    for number in itertools.count(1):
        try:
            os.remove(f"{path}.{number}.part")
        except FileNotFoundError:
            return


def repair_tail(path: str, kind: Kind) -> None:
    """Mends the last line of a run that was killed while writing: cuts it if torn, ends it if only its newline lacks.

    Raises UsageError, and changes nothing, if the file holds something else than ``kind`` or cannot be written.
    """
    if not os.path.exists(path):
        return
    _refuse_irregular(path)
    try:
        with open(path, "r+b") as file:
            if not _holds(file, kind):
                raise UsageError(f"{path} exists and holds no {kind.name}s; name another file, or move it away")
            size = file.seek(0, os.SEEK_END)
            whole = _end_of_last_line(file, size)
            file.seek(whole)
            torn = file.read()
            if _is_whole(torn):
                file.write(b"\n")
            elif torn:
                log.warning("%s: cut %d bytes of a torn last line; what it held is asked for again", path, size - whole)
                file.truncate(whole)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def check_kind(path: str, kind: Kind) -> None:
    """UsageError if there is a file that holds something else, or cannot be read."""
    if os.path.exists(path):
        _refuse_irregular(path)
        try:
            if not is_of_kind(path, kind):
                raise UsageError(f"{path} exists and holds no {kind.name}s; name another file, or move it away")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error


def is_of_kind(path: str, kind: Kind) -> bool:
    """Whether an existing file holds lines of a kind, or nothing. OSError if it cannot be read."""
    with open(path, "rb") as file:
        return _holds(file, kind)


def _holds(file: BinaryIO, kind: Kind) -> bool:
    """Whether a file is empty or of ``kind``: by its first line, or where that is damaged by one of the next."""
    first = file.readline()
    if not first.endswith(b"\n") and not _is_whole(first):
        there = first.rstrip(b"\0").replace(b'": ', b'":', 1)  # a power loss may leave zeros in place of a line
        return there[: len(kind.begins)] == kind.begins[: len(there)]
    return any(_is_ours(line, kind) for line in (first, *itertools.islice(file, FIRST_LINES - 1)))


def _is_ours(line: bytes, kind: Kind) -> bool:
    """Whether a line is of ``kind``: by its keys, and where it is no JSON by how it begins or ends."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        begins = line.endswith(b"\n") and line.replace(b'": ', b'":', 1).startswith(kind.begins)
        ends = OUR_TAIL.search(line[-TAIL_LENGTH:]) is not None
        return begins or (ends and b'"%s":' % kind.key.encode() in line)
    return isinstance(value, dict) and "entry_id" in value and kind.key in value


def _is_whole(line: bytes) -> bool:
    """Whether a line without a newline lacks nothing else."""
    try:
        return bool(re.search(rb'"entry_id": ?"[^"\\]*"\}$', line)) and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _end_of_last_line(file: BinaryIO, end: int) -> int:
    while end > 0:
        start = max(0, end - PIECE)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def scan(path: str, damaged: Callable[[Damaged], object] | None = None) -> Iterator[tuple[int, int]]:
    """(offset, id) of each line of an output or ledger; none if there is no such file.

    Reads each line's last 48 bytes only. A line of another shape (written by hand) is parsed; one that cannot be is
    given to ``damaged``, or UsageError names it.
    """
    if not os.path.exists(path):
        return
    number = offset = 0  # lines before ``data``, and where it begins in the file
    data = b""
    with open(path, "rb", buffering=0) as file:
        while True:
            piece = file.read(SCAN_PIECE)
            data += piece or b"\n"  # behind the last line there may be none
            begin, end = 0, data.find(b"\n") + 1
            while end:
                number += 1
                ours = OUR_TAIL.fullmatch(data, max(begin, end - TAIL_LENGTH), end)
                if ours:
                    yield offset + begin, int(ours[1], 16)
                elif data[begin:end].strip():
                    key = _parsed_key(data[begin:end])
                    if key is not None:
                        yield offset + begin, key
                    elif damaged is not None:
                        damaged(Damaged(number, offset + begin, end - begin - 1))
                    else:
                        raise UsageError(f"{path}: line {number} is damaged; remove it, and its entry is done again")
                begin, end = end, data.find(b"\n", end) + 1
            if not piece:
                return
            data, offset = data[begin:], offset + begin


def _parsed_key(line: bytes) -> int | None:
    """The id of a line of another shape; None if it has none."""
    try:
        return id_key(json.loads(line)["entry_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_records(path: str, damaged: Callable[[Damaged], object] | None = None) -> Iterator[Any]:
    """The records of an output file, one at a time; none if there is no such file.

    A line that is not JSON is given to ``damaged``, or RunStopped names it.
    """
    if not os.path.exists(path):
        return
    offset = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    record = json.loads(line, parse_float=exact_float)
                except (ValueError, RecursionError) as error:
                    if damaged is None:
                        text = f"{path}: line {number} is damaged; remove it and run again"
                        raise RunStopped(text) from error
                    damaged(Damaged(number, offset, len(line.rstrip(b"\r\n"))))
                else:
                    yield record
            offset += len(line)


def set_aside(path: str, lines: Sequence[Damaged]) -> str:
    """Moves damaged lines of an output to ``path + ".damaged"``, and says so in one line.

    Spaces take their place: all that reads an output passes over a blank line. UsageError if a file cannot be written.
    """
    aside = path + ".damaged"
    try:
        with open(path, "r+b") as file, open(aside, "ab") as kept:
            for line in lines:
                file.seek(line.offset)
                kept.write(file.read(line.size) + b"\n")
            kept.flush()
            os.fsync(kept.fileno())
            for line in lines:
                file.seek(line.offset)
                file.write(b" " * line.size)
    except OSError as error:
        raise UsageError(f"cannot move the damaged lines of {path} to {aside}: {error.strerror}") from error
    numbers = ", ".join(str(line.number) for line in lines[:5]) + (", ..." if len(lines) > 5 else "")
    return f"{path}: damaged and moved to {aside}: line{'s' * (len(lines) > 1)} {numbers}"


def lock_output(path: str) -> FileLock:
    """Makes the folder of ``path`` and locks the file for this run, by ``path + ".lock"``; release it at the end.

    UsageError if another run has it, or it cannot be locked.
    """
    place = path + ".lock"
    lock = FileLock(place)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if not _is_lock(place):  # some versions of filelock would empty it
            raise UsageError(f"{place} exists and is not a lock file; name another output, or remove it")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another run is writing {path}; wait for it, or name another file") from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"cannot lock {place}: {error}") from error
    return lock


def _is_lock(place: str) -> bool:
    """Whether a path is free for a lock file, or has one: it is empty, or begins with the id of a process."""
    if not os.path.lexists(place):
        return True
    if os.path.islink(place) or not os.path.isfile(place):
        return False
    with open(place, "rb") as file:
        start = file.read(16)
    return not start or start[:1].isdigit()
