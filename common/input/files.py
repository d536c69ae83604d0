"""The input as a stream of items, each with its line: JSON, JSON lines (either compressed too), Parquet, or a folder.

Example: ``for line, item in InputFile("data/input.json"): ...``
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from typing import Any, Iterator, List, NamedTuple, NoReturn, Optional, Union

from ..errors import BadEntry, BrokenInput, UsageError
from .json_items import JsonText
from .parquet import PARQUET, Table

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")  # what is taken of a folder
_Part = Union[JsonText, Table]


class Item(NamedTuple):
    """One item of an input: its line (from 1; of a folder counted on), and its value or why it has none."""

    line: int
    value: Union[Any, BadEntry]


class Place(NamedTuple):
    """Where an item stands: its file, and there its ``line``, or its ``row`` in Parquet."""

    file: str
    unit: str
    number: int


class InputFile:
    """Streams the items of a file, or of a folder's files in the order of their names.

    Memory holds one item, or one batch of Parquet's rows.
    What a file is, its first bytes tell. Making one raises UsageError if it is none of these (of a folder: any of its
    files); iterating raises BrokenInput where it turns out to be damaged. A later JSON line that is no JSON is an item
    of its own, with a BadEntry as its value.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_folder = os.path.isdir(path)
        self._parts = [_look(one) for one in _files(path)] if self.is_folder else [_open(path)]
        self._begins: List[int] = []  # the line before the first of each part that is reached
        self.size = sum(part.size for part in self._parts)

    def __iter__(self) -> Iterator[Item]:
        line = 0
        for number, part in enumerate(self._parts):
            if self.is_folder:
                part = self._parts[number] = _open_again(part.path)
            before = line
            self._begins.append(before)
            for here, value in part:
                line = before + here
                yield Item(line, value)
            part.close()

    @property
    def position(self) -> int:
        """Bytes read so far, of ``size``."""
        return sum(part.position for part in self._parts)

    @property
    def parsed(self) -> int:
        """Items found so far."""
        return sum(part.parsed for part in self._parts)

    def expected_items(self) -> Optional[int]:
        """How many items there will have been, judged by what is read; None before anything is.

        Parquet says its number; of a folder's other files, those to come are judged by the rest.
        """
        counts = [(part.expected_items(), part.size) for part in self._parts]
        known = [(items, size) for items, size in counts if items is not None]
        if not known:
            return None
        items, size = map(sum, zip(*known))
        return round(items * self.size / size) if size else items

    def place(self, line: int) -> Place:
        """Where the item with that line stands."""
        number = bisect_left(self._begins, line) - 1
        part = self._parts[number]
        return Place(part.path, part.unit, line - self._begins[number])

    def close(self) -> None:
        for part in self._parts:
            part.close()


def _open(path: str) -> _Part:
    """One file, told by its first bytes; UsageError if it is nothing that can be read."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open(path, "rb"))
            part: _Part = Table(path, file) if file.peek(len(PARQUET)).startswith(PARQUET) else JsonText(path, file)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        except BrokenInput as error:
            raise UsageError(str(error)) from error
        stack.pop_all()
        return part


def _look(path: str) -> _Part:
    """One file of a folder, looked at and closed: of many, one is open at a time."""
    part = _open(path)
    part.close()
    return part


def _open_again(path: str) -> _Part:
    """A file of a folder when its turn comes; BrokenInput if it is no longer what it was."""
    try:
        return _open(path)
    except UsageError as error:
        raise BrokenInput(str(error)) from error


def _files(folder: str) -> List[str]:
    """The data files in a folder and those below, hidden ones left out, in the order of their names."""
    found: List[str] = []
    others: List[str] = []
    for place, below, names in os.walk(folder, onerror=_refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                (found if name.endswith(ENDINGS) else others).append(os.path.join(place, name))
    if not found:
        arrow = any(name.endswith(".arrow") for name in others)
        hint = "; it is of save_to_disk: write its dataset with to_parquet instead" if arrow else ""
        raise UsageError(f"the folder {folder} holds no {', '.join(ENDINGS)} file{hint}")
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error
