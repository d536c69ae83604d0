"""Files: the input read as a stream, append-only outputs, what is done already, one run a file.

A record's line ends with its ``entry_id``, so a line that ends so is whole, and a scan for ids parses nothing.

Example: ``for line, item in InputFile("data/input.json"): ...``
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import math
import os
import re
import sys
from codecs import BOM_UTF8
from decimal import Decimal
from itertools import chain, count
from typing import Any, BinaryIO, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

import ijson
import jsonlines
from filelock import FileLock, Timeout

from common.errors import BadEntry, BrokenInput, RunStopped, UsageError
from common.records import id_key

log = logging.getLogger(__name__)

OTHER_FORMATS = (
    (b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
    (b"PAR1", "it is Parquet; convert it to JSON lines first"),
)
DEEPEST = 5000  # levels of nesting in one item: the parser's memory grows with their square
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


# JSON text up to the first escaped surrogate without its other half, or escape that the text breaks off in
WHOLE_ESCAPES = re.compile(rb"(?s)(?:[^\\]+|\\(?:[^u]|u(?:[^dD]|[dD](?:[0-7]|[89abAB]..\\u[dD][c-fC-F]))))*")
HALF_PAIR = re.compile(rb"(?i)\\ud[89a-f][0-9a-f]{2}")
PAIR_LENGTH = len(rb"\ud83d\ude00")


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
            found = next((what for magic, what in OTHER_FORMATS if start.startswith(magic)), None)
            found = found or (f"it begins with {start[:20]!r}" if start else "it is empty")
            raise UsageError(f"{path}: line 1: neither a JSON list nor JSON lines: {found}")
        self._is_list = first == b"["
        if self._is_list and hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(0)  # ijson's C code does not survive the error that a longer one is

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
        line, depth, begins = 1, 0, 0  # begins: where the item now being read starts, 0 before it does
        held = b""  # an escape that may go on in the next piece
        for piece in chain(self._pieces(PIECE), [b""]):
            if not begins and piece.strip(b" \t\r\n,[]"):
                begins = line
            depth += sum(piece.count(sign) for sign in (b"[", b"{")) - sum(piece.count(sign) for sign in (b"]", b"}"))
            if depth > DEEPEST:
                raise BrokenInput(f"{self.path}: line {line}: nested more than {DEEPEST} levels deep")
            broken, held = _feed(parser, held + piece, last=not piece)
            self.parsed += len(found)
            for value in found:
                yield Item(begins or line, value)
            if broken is not None:
                raise BrokenInput(f"{self.path}: line {line}: broken JSON: {broken}")
            if found:
                del found[:]
                depth = 0  # braces inside texts count too, so it starts anew with each item
                begins = line if piece.rstrip().endswith((b"{", b"[")) else 0
            line += piece.endswith(b"\n")


def _feed(parser: Any, text: bytes, last: bool) -> Tuple[Optional[str], bytes]:
    """Hands text to an ijson coroutine: what is wrong with it, if anything, and the end that is to come again."""
    match = WHOLE_ESCAPES.match(text)
    whole = match.end() if match else 0
    rest, half = text[whole:], None
    if last or len(rest) >= PAIR_LENGTH or rest.endswith(b"\n"):  # no more of it will come
        half = HALF_PAIR.match(rest)  # the parser would put a question mark in its place
        if not half:
            whole = len(text)
    try:
        if whole:
            parser.send(text[:whole])
        if last and not half:
            parser.close()
    except ijson.JSONError as error:
        return str(error).split("\n")[0].strip("b'\""), b""
    except UnicodeDecodeError as error:
        return str(error), b""
    except ArithmeticError:
        return "a number out of range", b""
    return half and f"{half[0].decode()} is half a surrogate pair", text[whole:]


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


_loads = functools.partial(json.loads, parse_constant=_refuse, parse_float=_finite)


def _trouble(error: Optional[BaseException]) -> str:
    """What is wrong with a line, and where in it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return str(error)


def _fraction(value: Decimal) -> Union[float, str]:
    """A Decimal, which ijson makes of fractions, as JSON can hold it."""
    return float(value) if math.isfinite(float(value)) else str(value)


def to_line(value: object) -> bytes:
    """One line of JSON with its newline; text as it is, but for lone surrogates, which UTF-8 cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_fraction).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, default=_fraction).encode() + b"\n"


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
        self.size = self._synced = os.fstat(self._fd).st_size

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

    def sync(self) -> None:
        """Sees to it that what was appended survives a power loss; RunStopped if it cannot, or the file is gone."""
        try:
            if os.fstat(self._fd).st_nlink == 0:
                raise RunStopped(f"{self.path} was removed while it was written; run the same command again")
            if self._synced < self.size:
                size = self.size
                os.fsync(self._fd)
                self._synced = size
        except OSError as error:
            raise RunStopped(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._fd)


def write_whole(path: str, pieces: Iterable[bytes]) -> None:
    """Writes a file so that it is there whole or, after a crash or a full disk, as it was. OSError if it cannot."""
    partial = path + ".part"
    try:
        with open(partial, "wb") as file:
            file.writelines(pieces)
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
