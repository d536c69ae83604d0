"""Compressed input: gzip and zstd files give the bytes that they hold, and damage is one line."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path
from typing import Callable

import pytest

from tests.input.inputs import WRITERS, lines, numbered, read, read_until_broken, write_bytes, write_parquet, zstd


def test_lines_of_a_compressed_file_are_numbered_as_those_it_holds(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf\n" + lines(numbered(2)) + b"\noops\n" + lines(numbered(1))
    for packed in (gzip.compress(text), zstd(text)):
        source = read(write_bytes(tmp_path / "input.json", packed))
        assert [item.line for item in source] == [2, 3, 5, 6]
        assert "line 5: broken JSON" in str(source[2].value)


@pytest.mark.parametrize("edge", [0, 1, 1023, 1024, 1025])
@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_members_one_after_another_are_one_file(tmp_path: Path, pack: Callable[[bytes], bytes], edge: int) -> None:
    """Wherever a member ends within the piece that is unpacked at once."""
    items = numbered(40, 10)
    first = pack(lines(items[:20]) + b" " * 5)
    for blanks in range(edge):
        if len(first) % 1024 == edge % 1024:
            break
        first = pack(lines(items[:20]) + random.Random(blanks).choice([b" ", b"\n"]) * blanks)
    assert [item.value for item in read(write_bytes(tmp_path / "x", first + pack(lines(items[20:]))))] == items


def test_padding_of_gzip_and_frames_to_skip_of_zstd_are_passed_over(tmp_path: Path) -> None:
    items = numbered(5)
    skip = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"size"  # as pzstd puts before each frame
    padded = gzip.compress(lines(items[:3])) + bytes(3000) + gzip.compress(lines(items[3:])) + bytes(512)
    for packed in (padded, skip + zstd(lines(items[:3])) + skip + zstd(lines(items[3:]))):
        assert [item.value for item in read(write_bytes(tmp_path / "x", packed))] == items


def test_a_file_cut_off_at_any_byte_is_never_taken_for_whole(tmp_path: Path) -> None:
    items = numbered(3)
    whole = {"x.gz": gzip.compress(lines(items)), "x.zst": zstd(lines(items))}
    whole["x.parquet"] = write_parquet(tmp_path / "whole", items).read_bytes()
    for name, data in whole.items():
        for length in range(4, len(data), 1 + len(data) // 200):
            values, said = read_until_broken(write_bytes(tmp_path / name, data[:length]))
            assert said.startswith(f"{tmp_path / name}: "), (name, length, said)
            assert "\n" not in said
            assert values == items[: len(values)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-8] + bytes(4) + data[-4:], "damaged gzip: "),
        (lambda data: data + b"rest", "damaged gzip: "),
        (lambda data: data[:20] + bytes(20) + data[40:], "damaged gzip: "),
        (lambda data: data[:-1], "damaged gzip: the end of the file is missing"),
        (lambda data: gzip.compress(data), "line 1: neither a JSON list nor JSON lines: "),
        (lambda data: gzip.compress(b""), "it is empty"),
        (lambda data: b"\x28\xb5\x2f\xfd" + data, "damaged zstd: "),
    ],
    ids=["checksum", "rest", "zeros", "cut", "twice", "empty", "no zstd"],
)
def test_what_is_wrong_with_a_compressed_file_is_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = write_bytes(tmp_path / "x.jsonl.gz", damage(gzip.compress(lines(numbered(3, 40)))))
    _, said = read_until_broken(path)
    assert said.startswith(f"{path}: ")
    assert says in said


@pytest.mark.parametrize("name", ["lines.gz", "lines.zst", "parquet"])
def test_what_stands_before_the_damage_is_given(tmp_path: Path, name: str) -> None:
    items = numbered(1200, 100)
    how = {"row_group_size": 200} if name == "parquet" else {}
    data = bytearray(WRITERS[name](tmp_path / name, items, **how).read_bytes())
    if name == "parquet":  # in its last row group
        at = bytes(data).rindex(items[1100]["conversations"][0]["value"].encode()[:40])
        data[at - 4 : at] = b"\xff" * 4
    else:
        del data[len(data) * 2 // 3 :]
    values, said = read_until_broken(write_bytes(tmp_path / name, bytes(data)))
    assert 500 < len(values) < 1200
    assert values == items[: len(values)]
    assert said.startswith(f"{tmp_path / name}: damaged ")
