"""Compressed files as the bytes that went into them: gzip and zstd, told by their first bytes.

Example: ``unpacked("data/input.jsonl.gz", open("data/input.jsonl.gz", "rb")).readline()``
"""

from __future__ import annotations

import functools
import io
import re
import zlib
from typing import Any, Callable, Iterator, NamedTuple, Optional, Protocol, Type

from ..errors import BrokenInput
from ..extras import require

GZIP = re.compile(rb"\x1f\x8b")
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # a frame, or one to be skipped, as pzstd puts first
STEP = 1 << 10  # compressed bytes unpacked at once: zstd can make 30 MB of them
BUFFER = 1 << 16
LONGEST_WINDOW = 1 << 31  # bytes that zstd --long may look back


class _Unpacker(Protocol):
    """What zlib's and zstandard's objects have in common; each ends with a member (gzip) or frame (zstd)."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, __data: bytes) -> bytes: ...


class _Packing(NamedTuple):
    """One way to compress: its name, what makes an unpacker, and what that raises at damage."""

    name: str
    unpacker: Callable[[], _Unpacker]
    error: Type[Exception]


def unpacked(path: str, file: io.BufferedReader) -> io.BufferedReader:
    """``file`` itself, or, if it is compressed, what it holds.

    Reading then raises BrokenInput at damage, after all that stands before it. UsageError if it is zstd and zstandard
    is not installed.
    """
    packing = _packing(path, file.peek(4))
    return file if packing is None else io.BufferedReader(Unpacked(path, file, packing), BUFFER)


def _packing(path: str, start: bytes) -> Optional[_Packing]:
    if GZIP.match(start):
        return _Packing("gzip", functools.partial(zlib.decompressobj, 16 + zlib.MAX_WBITS), zlib.error)
    if ZSTD.match(start):
        zstandard = require("zstandard", f"{path} is compressed with zstd, which", "zstd")
        unpacker = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW).decompressobj
        return _Packing("zstd", unpacker, zstandard.ZstdError)
    return None


class Unpacked(io.RawIOBase):
    """A compressed file read as what it holds. ``taken`` are the compressed bytes used so far."""

    def __init__(self, path: str, file: io.BufferedReader, packing: _Packing) -> None:
        self.taken = 0
        self._pieces = filter(None, self._unpack(path, file, packing))
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer with what is left of a piece, or the next one."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def _unpack(self, path: str, file: io.BufferedReader, packing: _Packing) -> Iterator[bytes]:
        """What the members hold, in pieces of which some may be empty."""
        unpacker = packing.unpacker()
        try:
            for packed in iter(lambda: file.read(STEP), b""):
                self.taken += len(packed)
                packed = packed.lstrip(b"\0") if unpacker.eof else packed  # zeros may pad a gzip file
                while packed:
                    unpacker = packing.unpacker() if unpacker.eof else unpacker
                    yield unpacker.decompress(packed)
                    packed = unpacker.unused_data.lstrip(b"\0")
        except packing.error as error:
            raise BrokenInput(f"{path}: damaged {packing.name}: {error}") from error
        if not unpacker.eof:
            raise BrokenInput(f"{path}: damaged {packing.name}: it breaks off")
