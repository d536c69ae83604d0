"""The ledger: an append-only file with one line for each answer and each score that was paid for.

Indexed by entry at start, two 8-byte numbers a line, and only for entries that are not in the output;
a line is read and parsed when its entry's turn comes. A damaged line is named and passed over: only what it held is
asked for again.

Example: ``for line in ledger.recall(entry.entry_id): ...; ledger.append(answer_line(...))``
"""

from __future__ import annotations

import contextlib
import logging
import re
from array import array
from typing import BinaryIO, Callable, Collection, Container, Iterator

from ..records import Record, id_key
from .append_file import LEDGER, OUR_TAIL, PIECE, TAIL_LENGTH, AppendFile, scan
from .ledger_lines import ANY, Range, from_line, to_checked_line

log = logging.getLogger(__name__)

Wants = Callable[[int, int, str], bool]  # whether an entry's answer at an index is to have these settings

NAMED = 10  # damaged lines that are named; the others are counted

START = re.compile(
    rb'\{"made_by": ?"(?P<made_by>(?P<scorer>[^":]*)[^"]*)", ?"index": ?(?P<index>\d+), ?"(?P<kind>\w+)"'
)


class LedgerIndex:
    """The lines of a ledger, read without a change: those of entries that are not ``done`` (ids as ints).

    Scores outside ``score_range`` are not recalled.
    """

    def __init__(self, path: str, done: Container[int], score_range: Range = ANY) -> None:
        self.path = path
        self._range = score_range
        self._damaged = 0  # lines
        self._latest: dict[int, int] = {}  # entry -> its last line's number in the two arrays
        self._offset = array("q")
        self._before = array("q")  # the same entry's line before this one, or -1
        for offset, key in scan(path, lambda damaged: self._name(damaged.number)):
            if key not in done:
                self._note(offset, key)
        self._reader: BinaryIO | None = open(path, "rb") if self._latest else None

    def __contains__(self, entry_id: str) -> bool:
        """Whether there are lines of the entry that are not forgotten."""
        return id_key(entry_id) in self._latest

    def recall(self, entry_id: str, forget: bool = True) -> list[Record]:
        """The entry's lines in the order they were written; with ``forget``, they are forgotten here with that."""
        key = id_key(entry_id)
        number = self._latest.pop(key, -1) if forget else self._latest.get(key, -1)
        lines = []
        while number >= 0:
            lines += self._read(self._offset[number])
            number = self._before[number]
        return lines[::-1]

    def _note(self, offset: int, key: int) -> None:
        """Notes where the entry's newest line begins."""
        self._before.append(self._latest.get(key, -1))
        self._latest[key] = len(self._offset)
        self._offset.append(offset)

    def _read(self, offset: int) -> list[Record]:
        """The line that begins there; nothing if it is damaged, or a score outside the range."""
        if self._reader is None:
            self._reader = open(self.path, "rb")
        self._reader.seek(offset)
        try:
            line = from_line(self._reader.readline())
        except ValueError:
            self._reader.seek(0)
            self._name(1 + _newlines(self._reader, offset))
            return []
        score = line.get("score")
        return [line] if score is None or self._range[0] <= score <= self._range[1] else []

    def _name(self, number: int) -> None:
        """Names a damaged line."""
        self._damaged += 1
        if self._damaged <= NAMED:
            log.warning("%s: line %d is damaged; what it held is asked for again", self.path, number)

    def close_reader(self) -> None:
        """Closes the file that ``recall`` reads."""
        if self._reader is not None:
            self._reader.close()
        if self._damaged > NAMED:
            log.warning("%s: %d more lines are damaged", self.path, self._damaged - NAMED)


class Ledger(LedgerIndex):
    """Opens ``path`` (made if missing, its torn tail repaired) to read and to append.

    ``schedule_flush`` is called with the first line after each ``flush``, and arranges the next flush. Until another
    function is set, it is ``flush`` itself. With ``keeps_track``, the lines that are appended can be recalled too.
    """

    def __init__(self, path: str, done: Container[int], score_range: Range = ANY) -> None:
        self._file = AppendFile(path, LEDGER)
        self._lines: list[bytes] = []
        self._size = self._file.size  # with the lines that are not flushed
        self.keeps_track = False
        self.schedule_flush: Callable[[], object] = self.flush
        super().__init__(path, done, score_range)

    @property
    def leftover(self) -> bool:
        """Whether lines of entries that were not recalled are still in it."""
        return bool(self._latest)

    def holds_only(self, wants: Wants, scorers: Collection[str]) -> bool:
        """Whether all its lines are answers that the job wants, and scores with these fingerprints of settings."""
        with open(self.path, "rb") as file:
            for line in file:
                start = START.match(line)
                if start is None:
                    return False
                if start["kind"] != b"answer":
                    is_in_output = start["scorer"].decode() in scorers
                else:
                    tail = OUR_TAIL.search(line[-TAIL_LENGTH:])
                    made_by, index = start["made_by"].decode(), int(start["index"])
                    is_in_output = tail is not None and wants(int(tail[1], 16), index, made_by)
                if not is_in_output:
                    return False
        return True

    def recall(self, entry_id: str, forget: bool = True) -> list[Record]:
        """As that of the index; with the lines that were just appended."""
        if self.keeps_track:
            self.flush()
        return super().recall(entry_id, forget)

    def forget(self, entry_id: str) -> None:
        """Forgets the entry's lines: the output has what they hold."""
        self._latest.pop(id_key(entry_id), None)

    def append(self, line: Record) -> None:
        """Writes one line; it is with the system after the next ``flush``."""
        text = to_checked_line(line)
        if self.keeps_track:
            self._note(self._size, id_key(line["entry_id"]))
        self._size += len(text)
        self._lines.append(text)
        if len(self._lines) == 1:
            self.schedule_flush()

    def flush(self) -> None:
        """Hands all that was appended to the system."""
        lines, self._lines = b"".join(self._lines), []
        self._file.write(lines)

    def sync(self) -> None:
        """Sees to it that what was appended survives a power loss."""
        self._file.sync()

    def close(self, remove: bool = False) -> None:
        """Closes the file; removes it where the output now holds all of it, or it is empty."""
        self.close_reader()
        if remove or self._file.size == 0:
            self._file.remove()
        else:
            self._file.close()


def lines_of(path: str, keys: Container[int]) -> Iterator[Record]:
    """The lines of these entries in a ledger, in the order of the file. Damaged lines are left out."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for offset, key in scan(path, lambda damaged: None):
            if key in keys:
                file.seek(offset)
                with contextlib.suppress(ValueError):
                    yield from_line(file.readline())


def _newlines(file: BinaryIO, size: int) -> int:
    """The number of newlines in the next bytes of a file."""
    found = 0
    while size > 0:
        piece = file.read(min(size, PIECE))
        found += piece.count(b"\n")
        size -= len(piece) or size
    return found
