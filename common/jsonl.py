"""Files: the input read as a stream, append-only outputs, what is done already, one run a file.

A record's line ends with its ``entry_id``, so a line that ends so is whole, and a scan for ids parses nothing.

Example: ``for line, item in InputFile("data/input.json"): ...``
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
from codecs import BOM_UTF8
from itertools import chain, count
from typing import Any, BinaryIO, Iterator, List, NamedTuple, Optional, Union

import ijson
import jsonlines
from filelock import FileLock, Timeout

from common.errors import BadEntry, BrokenInput, RunStopped, UsageError
from common.records import id_key

log = logging.getLogger(__name__)

PIECE = 1 << 16  # bytes handed to the JSON parser at most at once
TAIL_LENGTH = 48  # bytes of "entry_id": "..."} and its newline
OUR_TAIL = re.compile(rb'"entry_id": "([0-9a-f]{32})"\}\n')


class Kind(NamedTuple):
    """What a file of ours holds: a name, a key that each of its lines has, and how they begin."""

    name: str
    key: str
    begins: bytes


RECORDS = Kind("record", "generated_answers", b'{"original_question": ')
LEDGER = Kind("ledger line", "made_by", b'{"made_by": "')


# an escaped surrogate without its other half, which at a piece's end may be in the next one
HALF_PAIR = re.compile(
    rb"(?i)(?<!\\)(?:\\\\)*(?:(\\ud[89ab][0-9a-f]{2})(?!\\ud[c-f])(?=[^\\]|\\.)"
    rb"|(?<!\\ud[89ab][0-9a-f]{2})(?<=.{6})(\\ud[c-f][0-9a-f]{2}))"
)


class Item(NamedTuple):
    """One item of an input file: its line (from 1), and its value or why it has none."""

    line: int
    value: Union[Any, BadEntry]


class InputFile:
    """Streams the items of a JSON list or of JSONL; memory holds one item.

    Opening raises UsageError if the file is neither; iterating raises BrokenInput where a JSON list breaks off.
    A later JSONL line that is no JSON is an item of its own, with a BadEntry as its value.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = open(path, "rb")
            start = self._file.peek(PIECE)
            self.size = os.fstat(self._file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        self.position = 0  # bytes read so far, of ``size``
        self.parsed = 0  # items found in them
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

    def expected_items(self) -> Optional[int]:
        """How many items the whole file will have had, judged by what is read; None before anything is."""
        return round(self.parsed * max(1.0, self.size / self.position)) if self.parsed else None

    def close(self) -> None:
        self._file.close()

    def _pieces(self, limit: int) -> Iterator[bytes]:
        """Lines, or pieces of lines longer than ``limit`` bytes (-1: none is)."""
        for piece in iter(lambda: self._file.readline(limit), b""):
            self.position += len(piece)
            yield piece

    def _lines(self) -> Iterator[Item]:
        reader = jsonlines.Reader(self._pieces(-1), loads=_loads)
        for line in count(1):
            try:
                yield Item(line, reader.read(allow_none=True))
                self.parsed += 1
            except jsonlines.InvalidLineError as error:
                if not error.line.strip():
                    continue
                reason = f"{self.path}: line {line}: broken JSON: {_trouble(error.__cause__)}"
                if not self.parsed:  # a file whose first line is broken is no JSONL
                    raise BrokenInput(reason) from error
                yield Item(line, BadEntry(reason))
            except RecursionError:
                yield Item(line, BadEntry(f"{self.path}: line {line}: nested too deep"))
            except EOFError:
                return

    def _list_items(self) -> Iterator[Item]:
        """Feeds ijson line by line, so that an item and an error have the line they are on."""
        found: List[Any] = ijson.sendable_list()
        parser = ijson.items_coro(found, "item")
        line, begins = 1, 0  # begins: where the item now being read starts, 0 before it does
        for piece in chain(self._pieces(PIECE), [b""]):
            if not begins and piece.strip(b" \t\r\n,[]"):
                begins = line
            broken = _feed(parser, piece)
            self.parsed += len(found)
            for value in found:
                yield Item(begins or line, value)
            if broken is not None:
                raise BrokenInput(f"{self.path}: line {line}: broken JSON: {broken}")
            if found:
                del found[:]
                begins = line if piece.rstrip().endswith((b"{", b"[")) else 0
            line += piece.endswith(b"\n")


def _feed(parser: Any, piece: bytes) -> Optional[str]:
    """Hands a piece (the empty one is the end) to an ijson coroutine; what is wrong with it, if anything."""
    half = HALF_PAIR.search(piece)
    if half:  # the parser would put a question mark in its place
        return f"{(half[1] or half[2]).decode()} is half a surrogate pair"
    try:
        if piece:
            parser.send(piece)
        else:
            parser.close()
    except ijson.JSONError as error:
        return str(error).split("\n")[0].strip("b'\"")
    except UnicodeDecodeError as error:
        return str(error)
    return None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


_loads = functools.partial(json.loads, parse_constant=_refuse)


def _trouble(error: Optional[BaseException]) -> str:
    """What is wrong with a line, and where in it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return str(error)


def to_line(value: object) -> bytes:
    """One line of JSON with its newline; text as it is, but for lone surrogates, which UTF-8 cannot hold.

    Decimals, which ijson makes of fractions, become floats.
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=float).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=float).encode() + b"\n"


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
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error
        self.size += len(line)

    def close(self) -> None:
        os.close(self._fd)


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
        return first_line[: len(kind.begins)] == kind.begins[: len(first_line)]
    try:
        value = json.loads(first_line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "entry_id" in value and kind.key in value


def _is_whole(line: bytes) -> bool:
    """Whether a line without a newline lacks nothing else."""
    try:
        return bool(re.search(rb'"entry_id": "[^"\\]*"\}$', line)) and isinstance(json.loads(line), dict)
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
            ours = OUR_TAIL.fullmatch(line[-TAIL_LENGTH:])
            if ours:
                yield LineAt(offset, int(ours[1], 16))
            elif line.strip():
                yield LineAt(offset, _parsed_key(path, number, line))
            offset += len(line)


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


def hold(path: str) -> FileLock:
    """Locks ``path`` for this run (``path + ".lock"``); UsageError if another run has it. Release it at the end."""
    lock = FileLock(path + ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"another run is writing {path}; wait for it, or name another file") from error
    except (OSError, NotImplementedError) as error:
        raise UsageError(f"cannot lock {path}.lock: {error}") from error
    return lock
