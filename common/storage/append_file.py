"""Output files: append-only and mended after a crash, what is done already, one run a file.

A record's line ends with its ``entry_id``, so a line that ends so is whole, and a scan for ids parses nothing.

Example: ``repair_tail(path, RECORDS); done = {key for _, key in scan(path)}; AppendFile(path).append(record)``
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from typing import Any, BinaryIO, Iterable, Iterator, NamedTuple

import jsonlines
from filelock import FileLock, Timeout

from ..errors import RunStopped, UsageError
from ..fast_json import dumps
from ..records import id_key

log = logging.getLogger(__name__)

PIECE = 1 << 16  # bytes read at once, from the end, to find a file's last whole line
SCAN_PIECE = 1 << 18  # bytes read at once to find ids
TAIL_LENGTH = 48  # bytes of "entry_id": "..."} and its newline; one less without the space, which we do not write
OUR_TAIL = re.compile(rb'[^\\]?"entry_id": ?"([0-9a-f]{32})"\}\n')


class Kind(NamedTuple):
    """What a file of ours holds: a name, a key that each of its lines has, and how they begin."""

    name: str
    key: str
    begins: bytes


RECORDS = Kind("record", "generated_answers", b'{"original_question":')
LEDGER = Kind("ledger line", "made_by", b'{"made_by":"')


def to_line(value: object) -> bytes:
    """One line of JSON with its newline."""
    return dumps(value) + b"\n"


class AppendFile:
    """An append-only file: each line is with the system, whole, before ``append`` or ``write`` returns.

    A line that does not fit (disk full) is cut away again and RunStopped raised.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
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
            written = lines.rfind(b"\n", 0, written) + 1
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size + written)
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            self.size += written

    def sync(self) -> None:
        """Sees to it that what was appended survives a power loss; RunStopped if it cannot, or the file is gone."""
        try:
            if os.fstat(self._fd).st_nlink == 0:
                raise RunStopped(f"{self.path} was removed while it was written; run the same command again")
            if self._synced < self.size:
                size = self.size
                getattr(os, "fdatasync", os.fsync)(self._fd)
                self._synced = size
        except OSError as error:
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._fd)


def write_whole(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file so that it is there whole or, after a crash or a full disk, as it was. OSError if it cannot."""
    with whole_file(path) as file:
        file.writelines(pieces)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` once the block ends well, and is gone if it does not."""
    partial = path + ".part"
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise


def repair_tail(path: str, kind: Kind) -> None:
    """Mends the last line of a run that was killed while writing: cuts it if torn, ends it if only its newline lacks.

    Raises UsageError, and changes nothing, if the file holds something else than ``kind`` or cannot be written.
    """
    if not os.path.exists(path):
        return
    try:
        if not os.path.isfile(path):
            raise UsageError(f"{path} is not a regular file")
        with open(path, "r+b") as file:
            if not _is_ours(file.readline(), kind):
                raise UsageError(f"{path} exists and holds no {kind.name}s; name another file, or remove it")
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


def _is_ours(first_line: bytes, kind: Kind) -> bool:
    """Whether a file that begins so is of ``kind``: a whole line by its keys, a torn one by how it begins."""
    if not first_line.endswith(b"\n") and not _is_whole(first_line):
        there = first_line.rstrip(b"\0").replace(b'": ', b'":', 1)  # a power loss may leave zeros in place of a line
        return there[: len(kind.begins)] == kind.begins[: len(there)]
    try:
        value = json.loads(first_line)
    except (ValueError, RecursionError):
        return False
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


def scan(path: str) -> Iterator[tuple[int, int]]:
    """(offset, id) of each line of an output or ledger; none if there is no such file.

    Reads each line's last 48 bytes only. A line of another shape (written by hand) is parsed;
    UsageError names the one that cannot be.
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
                    yield offset + begin, _parsed_key(path, number, data[begin:end])
                begin, end = end, data.find(b"\n", end) + 1
            if not piece:
                return
            data, offset = data[begin:], offset + begin


def _parsed_key(path: str, number: int, line: bytes) -> int:
    try:
        return id_key(json.loads(line)["entry_id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: line {number} is damaged; remove that line and its entry is done again") from error


def read_records(path: str) -> Iterator[Any]:
    """The records of an output file, one at a time; none if there is no such file."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            try:
                yield from jsonlines.Reader(file, loads=json.loads).iter(skip_empty=True)
            except jsonlines.InvalidLineError as error:
                raise RunStopped(f"{path}: line {error.lineno} is damaged; remove it and run again") from error


def lock_output(path: str) -> FileLock:
    """Makes the folder of ``path`` and locks the file for this run, by ``path + ".lock"``; release it at the end.

    UsageError if another run has it, or it cannot be locked.
    """
    lock = FileLock(path + ".lock")
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another run is writing {path}; wait for it, or name another file") from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"cannot lock {path}.lock: {error}") from error
    return lock
