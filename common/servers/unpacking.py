"""A reply's body out of its Content-Encoding, up to a limit: a megabyte of gzip may hold a gigabyte.

>>> import gzip
>>> unpacked(gzip.compress(b"x" * 1000), "gzip", limit=10)
b'xxxxxxxxxxx'
"""

from __future__ import annotations

import zlib

ACCEPTED = "gzip, deflate"
MOST_MEMBERS = 100  # parts of a gzip file, one after another; a real reply has one


def unpacked(data: bytes, encodings: str, limit: int) -> bytes:
    """The body, or its first ``limit`` + 1 bytes. ValueError if it is damaged, or was packed in another way."""
    for encoding in reversed(encodings.lower().split(",")):
        name = encoding.strip()
        if name in ("gzip", "x-gzip", "deflate"):
            data = _inflated(data, limit)
        elif name not in ("", "identity"):
            raise ValueError(f"a reply in the encoding {name!r}, and only {ACCEPTED} was asked for")
    return data


def _inflated(data: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    left = limit + 1
    while data and left and len(pieces) < MOST_MEMBERS:
        member = zlib.decompressobj(_window(data))
        try:
            pieces.append(member.decompress(data, left))
        except zlib.error as error:
            raise ValueError("a reply whose compression is damaged") from error
        left -= len(pieces[-1])
        if left and not member.eof:
            raise ValueError("a reply whose compression breaks off")
        data = member.unused_data if member.unused_data.startswith(b"\x1f\x8b") else b""
    return b"".join(pieces)


def _window(data: bytes) -> int:
    """zlib's name of the format that data begins with: gzip, zlib, or bare deflate, which some call deflate too."""
    if data.startswith(b"\x1f\x8b"):
        return 16 + zlib.MAX_WBITS
    is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
