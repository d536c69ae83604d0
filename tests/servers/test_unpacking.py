"""Unpacking: what servers compress comes out whole, and a small reply never becomes a large one."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.servers.unpacking import unpacked


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@given(st.binary(), st.binary())
def test_a_body_comes_out_as_it_was(one: bytes, two: bytes) -> None:
    assert unpacked(one, "identity", 1000) == one
    assert unpacked(gzip.compress(one), "gzip", 1000) == one
    assert unpacked(gzip.compress(one), "X-GZIP", 1000) == one
    assert unpacked(zlib.compress(one), "deflate", 1000) == one
    assert unpacked(gzip.compress(one) + gzip.compress(two), "gzip", 1000) == one + two
    assert unpacked(gzip.compress(one) + b"\0\0", "gzip", 1000) == one
    assert unpacked(gzip.compress(zlib.compress(one)), "deflate, gzip", 1000) == one


def test_deflate_without_its_head_is_read_too() -> None:
    assert unpacked(bare_deflate(b'{"choices": []}'), "deflate", 1000) == b'{"choices": []}'


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bare_deflate])
def test_no_more_than_the_limit_comes_out(pack: object) -> None:
    bomb = pack(bytes(10 << 20))  # type: ignore[operator]
    assert len(unpacked(bomb, "gzip", 1000)) == 1001
    twice = gzip.compress(bomb)
    assert len(unpacked(twice, "gzip, gzip", 1 << 20)) == (1 << 20) + 1


def test_the_parts_of_a_bomb_are_bounded_together() -> None:
    assert len(unpacked(gzip.compress(bytes(600)) * 50, "gzip", 1000)) == 1001
    assert unpacked(gzip.compress(b"") * 100_000, "gzip", 1000) == b""  # not one by one


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (gzip.compress(b"abc" * 100, mtime=0)[:-9], "gzip", "breaks off"),
        (b"no compression at all", "gzip", "damaged"),
        (b"abc", "br", "'br'"),
        (b"abc", "zstd", "'zstd'"),
    ],
)
def test_a_damaged_or_unknown_compression_says_so(data: bytes, encoding: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpacked(data, encoding, 1000)
