"""CSV and TSV files as a stream of rows, each with the line on which it begins. The first row names the keys.

Example: ``for line, row in DelimitedReader("train.csv", open("train.csv", "rb")): ...``
"""

from __future__ import annotations

import csv
import io
import os
from typing import Any, Iterator

from ..errors import BadEntry, BrokenInput, UsageError
from .cells import Cell
from .compressed import Unpacked

ENDINGS = (".csv", ".tsv")
DELIMITERS = ",;\t|"
LARGEST_CELL = 100 << 20  # bytes; a quote that is never closed ends here
BOM = "\ufeff"


class DelimitedReader:
    """The rows of a CSV or TSV file, each after its line. Memory holds one row.

    All values are the texts of ``Cell``. Empty cells are left out. Making a reader raises
    UsageError if the file has no header. Iterating raises BrokenInput at damage.
    """

    endings: tuple[str, ...] = tuple(ending + packed for ending in ENDINGS for packed in ("", ".gz", ".zst"))
    unit = "line"
    shape = "CSV"

    @classmethod
    def accepts(cls, path: str, start: bytes) -> bool:
        """Whether a file has the name of such a file."""
        return path.lower().endswith(cls.endings)

    def __init__(self, path: str, stream: io.BufferedReader) -> None:
        self.path = path
        self.size = os.fstat(stream.fileno()).st_size
        self._stream = stream
        self._rows = 0  # that were read so far
        self._bytes = 0  # that were read so far
        csv.field_size_limit(LARGEST_CELL)
        first = stream.peek().split(b"\n")[0].decode("utf-8", "replace")
        delimiter = "\t" if ".tsv" in path.lower() else max(DELIMITERS, key=first.count)
        self.shape = "TSV" if delimiter == "\t" else self.shape
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        self._header = self._read_header()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        while True:
            line = self._reader.line_num + 1
            row = self._next_row()
            if row is None:
                return
            if row:
                self._rows += 1
                yield line, self._value(line, row)

    def expected_items(self) -> int | None:
        """The number of rows in the whole file, estimated from the part that was read. None before the first row."""
        if not self._rows:
            return None
        raw = self._stream.raw
        read = raw.taken if isinstance(raw, Unpacked) else self._bytes
        return round(self._rows * max(1.0, self.size / read))

    def close(self) -> None:
        self._stream.close()

    def _lines(self) -> Iterator[str]:
        """The lines as text. Bytes that are not UTF-8 are lone surrogates, which ``_value`` finds."""
        for number, line in enumerate(self._stream):
            self._bytes += len(line)
            text = line.decode("utf-8", "surrogateescape")
            yield text[len(BOM) :] if number == 0 and text.startswith(BOM) else text

    def _next_row(self) -> list[str] | None:
        line = self._reader.line_num + 1
        try:
            return next(self._reader)
        except StopIteration:
            return None
        except csv.Error as error:
            raise BrokenInput(f"{self.path}: the row that begins in line {line} is broken: {error}") from error
        except OSError as error:
            raise BrokenInput(f"cannot read {self.path}: {error.strerror or error}") from error

    def _read_header(self) -> list[str]:
        try:
            header = self._next_row()
        except BrokenInput as error:
            raise UsageError(str(error)) from error
        if not header or not all(name.isprintable() and name.strip() for name in header):
            raise UsageError(f"{self.path}: line 1 must name the columns, each with printable UTF-8 text")
        if len(set(header)) < len(header):
            raise UsageError(f"{self.path}: line 1 names a column twice: {', '.join(header)}")
        return [name.strip() for name in header]

    def _value(self, line: int, cells: list[str]) -> Any:
        """One row as an object, or a BadEntry with the reason why it has none."""
        if len(cells) != len(self._header):
            return BadEntry(f"{self.path}: line {line}: {len(cells)} cells, but {len(self._header)} columns")
        row = {name: Cell(cell) for name, cell in zip(self._header, cells) if cell}
        try:
            "".join(cells).encode()
        except UnicodeEncodeError:
            return BadEntry(f"{self.path}: line {line}: this is not UTF-8")
        return row
