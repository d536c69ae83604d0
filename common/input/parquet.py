"""Parquet files as a stream of rows, each with its number (from 1), as JSON would have it.

Example: ``for row, value in Table("data/input.parquet", open("data/input.parquet", "rb")): ...``
"""

from __future__ import annotations

import io
import os
from typing import Any, Iterator, Optional, Tuple, Union

from ..errors import BadEntry, BrokenInput, UsageError
from ..extras import require
from ..images import data_url
from .conversations import ENTRY_KEYS, RECORD_KEYS

PARQUET = b"PAR1"
NEEDED = {"conversations", "messages", "generated_answers"}  # a table without any of these columns holds no entries
BATCH = 4 << 20  # bytes of rows held at once, by the file's own measure
MOST_ROWS = 256  # rows held at once, where that measure is too low: equal values are stored once
PAGES = 1 << 18  # bytes of a column read at once


class Table:
    """The rows of a Parquet file; memory holds a batch of them.

    Only the columns that entries and records have are read. What is null is left out, as Parquet cannot tell it from a
    key that is not there; an image is its data URL, or its path where it has no bytes. Making one raises UsageError if
    the file is damaged, has no such columns, or pyarrow is not installed; iterating raises BrokenInput at damage.
    """

    unit = "row"

    def __init__(self, path: str, file: io.BufferedReader) -> None:
        self.path = path
        self.size = os.fstat(file.fileno()).st_size
        self.parsed = 0  # rows read so far
        self._file = file
        if not file.seekable():
            raise UsageError(f"{path}: Parquet is read from its end: it must be a file, not a pipe")
        what = f"{path} is Parquet, which"
        self._errors = (require("pyarrow", what, "parquet").ArrowException, OSError, ValueError)
        try:
            self._table = require("pyarrow.parquet", what, "parquet").ParquetFile(file, buffer_size=PAGES)
            columns = self._table.schema_arrow.names
        except self._errors as error:
            raise UsageError(f"{path}: damaged Parquet: {_first_line(error)}") from error
        self._columns = [name for name in columns if name in {*ENTRY_KEYS, *RECORD_KEYS}]
        self._rows: int = self._table.metadata.num_rows
        if not NEEDED.intersection(columns):
            found = ", ".join(columns)
            raise UsageError(f'{path}: no column "conversations", "messages" or "generated_answers", but {found}')

    def __iter__(self) -> Iterator[Tuple[int, Union[Any, BadEntry]]]:
        for batch in self._batches():
            for place in range(batch.num_rows):
                self.parsed += 1
                yield self.parsed, self._row(batch, place)

    @property
    def position(self) -> int:
        """Bytes read so far, of ``size``, as if all rows were of one length."""
        return self.size * self.parsed // self._rows if self._rows else self.size

    def expected_items(self) -> Optional[int]:
        """How many items the file has."""
        return self._rows

    def close(self) -> None:
        self._file.close()

    def _batches(self) -> Iterator[Any]:
        batches = self._table.iter_batches(self._rows_at_once(), columns=self._columns, use_threads=False)
        try:
            yield from batches
        except self._errors as error:
            raise BrokenInput(f"{self.path}: damaged Parquet after row {self.parsed}: {_first_line(error)}") from error

    def _rows_at_once(self) -> int:
        file = self._table.metadata
        size: int = sum(file.row_group(number).total_byte_size for number in range(file.num_row_groups))
        return max(1, min(MOST_ROWS, BATCH * self._rows // max(size, 1)))

    def _row(self, batch: Any, place: int) -> Union[Any, BadEntry]:
        """One row of a batch, or why it is none."""
        try:
            return _plain({name: column[place].as_py() for name, column in zip(self._columns, batch.columns)})
        except BadEntry as error:
            return error
        except (ValueError, OverflowError) as error:  # text that is no UTF-8, dates that Python cannot hold
            return BadEntry(f"{self.path}: row {self.parsed}: {error}")


def _plain(value: object) -> Any:
    """A value as JSON would have it; BadEntry if that cannot be."""
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # how HuggingFace's datasets store an image
            return _plain(value["path"] if value["bytes"] is None else value["bytes"])
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return _image(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _image(data: bytes) -> str:
    url = data_url(data)
    if url is None:
        raise BadEntry("an image is no PNG, JPEG, GIF, WebP or BMP image")
    return url


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0]
