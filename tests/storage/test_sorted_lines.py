"""Sorting more lines than memory holds."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from common.storage import sorted_lines
from common.storage.sorted_lines import SortedLines


@pytest.mark.parametrize("run_bytes", [300, 5_000, 1 << 20])
def test_lines_come_in_the_order_of_their_keys_and_equal_keys_as_they_came(tmp_path: Path, run_bytes: int) -> None:
    draw = random.Random(0)
    keys = [(draw.choice(["", "a.jsonl", "b\t\n.jsonl"]), draw.randrange(200)) for _ in range(9_000)]
    with SortedLines(str(tmp_path), run_bytes) as lines:
        for number, key in enumerate(keys):
            lines.add(key, b"%d\t%d\n" % (number, key[1]))
        numbers = [int(line.split(b"\t")[0]) for line in lines]
    assert numbers == sorted(range(len(keys)), key=lambda number: keys[number])
    assert list(tmp_path.iterdir()) == []


def test_a_line_longer_than_a_run_and_than_what_is_read_at_once(tmp_path: Path) -> None:
    long = b"x" * (3 * sorted_lines.BUFFER) + b"\n"
    with SortedLines(str(tmp_path), 100) as lines:
        for number in (3, 1, 2):
            lines.add(("", number), b"%d" % number + long)
        assert [line[:1] for line in lines] == [b"1", b"2", b"3"]


def test_memory_holds_a_part_of_the_lines(tmp_path: Path) -> None:
    count, text = 20_000, b"text " * 100 + b"\n"
    tracemalloc.start()
    with SortedLines(str(tmp_path), 200_000) as lines:
        for number in range(count):
            lines.add(("", -number), text)
        assert sum(1 for _ in lines) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < count * len(text) / 2
