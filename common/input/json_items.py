"""JSON text as a stream of items: a JSON list, or JSON lines, each item with the line it is on.

Example: ``for line, value in JsonText("data/input.json", open("data/input.json", "rb")): ...``
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from codecs import BOM_UTF8
from itertools import accumulate, chain, count
from typing import Any, Iterator, List, Optional, Tuple, Union

import ijson
import jsonlines

from ..errors import BadEntry, BrokenInput, UsageError
from .compressed import Unpacked, unpacked

OTHER_FORMATS = (
    (b"\xff\xfe", "it is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16; save it as UTF-8"),
)
DEEPEST = 500  # levels of nesting: the parser's memory grows with their square, and json's recursion ends near 1000
PIECE = 1 << 18  # bytes handed to the parser of a list at most at once

# JSON text up to the first escaped surrogate without its other half, or escape that the text breaks off in
WHOLE_ESCAPES = re.compile(rb"(?s)(?:[^\\]+|\\(?:[^u]|u(?:[^dD]|[dD](?:[0-7]|[89abAB]..\\u[dD][c-fC-F]))))*")
HALF_PAIR = re.compile(rb"(?i)\\ud[89a-f][0-9a-f]{2}")
PAIR_LENGTH = len(rb"\ud83d\ude00")
ESCAPE = re.compile(rb"(?s)\\.")
ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class JsonText:
    """The items of a JSON list or of JSON lines, plain or compressed, each after its line; memory holds one.

    Making one raises UsageError if the file is neither; iterating raises BrokenInput where it breaks off.
    A later line of JSON lines that is no JSON is an item of its own, with a BadEntry as its value.
    """

    unit = "line"

    def __init__(self, path: str, file: io.BufferedReader) -> None:
        self.path = path
        self.size = os.fstat(file.fileno()).st_size
        self.parsed = 0  # items found so far
        self._file = file
        self._stream = unpacked(path, file)
        self._taken = 0  # bytes of text so far
        self._first_line = 1
        start = self._stream.peek(PIECE)
        if start.startswith(BOM_UTF8):
            self._skip(len(BOM_UTF8))
            start = start[len(BOM_UTF8) :]
        while start and not start.strip():
            self._first_line += start.count(b"\n")
            self._skip(len(start))
            start = self._stream.peek(PIECE)
        first = start.lstrip()[:1]
        if first not in (b"[", b"{"):
            found = next((what for magic, what in OTHER_FORMATS if start.startswith(magic)), None)
            found = found or (f"it begins with {start[:20]!r}" if start else "it is empty")
            line = 1 if not start else self._first_line + start[: len(start) - len(start.lstrip())].count(b"\n")
            raise UsageError(f"{path}: line {line}: neither a JSON list nor JSON lines: {found}")
        self._is_list = first == b"["
        if self._is_list and hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(0)  # ijson's C code does not survive the error that a longer one is

    def __iter__(self) -> Iterator[Tuple[int, Union[Any, BadEntry]]]:
        return self._list_items() if self._is_list else self._lines()

    @property
    def position(self) -> int:
        """Bytes read so far, of ``size``: of a compressed file, compressed bytes."""
        raw = self._stream.raw
        return raw.taken if isinstance(raw, Unpacked) else self._taken

    def expected_items(self) -> Optional[int]:
        """How many items the whole file will have had, judged by what is read; None before anything is."""
        return round(self.parsed * max(1.0, self.size / self.position)) if self.parsed else None

    def close(self) -> None:
        self._file.close()

    def _skip(self, size: int) -> None:
        self._taken += len(self._stream.read(size))

    def _pieces(self, limit: int) -> Iterator[bytes]:
        """Lines, or pieces of lines longer than ``limit`` bytes (-1: none is)."""
        try:
            for piece in iter(lambda: self._stream.readline(limit), b""):
                self._taken += len(piece)
                yield piece
        except OSError as error:
            raise BrokenInput(f"cannot read {self.path}: {error.strerror or error}") from error

    def _lines(self) -> Iterator[Tuple[int, Union[Any, BadEntry]]]:
        reader = jsonlines.Reader(self._pieces(-1), loads=loads)
        for line in count(self._first_line):
            try:
                yield line, reader.read(allow_none=True)
                self.parsed += 1
            except jsonlines.InvalidLineError as error:
                if not error.line.strip():
                    continue
                reason = f"{self.path}: line {line}: broken JSON: {_trouble(error.__cause__)}"
                if not self.parsed:  # a file whose first line is broken is no JSONL
                    raise BrokenInput(reason) from error
                yield line, BadEntry(reason)
            except RecursionError:
                yield line, BadEntry(f"{self.path}: line {line}: nested too deep")
            except EOFError:
                return

    def _list_items(self) -> Iterator[Tuple[int, Union[Any, BadEntry]]]:
        """Feeds ijson line by line, so that an item and an error have the line they are on."""
        parser = _ListParser()
        line, begins = self._first_line, 0  # begins: where the item now being read starts, 0 before it does
        for piece in chain(self._pieces(PIECE), [b""]):
            if not begins and piece.strip(b" \t\r\n,[]"):
                begins = line
            broken = parser.feed(piece)
            self.parsed += len(parser.found)
            for value in parser.found:
                yield begins or line, value
            if broken is not None:
                raise BrokenInput(f"{self.path}: line {line}: broken JSON: {broken}")
            if parser.found:
                del parser.found[:]
                begins = line if piece.rstrip().endswith((b"{", b"[")) else 0
            line += piece.endswith(b"\n")


class _ListParser:
    """ijson's C parser, and what it must not be given: deep nesting and half surrogate pairs."""

    def __init__(self) -> None:
        self.found: List[Any] = ijson.sendable_list()
        self._parser = ijson.items_coro(self.found, "item")
        self._held = b""  # an escape that may go on in the next piece
        self._depth = 0
        self._in_text = 0  # 1 inside a string, 0 outside

    def feed(self, piece: bytes) -> Optional[str]:
        """Parses a further piece (the empty one is the end) into ``found``; what is wrong with it, if anything."""
        text = self._held + piece
        match = WHOLE_ESCAPES.match(text)
        whole = match.end() if match else 0
        rest, half = text[whole:], None
        if not piece or len(rest) >= PAIR_LENGTH or rest.endswith(b"\n"):  # no more of it will come
            half = HALF_PAIR.match(rest)  # the parser would put a question mark in its place
            whole = whole if half else len(text)
        self._held = text[whole:]
        if self._deepest(text[:whole]) > DEEPEST:
            return f"nested more than {DEEPEST} levels deep"
        try:
            if whole:
                self._parser.send(text[:whole])
            if not piece and not half:
                self._parser.close()
        except ijson.JSONError as error:
            return str(error).split("\n")[0].strip("b'\"")
        except UnicodeDecodeError as error:
            return str(error)
        except ArithmeticError:
            return "a number out of range"
        return f"{half[0].decode()} is half a surrogate pair" if half else None

    def _deepest(self, text: bytes) -> int:
        """The deepest level that ``text`` reaches, counted outside strings, on from where the last one ended."""
        parts = ESCAPE.sub(b"", text).split(b'"')
        outside = b"".join(parts[self._in_text :: 2])
        self._in_text ^= (len(parts) + 1) % 2
        steps = (STEP[sign] for sign in outside.translate(None, ALL_BUT_BRACKETS))
        levels = list(accumulate(steps, initial=self._depth))
        self._depth = levels[-1]
        return max(levels)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


_decode = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite).decode  # json.loads would make one a line


def loads(text: Union[str, bytes]) -> Any:
    """The value of a line of JSON; ValueError if it is none, or holds a number that JSON cannot."""
    return _decode(text if isinstance(text, str) else text.decode())


def _trouble(error: Optional[BaseException]) -> str:
    """What is wrong with a line, and where in it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return str(error)
