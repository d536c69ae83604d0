"""JSON files: a JSON list, JSON lines, or a single object. Each item comes with the line on which it begins.

A list whose first item is a turn is a conversation: then each line is such a list, or the whole file is one.

Example: ``for line, value in JsonReader("input.json", open("input.json", "rb")): ...``
"""

from __future__ import annotations

import functools
import io
import os
import re
from codecs import BOM_UTF8
from typing import Any, Callable, Iterator

from ..errors import BadEntry, BrokenInput, UsageError
from .compressed import Unpacked
from .json_list import JsonList
from .strict_json import LONGEST_ITEM, STRICT, TOO_LONG, loads, reason

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PIECE = 1 << 18  # bytes of a list that are read at once
TURN_KEYS = ({"role", "content"}, {"from", "value"})
ENTRY_KEYS = {"conversations", "messages", "prompt", "question"}  # an object with one of these is an entry
LONG_TURN = re.compile(
    r'\{\s*"(role|from|content|value)"\s*:\s*["\[]'
)  # how a turn begins that is not there as a whole


PASSED_AT_ONCE = 256  # known lines that are one item


class Passed(int):
    """The item that stands for this many known lines, and has the number of the last: nobody needs their values."""


def known_to_nobody(line: bytes) -> bool:
    """The usual ``is_known``: each line is read."""
    return False


class JsonReader:
    """The items of a JSON list or of JSON lines, each after its line. Memory holds one item.

    If the first line is not JSON, but the whole file is (a pretty-printed object), the file is one item.
    Making a reader raises UsageError if the file is neither. Iterating raises BrokenInput at damage. After the first
    line, a line that is not JSON is only a BadEntry in place of its value.
    """

    endings: tuple[str, ...] = tuple(
        ending + packed for ending in (".json", ".jsonl") for packed in ("", ".gz", ".zst")
    )
    unit = "line"
    shape = "JSON Lines"

    @staticmethod
    def accepts(path: str, start: bytes) -> bool:
        """Always: this reader also explains why a file of an unknown format cannot be read."""
        return True

    def __init__(self, path: str, stream: io.BufferedReader) -> None:
        self.path = path
        self.size = os.fstat(stream.fileno()).st_size
        self._stream = stream
        self._items = 0  # that were read so far
        self._bytes = 0  # of text that were read so far
        self._first_line = 1
        self._list: JsonList | None = None
        self.is_known: Callable[[bytes], bool] = known_to_nobody  # of a line: whether it is passed over
        if self._skip_to_start() == b"[" and not begins_with_turn(stream.peek(PIECE)):
            self.shape = "a JSON list"
            self._list = JsonList(path, self._pieces(lambda: stream.read1(PIECE)), self._first_line)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for item in self._lines() if self._list is None else self._list:
            self._items += 1
            yield item

    def expected_items(self) -> int | None:
        """The number of items in the whole file, estimated from the part that was read. None before the first item."""
        if not self._items:
            return None
        raw = self._stream.raw
        read = raw.taken if isinstance(raw, Unpacked) else self._bytes
        used = self._bytes - (0 if self._list is None else self._list.unread)
        return round(self._items * max(1.0, self.size * self._bytes / (read * used)))

    def close(self) -> None:
        self._stream.close()

    def _skip_to_start(self) -> bytes:
        """Skips a byte order mark and blank lines. Returns the bracket with which the items begin."""
        start = self._stream.peek(PIECE)
        if start.startswith(BOM_UTF8):
            self._skip(len(BOM_UTF8))
            start = start[len(BOM_UTF8) :]
        while start and not start.strip():
            self._first_line += start.count(b"\n")
            self._skip(len(start))
            start = self._stream.peek(PIECE)
        bracket = start.lstrip()[:1]
        if bracket not in (b"[", b"{"):
            line = self._first_line + start[: len(start) - len(start.lstrip())].count(b"\n") if start else 1
            raise UsageError(f"{self.path}: line {line}: neither a JSON list nor JSON lines: {_what_it_is(start)}")
        return bracket

    def _skip(self, size: int) -> None:
        self._bytes += len(self._stream.read(size))

    def _pieces(self, read: Callable[[], bytes]) -> Iterator[bytes]:
        """All that ``read`` gives, until it gives nothing."""
        try:
            for piece in iter(read, b""):
                self._bytes += len(piece)
                yield piece
        except OSError as error:
            raise BrokenInput(f"cannot read {self.path}: {error.strerror or error}") from error

    def _lines(self) -> Iterator[tuple[int, Any]]:
        passed = number = 0
        for number, line in enumerate(self._pieces(self._next_line), self._first_line):
            is_known = self.is_known(line)
            passed += is_known
            if passed == PASSED_AT_ONCE or (passed and not is_known):
                yield number - (not is_known), self._passed(passed)
                passed = 0
            if is_known:
                continue
            if len(line) > LONGEST_ITEM:
                yield number, BadEntry(f"{self.path}: line {number}: {TOO_LONG}")
            elif line.strip():
                yield number, self._value(number, line) if self._items else self._first_value(number, line)
        if passed:
            yield number, self._passed(passed)

    def _passed(self, count: int) -> Passed:
        self._items += count - 1
        return Passed(count)

    def _next_line(self) -> bytes:
        """The next line. A line that is too long is cut just behind the limit."""
        line = self._stream.readline(LONGEST_ITEM + 1)
        rest = line if len(line) > LONGEST_ITEM else b""
        while rest and not rest.endswith(b"\n"):
            rest = self._stream.readline(PIECE)
            self._bytes += len(rest)
        return line

    def _value(self, number: int, line: bytes) -> Any:
        try:
            return loads(line)
        except (ValueError, RecursionError) as error:
            what = "" if isinstance(error, RecursionError) else "broken JSON: "
            return BadEntry(f"{self.path}: line {number}: {what}{reason(error)}")

    def _first_value(self, number: int, line: bytes) -> Any:
        """The value of the first line, or of the whole file. BrokenInput if neither is JSON: this is not JSON lines."""
        value = self._value(number, line)
        if not isinstance(value, BadEntry) or str(value).endswith(reason(RecursionError())):
            return value
        try:
            rest = next(self._pieces(functools.partial(self._stream.read, LONGEST_ITEM - len(line))), b"")
            return loads(line + rest)
        except (ValueError, RecursionError) as error:
            raise BrokenInput(str(value)) from error


def begins_with_turn(start: bytes) -> bool:
    """Whether the text of a list begins with a turn: an object of ``role`` and ``content``, or ``from`` and ``value``.

    >>> begins_with_turn(b'[{"role": "user", "content": "2+2?"}, ...'), begins_with_turn(b'[{"messages": [...')
    (True, False)
    """
    text = start.decode("utf-8", "replace").lstrip().lstrip("\ufeff")[1:].lstrip()
    try:
        first, _ = STRICT.raw_decode(text)
    except (ValueError, RecursionError):
        return LONG_TURN.match(text) is not None
    return isinstance(first, dict) and any(keys <= first.keys() for keys in TURN_KEYS) and not first.keys() & ENTRY_KEYS


def _what_it_is(start: bytes) -> str:
    if not start:
        return "it is empty"
    return "it is UTF-16; save it as UTF-8" if start.startswith(UTF_16) else f"it begins with {start[:20]!r}"
