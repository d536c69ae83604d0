"""Lines in the order of their keys, however many there are: memory holds a megabyte or two, files hold the rest.

An external merge sort: runs that fit in memory are sorted and written to a temporary file; merging reads many runs at
once (Knuth, The Art of Computer Programming, volume 3, section 5.4). Lines with equal keys keep their order.

>>> with SortedLines() as lines:
...     lines.add(("b", 1), b"first\\n")
...     lines.add(("a", 2), b"second\\n")
...     list(lines)
[b'second\\n', b'first\\n']
"""

from __future__ import annotations

import heapq
import tempfile
from operator import itemgetter
from types import TracebackType
from typing import IO, Any, Iterable, Iterator, NamedTuple

from ..fast_json import dumps, loads

RUN_BYTES = 1 << 20  # of lines that memory holds
LINE_COST = 200  # bytes that a line takes in memory beside its text
MOST_RUNS = 64  # that are merged at once
BUFFER = 1 << 14  # bytes of a run that are read at once


class Run(NamedTuple):
    """A part of a temporary file, whose lines are sorted."""

    file: IO[bytes]
    start: int
    end: int


class SortedLines:
    """Takes lines, each after its key (a tuple of texts and numbers), and gives them in the order of their keys.

    ``folder`` is where the temporary files lie; they have no name, and vanish with this object. OSError if a file
    cannot be written.
    """

    def __init__(self, folder: str | None = None, run_bytes: int = RUN_BYTES) -> None:
        self._folder = folder
        self._run_bytes = run_bytes
        self._held: list[tuple[tuple[Any, ...], bytes]] = []  # each key ends with the number of its line
        self._size = 0
        self._count = 0
        self._levels: list[list[Run]] = []  # the runs of level n were merged n times
        self._files: list[IO[bytes]] = []  # of the runs, by level

    def __enter__(self) -> SortedLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for file in self._files:
            file.close()

    def add(self, key: tuple[Any, ...], line: bytes) -> None:
        """Takes a line, which ends with its only newline."""
        self._held.append(((*key, self._count), line))
        self._count += 1
        self._size += len(line) + LINE_COST
        if self._size >= self._run_bytes:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """All lines, once."""
        self._held.sort(key=itemgetter(0))
        runs = [_read(run) for level in self._levels for run in level]
        for _, line in heapq.merge(*runs, self._held, key=itemgetter(0)):
            yield line

    def _spill(self) -> None:
        """Writes the held lines as a run."""
        self._held.sort(key=itemgetter(0))
        self._write(0, self._held)
        self._held, self._size = [], 0

    def _write(self, level: int, lines: Iterable[tuple[tuple[Any, ...], bytes]]) -> None:
        """Writes lines as a run of a level. Enough runs of one level become a run of the next."""
        if level == len(self._levels):
            self._levels.append([])
            self._files.append(tempfile.TemporaryFile(dir=self._folder))
        file = self._files[level]
        start = file.seek(0, 2)
        for key, line in lines:
            file.write(dumps(key) + b"\t" + line)
        self._levels[level].append(Run(file, start, file.tell()))
        if len(self._levels[level]) == MOST_RUNS:
            self._write(level + 1, heapq.merge(*map(_read, self._levels[level]), key=itemgetter(0)))
            self._levels[level] = []
            file.seek(0)
            file.truncate()


def _read(run: Run) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """The lines of a run, each after its key."""
    at, rest = run.start, b""
    while at < run.end:
        run.file.seek(at)
        piece = run.file.read(min(BUFFER, run.end - at))
        at += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            key, _, text = line.partition(b"\t")
            yield tuple(loads(key)), text + b"\n"
