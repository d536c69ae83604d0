"""Files: the input read as a stream, append-only outputs, what is done already, one run a file.

A record's line ends with its ``entry_id``, so a line that ends so is whole, and a scan for ids parses nothing.

Example: ``for line, item in InputFile("data/input.json"): ...``
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from codecs import BOM_UTF8
from typing import Any, BinaryIO, Iterator, List, NamedTuple, Union

import ijson
import jsonlines
from filelock import FileLock, Timeout

from common.errors import BadEntry, BrokenInput, RunStopped, UsageError
from common.records import id_key

log = logging.getLogger(__name__)

PIECE = 1 << 16  # bytes handed to the JSON parser at most at once
TAIL = b'"entry_id": "'
TAIL_LENGTH = len(TAIL) + 32 + len(b'"}\n')
OUR_LINES = (b'{"original_question": ', b'{"index": ')  # how records and ledger lines begin


class Item(NamedTuple):
    """One item of an input file: its line (from 1), and its value or why it has none."""

    line: int
    value: Union[Any, BadEntry]


class InputFile:
    """Streams the items of a JSON list or of JSONL; memory holds one item.

    Opening raises UsageError if the file is neither; iterating raises BrokenInput where a JSON list breaks off.
    A JSONL line that is no JSON is an item of its own, with a BadEntry as its value.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = open(path, "rb")
            start = self._file.peek(PIECE)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        self.position = 0  # bytes read so far, of ``size``
        if start.startswith(BOM_UTF8):
            start = start[len(BOM_UTF8) :]
            self._file.read(len(BOM_UTF8))
        first = start.lstrip()[:1]
        if first not in (b"[", b"{"):
            self.close()
            found = f"it begins with {start[:20]!r}" if start else "it is empty"
            raise UsageError(f"{path}: line 1: neither a JSON list nor JSON lines: {found}")
        self._is_list = first == b"["

    def __iter__(self) -> Iterator[Item]:
        return self._list_items() if self._is_list else self._lines()

    def close(self) -> None:
        self._file.close()

    def _pieces(self, limit: int) -> Iterator[bytes]:
        """Lines, or pieces of lines longer than ``limit`` bytes (-1: none is)."""
        for piece in iter(lambda: self._file.readline(limit), b""):
            self.position += len(piece)
            yield piece

    def _lines(self) -> Iterator[Item]:
        reader = jsonlines.Reader(self._pieces(-1), loads=json.loads)
        for line in itertools.count(1):
            try:
                yield Item(line, reader.read(allow_none=True))
            except jsonlines.InvalidLineError as error:
                if error.line.strip():
                    yield Item(line, BadEntry(f"{self.path}: line {line}: {error.__cause__}"))
            except RecursionError:
                yield Item(line, BadEntry(f"{self.path}: line {line}: nested too deep"))
            except EOFError:
                return

    def _list_items(self) -> Iterator[Item]:
        """Feeds ijson line by line, so that an item and an error have the line they are on."""
        found: List[Any] = ijson.sendable_list()
        parser = ijson.items_coro(found, "item", use_float=True)
        line, begins = 1, 0  # begins: where the item now being read starts, 0 before it does
        try:
            for piece in self._pieces(PIECE):
                if not begins and piece.strip(b" \t\r\n,[]"):
                    begins = line
                parser.send(piece)
                for value in found:
                    yield Item(begins, value)
                if found:
                    del found[:]
                    begins = 0
                line += piece.endswith(b"\n")
            parser.close()
        except ijson.JSONError as error:
            reason = str(error).split("\n")[0].strip("b'\"")
            raise BrokenInput(f"{self.path}: line {line}: broken JSON: {reason}") from error


def to_line(value: object) -> bytes:
    """One line of JSON with its newline; text as it is, but for lone surrogates, which UTF-8 cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value).encode() + b"\n"


class AppendFile:
    """An append-only file: each line is with the system, whole, before ``append`` returns.

    A line that does not fit (disk full) is cut away again and RunStopped raised.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        self.size = os.fstat(self._fd).st_size

    def append(self, value: object) -> None:
        """Writes one line."""
        line = to_line(value)
        try:
            written = os.write(self._fd, line)
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error
        self.size += len(line)

    def close(self) -> None:
        os.close(self._fd)


def repair_tail(path: str) -> None:
    """Cuts what follows the last newline: the torn line of a run that was killed while writing.

    Raises UsageError, and changes nothing, if the file is not one of ours or cannot be written.
    """
    try:
        with open(path, "r+b") as file:
            head = file.read(len(OUR_LINES[0]))
            if not any(head.startswith(ours[: len(head)]) for ours in OUR_LINES):
                raise UsageError(f"{path} exists and was not written by this toolkit; name another file or remove it")
            size = file.seek(0, os.SEEK_END)
            whole = _end_of_last_line(file, size)
            if whole < size:
                log.warning("%s: cut %d bytes of a torn last line; its entry is done again", path, size - whole)
                file.truncate(whole)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _end_of_last_line(file: BinaryIO, end: int) -> int:
    while end > 0:
        start = max(0, end - PIECE)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class LineAt(NamedTuple):
    """Where a line begins, and whose it is."""

    offset: int
    key: int


def scan(path: str) -> Iterator[LineAt]:
    """The place and id of each line of an output or ledger; none if there is no such file.

    Reads each line's last 48 bytes only. A line of another shape (written by hand) is parsed;
    UsageError names the one that cannot be.
    """
    if not os.path.exists(path):
        return
    offset = 0
    with open(path, "rb", buffering=1 << 20) as file:
        for number, line in enumerate(file, 1):
            tail = line[-TAIL_LENGTH:]
            if tail.startswith(TAIL) and tail.endswith(b'"}\n'):
                yield LineAt(offset, id_key(tail[len(TAIL) : -3].decode("ascii", "replace")))
            elif line.strip():
                yield LineAt(offset, _parsed_key(path, number, line))
            offset += len(line)


def _parsed_key(path: str, number: int, line: bytes) -> int:
    try:
        return id_key(json.loads(line)["entry_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: line {number} is damaged; remove that line and its entry is done again") from error


def read_records(path: str) -> Iterator[Any]:
    """The records of an output file, one at a time; none if there is no such file."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            yield from jsonlines.Reader(file, loads=json.loads).iter(skip_empty=True)


def hold(path: str) -> FileLock:
    """Locks ``path`` for this run (``path + ".lock"``); UsageError if another run has it. Release it at the end."""
    lock = FileLock(path + ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another run is writing {path}; wait for it, or name another file") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}.lock: {error.strerror}") from error
    return lock
