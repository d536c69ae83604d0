"""Parquet files as a stream of rows, each with its number (from 1) and its value as in JSON.

Example: ``for row, value in ParquetReader("train.parquet", open("train.parquet", "rb")): ...``
"""

from __future__ import annotations

import io
import os
from typing import Any, Iterator

from ..errors import BadEntry, BrokenInput, UsageError
from ..extras import require
from ..images import bytes_url

MAGIC = b"PAR1"
BATCH_BYTES = 4 << 20  # of rows that are held at once, by the file's own measure
BATCH_ROWS = 256  # are held at once at most: the file's measure is too low where a value repeats (it is stored once)
PAGE_BYTES = 1 << 18  # of a column that are read at once


class ParquetReader:
    """The rows of a Parquet file, each after its number. Memory holds one batch of rows.

    The reader leaves out null values, since Parquet cannot tell null from a missing key. Bytes are a data URL; an image
    without bytes is its path.

    Making a reader raises UsageError if the file is damaged, or if pyarrow is not installed. Iterating raises
    BrokenInput at damage.
    """

    endings: tuple[str, ...] = (".parquet",)
    unit = "row"
    shape = "Parquet"

    @staticmethod
    def accepts(path: str, start: bytes) -> bool:
        """Whether the first bytes of a file are those of Parquet."""
        return start.startswith(MAGIC)

    def __init__(self, path: str, stream: io.BufferedReader) -> None:
        self.path = path
        self.size = os.fstat(stream.fileno()).st_size
        self._stream = stream
        self._row = 0  # the last row that was read
        if not stream.seekable():
            raise UsageError(f"{path}: Parquet is read from its end: it must be an uncompressed file, not a pipe")
        user = f"{path} is Parquet, which"
        self._errors = (require("pyarrow", user, "parquet").ArrowException, OSError, ValueError)
        try:
            self._file = require("pyarrow.parquet", user, "parquet").ParquetFile(stream, buffer_size=PAGE_BYTES)
            self._columns: list[str] = self._file.schema_arrow.names
        except self._errors as error:
            raise UsageError(f"{path}: damaged Parquet: {_first_line(error)}") from error

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        for batch in self._batches():
            for index in range(batch.num_rows):
                self._row += 1
                yield self._row, self._value(batch, index)

    def expected_items(self) -> int:
        """The number of rows in the file."""
        return int(self._file.metadata.num_rows)

    def close(self) -> None:
        self._stream.close()

    def _batches(self) -> Iterator[Any]:
        try:
            yield from self._file.iter_batches(self._rows_per_batch(), use_threads=False)
        except self._errors as error:
            raise BrokenInput(f"{self.path}: damaged Parquet after row {self._row}: {_first_line(error)}") from error

    def _rows_per_batch(self) -> int:
        file = self._file.metadata
        size: int = sum(file.row_group(number).total_byte_size for number in range(file.num_row_groups))
        return max(1, min(BATCH_ROWS, BATCH_BYTES * self.expected_items() // max(size, 1)))

    def _value(self, batch: Any, index: int) -> Any:
        """The value of one row of a batch, or a BadEntry with the reason why it has none."""
        try:
            return _as_json({name: column[index].as_py() for name, column in zip(self._columns, batch.columns)})
        except (ValueError, OverflowError) as error:  # text that is not UTF-8, or a date that Python cannot hold
            return BadEntry(f"{self.path}: row {self._row}: {error}")


def _as_json(value: object) -> Any:
    """A Parquet value as JSON would have it."""
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:  # how HuggingFace's datasets store an image
            return _as_json(value["path"] if value["bytes"] is None else value["bytes"])
        return {key: _as_json(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_as_json(inner) for inner in value]
    if isinstance(value, bytes):
        return bytes_url(value)
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0]
