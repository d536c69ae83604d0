"""The input file, or a folder of input files, as a stream of items, each with its line.

To add a format, write a ``Reader`` in a file of its own, and add it to ``READERS``.

Example: ``for line, value in InputFile("data/input.json"): ...``
"""

from __future__ import annotations

import contextlib
import io
import os
from bisect import bisect_left
from collections import Counter
from typing import Any, Callable, Iterator, NamedTuple, Protocol

from ..errors import BrokenInput, UsageError
from ..images import LFS_POINTER
from ..records import Origin
from .compressed import unpacked
from .delimited import DelimitedReader
from .folders import input_files
from .json_items import JsonReader, known_to_nobody
from .parquet import ParquetReader

START = 32  # bytes of a file by which its format is detected


class Reader(Protocol):
    """One open file of a format, as a stream of its items.

    Making a reader raises UsageError if the file cannot be read. Iterating raises BrokenInput at damage, after all
    items before the damage. The stream is unpacked already if the file is compressed.
    """

    endings: tuple[str, ...]  # of the names of such files: a folder is searched for them
    unit: str  # what the numbers of the items count: "line" or "row"
    shape: str  # of the file, for a person: "a JSON list"
    path: str
    size: int  # bytes of the file

    @staticmethod
    def accepts(path: str, start: bytes) -> bool:
        """Whether a file with that name and those first (unpacked) bytes is of this format."""

    def __init__(self, path: str, stream: io.BufferedReader) -> None: ...

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """Each item after its number (from 1). The item is a JSON value, or a BadEntry if only this item is wrong."""

    def expected_items(self) -> int | None:
        """The number of items in the whole file, perhaps estimated. None if it is unknown so far."""

    def close(self) -> None: ...


# The first reader that accepts a file reads it. JsonReader accepts every file, so it must be the last.
READERS: tuple[type[Reader], ...] = (
    ParquetReader,
    DelimitedReader,
    JsonReader,
)


class Item(NamedTuple):
    """One item of an input. ``line`` is its number (from 1), which goes on from file to file in a folder.

    ``value`` is a JSON value, or a BadEntry with the reason why there is none.
    """

    line: int
    value: Any


class Place(NamedTuple):
    """Where an item is: its file, and its ``number`` there, counted in ``unit`` (line or row)."""

    file: str
    unit: str
    number: int


class InputFile:
    """The items of a file, or of a folder's files in the order of their names. Memory holds what a ``Reader`` holds.

    Making one raises UsageError if the file, or any file of the folder, cannot be read. Iterating raises BrokenInput
    at damage.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_folder = os.path.isdir(path)
        self._readers = [_checked(file) for file in _files(path)] if self.is_folder else [_open(path)]
        self._starts: list[int] = []  # for each file that was begun: the number of lines before its first line
        self._is_known: Callable[[bytes], bool] = known_to_nobody

    def pass_over(self, is_known: Callable[[bytes], bool]) -> None:
        """From now on, lines of JSON Lines that are known are not read. A ``Passed`` stands for those in a row."""
        self._is_known = is_known
        for reader in self._readers:
            self._tell_known(reader)

    def _tell_known(self, reader: Reader) -> None:
        if isinstance(reader, JsonReader):
            reader.is_known = self._is_known

    def __iter__(self) -> Iterator[Item]:
        line = 0
        for index, reader in enumerate(self._readers):
            if self.is_folder:
                reader = self._readers[index] = _open_again(reader.path)
                self._tell_known(reader)
            start = line
            self._starts.append(start)
            for number, value in reader:
                line = start + number
                yield Item(line, value)
            reader.close()

    @property
    def shape(self) -> str:
        """What the input is, for a person ("a JSON list"): of a folder, the shapes of its files."""
        shapes = Counter(reader.shape for reader in self._readers)
        if not self.is_folder:
            return self._readers[0].shape
        return "a folder of " + ", ".join(f"{count:,} x {shape}" for shape, count in shapes.items())

    def expected_items(self) -> int | None:
        """The number of items in the whole input, estimated from the part that was read. None if it is unknown so far.

        In a folder, the files that are known stand for the others, by their sizes.
        """
        counts = [(reader.expected_items(), reader.size) for reader in self._readers]
        known = [(items, size) for items, size in counts if items is not None]
        if not known:
            return None
        items, size = map(sum, zip(*known))
        return round(items * sum(reader.size for reader in self._readers) / size) if size else items

    def place(self, line: int) -> Place:
        """Where the item with that line is."""
        index = bisect_left(self._starts, line) - 1
        reader = self._readers[index]
        return Place(reader.path, reader.unit, line - self._starts[index])

    def origin(self, line: int) -> Origin:
        """Where the item with that line is, as a record says it: in a folder, with the file's path from there."""
        if not self.is_folder:
            return Origin(line)
        place = self.place(line)
        return Origin(place.number, os.path.relpath(place.file, self._path))

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


def _open(path: str) -> Reader:
    """One file with the reader that accepts it. UsageError if it cannot be read."""
    with contextlib.ExitStack() as stack:
        try:
            stream = unpacked(path, stack.enter_context(open(path, "rb")))
            start = stream.peek(START)
            if start.startswith(LFS_POINTER):
                raise UsageError(f"{path} is a git-lfs pointer, not the data; get the data with: git lfs pull")
            reader = next(reader for reader in READERS if reader.accepts(path, start))(path, stream)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        except BrokenInput as error:
            raise UsageError(str(error)) from error
        stack.pop_all()
        return reader


def _checked(path: str) -> Reader:
    """One file of a folder, opened and closed again: only one file of a folder is open at a time."""
    reader = _open(path)
    reader.close()
    return reader


def _open_again(path: str) -> Reader:
    """A file of a folder when its turn comes. BrokenInput if it changed and cannot be read any more."""
    try:
        return _open(path)
    except UsageError as error:
        raise BrokenInput(str(error)) from error


def _files(folder: str) -> list[str]:
    """The input files in a folder and in the folders below, sorted by name."""
    return input_files(folder, [ending for reader in READERS for ending in reader.endings])
