"""Near copies of rows, wherever they stand in a file: the first one stays.

Two rows are near copies if their texts share at least ``threshold`` of their runs of three words (Jaccard index).
MinHash finds the pairs to compare (Broder 1997), by bands of its hashes (locality-sensitive hashing: Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). It may miss one pair in a hundred at the threshold itself,
and fewer above it. Each pair that it finds is compared for real, so no row goes for a chance.

Files hold the rows, their bands and the pairs. Memory holds one byte per row.

Example: ``with NearCopies(0.8, lambda line: Row(line.decode(), [])) as copies: copies.add(line); list(copies.found())``
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from functools import lru_cache
from operator import itemgetter
from typing import IO, Any, Callable, FrozenSet, Iterable, Iterator, NamedTuple

from ...extras import require
from ...fast_json import dumps, loads
from ...storage.sorted_lines import SortedLines
from .words import shingles, similarity

HASHES = 128  # of a text
RECALL = 0.99  # of the pairs whose similarity is the threshold
SEED = 1
MOST_IN_BUCKET = 8  # rows of one bucket that each later one is compared with, and the last one before it
IN_MEMORY = 256  # rows whose words are held for further comparisons


class Row(NamedTuple):
    """What is compared: a text, and its images, which must be equal."""

    text: str
    images: list[str]


class Found(NamedTuple):
    """A line, and the earlier line that it is a near copy of, if there is one."""

    line: bytes
    of: bytes | None = None
    similarity: float = 0.0


class NearCopies:
    """Takes the lines of rows, then says of each, in the same order, whether it is a near copy of an earlier one.

    Used as ``with``. ``row_of`` makes the row of a line. ``folder`` is where the temporary files lie. OSError if one
    cannot be written.
    """

    def __init__(self, threshold: float, row_of: Callable[[bytes], Row], folder: str | None = None) -> None:
        self._threshold = threshold
        self._row_of = row_of
        self._width = band_width(threshold)
        self._new_hash = load_minhash()
        self._closing = contextlib.ExitStack()
        self._lines: IO[bytes] = self._closing.enter_context(tempfile.TemporaryFile(dir=folder))
        self._bands = self._closing.enter_context(SortedLines(folder))
        self._pairs = self._closing.enter_context(SortedLines(folder))
        self._count = 0
        self._read = lru_cache(IN_MEMORY)(self._compared_at)

    def __enter__(self) -> NearCopies:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, line: bytes) -> None:
        """Takes the line of a row, which ends with its only newline."""
        at = self._lines.tell()
        self._lines.write(line)
        hashes = self._hashes(self._row_of(line).text)
        for band in range(HASHES // self._width):
            key = hash((band, *hashes[band * self._width : (band + 1) * self._width]))
            self._bands.add((key,), dumps([key, self._count, at]) + b"\n")
        self._count += 1

    def _hashes(self, text: str) -> list[int]:
        minhash = self._new_hash(HASHES, SEED)
        minhash.update([shingle.encode("utf-8", "replace") for shingle in shingles(text)])
        return list(minhash.digest())

    def found(self) -> Iterator[Found]:
        """Each line, in order, with what it is a near copy of."""
        self._find_pairs()
        removed = bytearray(self._count)
        by_row = itertools.groupby(map(loads, self._pairs), key=lambda pair: pair[0][0])
        number, pairs = next(by_row, (self._count, ()))
        at = 0
        for current in range(self._count):
            self._lines.seek(at)
            found = Found(self._lines.readline())
            at += len(found.line)
            if current == number:
                found = self._compared(found.line, pairs, removed)
                number, pairs = next(by_row, (self._count, ()))
            removed[current] = found.of is not None
            yield found

    def _find_pairs(self) -> None:
        """Takes the pairs of rows that are in one bucket, under the numbers of the later and the earlier row."""
        for _, places in itertools.groupby(map(loads, self._bands), key=itemgetter(0)):
            first: list[Any] = []
            last: list[Any] = []
            for _, *place in places:
                for earlier in first + last:
                    self._pairs.add((place[0], earlier[0]), dumps([place, earlier]) + b"\n")
                if len(first) < MOST_IN_BUCKET:
                    first.append(place)
                else:
                    last = [place]

    def _compared(self, line: bytes, pairs: Iterable[Any], removed: bytearray) -> Found:
        """A line with the first earlier one that is still there and that it is a near copy of."""
        before = -1
        for (_, at), (earlier, earlier_at) in pairs:
            if earlier == before or removed[earlier]:
                continue
            before = earlier
            (own, images), (other, other_images) = self._read(at), self._read(earlier_at)
            alike = similarity(own, other) if images == other_images else 0.0
            if alike >= self._threshold:
                self._lines.seek(earlier_at)
                return Found(line, self._lines.readline(), alike)
        return Found(line)

    def _compared_at(self, at: int) -> tuple[FrozenSet[str], list[str]]:
        """What is compared of the row whose line begins there."""
        self._lines.seek(at)
        row = self._row_of(self._lines.readline())
        return shingles(row.text), row.images


def load_minhash() -> Any:
    """The class of the package rensa; UsageError if it is not installed."""
    return require("rensa", "--near_duplicates", "clean").RMinHash


def band_width(threshold: float) -> int:
    """The hashes per band: as many as leave the probability of ``RECALL`` for a pair of that similarity.

    >>> band_width(0.8), band_width(0.5), band_width(1.0)
    (6, 3, 128)
    """
    widths = [w for w in range(1, HASHES + 1) if 1 - (1 - threshold**w) ** (HASHES // w) >= RECALL]
    return max(widths, default=1)
