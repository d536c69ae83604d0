"""Inputs in every format, and the items that come out of them."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pyarrow as arrow
import pyarrow.parquet as parquet
import zstandard
from hypothesis import strategies as st

from common.errors import BrokenInput, UsageError
from common.input.files import InputFile, Item
from tests.helpers import conversation

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TURNS = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string()}))
COLUMNS = {"conversations": TURNS, "images": arrow.list_(arrow.string())}


def lines(items: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def write_parquet(path: Path, items: Sequence[Any], columns: Dict[str, Any] = COLUMNS, **how: Any) -> Path:
    parquet.write_table(arrow.Table.from_pylist(list(items), schema=arrow.schema(columns)), str(path), **how)
    return path


def write_folder(path: Path, items: Sequence[Any]) -> Path:
    """As a dataset lies on the hub, in three files of three kinds."""
    (path / "data").mkdir(parents=True)
    third = len(items) // 3
    write_parquet(path / "data" / "train-00000-of-00003.parquet", items[:third])
    (path / "data" / "train-00001-of-00003.jsonl.zst").write_bytes(zstd(lines(items[third : 2 * third]) or b"[]"))
    (path / "data" / "train-00002-of-00003.jsonl").write_bytes(lines(items[2 * third :]))
    return path


WRITERS: Dict[str, Callable[..., Path]] = {
    "lines.gz": lambda path, items: write_bytes(path, gzip.compress(lines(items))),
    "list.gz": lambda path, items: write_bytes(path, gzip.compress(json.dumps(list(items), indent=1).encode())),
    "lines.zst": lambda path, items: write_bytes(path, zstd(lines(items))),
    "list.zst": lambda path, items: write_bytes(path, zstd(json.dumps(list(items)).encode())),
    "parquet": write_parquet,
    "folder": write_folder,
}


def read(path: Path) -> List[Item]:
    source = InputFile(str(path))
    try:
        return list(source)
    finally:
        source.close()


def read_until_broken(path: Path) -> Tuple[List[Any], str]:
    """The values before the damage of an input, and the error message."""
    values: List[Any] = []
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(contextlib.closing(InputFile(str(path))))
            values.extend(item.value for item in source)
        except (UsageError, BrokenInput) as error:
            return values, str(error)
    raise AssertionError(f"{path} was read to its end")


def numbered(count: int, length: int = 1) -> List[Any]:
    """So many conversations, none like another and none that compresses away."""
    draw = random.Random(count)
    return [conversation(f"{n} {draw.getrandbits(32 * length):x}?", str(n)) for n in range(count)]
