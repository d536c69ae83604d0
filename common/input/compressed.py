"""Compressed files (gzip and zstd, detected by their first bytes) as streams of the bytes that they hold.

Example: ``unpacked("input.jsonl.gz", open("input.jsonl.gz", "rb")).readline()``
"""

from __future__ import annotations

import functools
import io
import re
import zlib
from typing import Any, Callable, Iterator, NamedTuple, Protocol

from ..errors import BrokenInput
from ..extras import require

GZIP = re.compile(rb"\x1f\x8b")
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or a frame to skip (pzstd writes one first)
STEP = 1 << 10  # compressed bytes that are unpacked at once: zstd can make 30 MB of them
BUFFER = 1 << 16
LONGEST_WINDOW = 1 << 31  # bytes that a file of zstd --long may refer back


class _Unpacker(Protocol):
    """The common part of zlib's and zstandard's objects. Each ends (``eof``) with one member (gzip) or frame (zstd)."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, __data: bytes) -> bytes: ...


class _Format(NamedTuple):
    """A compressed format: its name, a function that makes an unpacker, and the error that the unpacker raises."""

    name: str
    unpacker: Callable[[], _Unpacker]
    error: type[Exception]


def unpacked(path: str, file: io.BufferedReader) -> io.BufferedReader:
    """``file`` itself or, if it is compressed, a stream of the bytes that it holds.

    Reading the stream raises BrokenInput at damage, after all bytes before the damage. UsageError if the file needs
    zstandard and it is not installed.
    """
    compressed = _format(path, file.peek(4))
    return file if compressed is None else io.BufferedReader(Unpacked(path, file, compressed), BUFFER)


def _format(path: str, start: bytes) -> _Format | None:
    if GZIP.match(start):
        return _Format("gzip", functools.partial(zlib.decompressobj, 16 + zlib.MAX_WBITS), zlib.error)
    if ZSTD.match(start):
        zstandard = require("zstandard", f"{path} is compressed with zstd, which", "zstd")
        unpacker = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW).decompressobj
        return _Format("zstd", unpacker, zstandard.ZstdError)
    return None


class Unpacked(io.RawIOBase):
    """The bytes that a compressed file holds. ``taken`` counts the compressed bytes that were used so far."""

    def __init__(self, path: str, file: io.BufferedReader, compressed: _Format) -> None:
        self.taken = 0
        self._file = file
        self._pieces = filter(None, self._unpack(path, compressed))
        self._left = memoryview(b"")

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer from the rest of a piece, or from the next piece."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _unpack(self, path: str, compressed: _Format) -> Iterator[bytes]:
        """The bytes of all members, in pieces. Some pieces may be empty."""
        unpacker = compressed.unpacker()
        try:
            for packed in iter(lambda: self._file.read(STEP), b""):
                self.taken += len(packed)
                packed = packed.lstrip(b"\0") if unpacker.eof else packed  # zeros may pad a gzip file
                while packed:
                    unpacker = compressed.unpacker() if unpacker.eof else unpacker
                    yield unpacker.decompress(packed)
                    packed = unpacker.unused_data.lstrip(b"\0")
        except compressed.error as error:
            raise BrokenInput(f"{path}: damaged {compressed.name}: {error}") from error
        if not unpacker.eof:
            raise BrokenInput(f"{path}: damaged {compressed.name}: the end of the file is missing")
