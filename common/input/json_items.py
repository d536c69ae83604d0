"""JSON files: a JSON list, or JSON lines. Each item comes with the line on which it begins.

Example: ``for line, value in JsonReader("input.json", open("input.json", "rb")): ...``
"""

from __future__ import annotations

import io
import os
from codecs import BOM_UTF8
from typing import Any, Callable, Iterator

from ..errors import BadEntry, BrokenInput, UsageError
from .compressed import Unpacked
from .json_list import JsonList
from .strict_json import LONGEST_ITEM, TOO_LONG, loads, reason

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PIECE = 1 << 18  # bytes of a list that are read at once


class JsonReader:
    """The items of a JSON list or of JSON lines, each after its line. Memory holds one item.

    Making a reader raises UsageError if the file is neither. Iterating raises BrokenInput at damage. After the first
    line, a line that is not JSON is only a BadEntry in place of its value.
    """

    endings: tuple[str, ...] = (".jsonl", ".jsonl.gz", ".jsonl.zst")
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
        if self._skip_to_start() == b"[":
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
        for number, line in enumerate(self._pieces(self._next_line), self._first_line):
            if len(line) > LONGEST_ITEM:
                yield number, BadEntry(f"{self.path}: line {number}: {TOO_LONG}")
            elif line.strip():
                yield number, self._value(number, line)

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
            broken = f"{self.path}: line {number}: {what}{reason(error)}"
            if not self._items and what:  # a file whose first line is broken is not JSON lines
                raise BrokenInput(broken) from error
            return BadEntry(broken)


def _what_it_is(start: bytes) -> str:
    if not start:
        return "it is empty"
    return "it is UTF-16; save it as UTF-8" if start.startswith(UTF_16) else f"it begins with {start[:20]!r}"
