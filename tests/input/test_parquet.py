"""Parquet input: the rows of a table as JSON values."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from common.errors import BadEntry
from common.images import data_url
from common.input.conversations import entry_from_conversation
from common.input.files import Item
from tests.helpers import conversation
from tests.input.inputs import COLUMNS, PNG, TURNS, numbered, read, write_parquet


def test_rows_are_numbered_from_1_and_have_all_columns(tmp_path: Path) -> None:
    items = [{"embedding": b"\xff", **item, "label": 7} for item in numbered(3)]
    columns = {"embedding": arrow.binary(), **COLUMNS, "label": arrow.int64()}
    found = read(write_parquet(tmp_path / "x", items, columns))
    bytes_ = {"embedding": "data:application/octet-stream;base64,/w=="}
    assert found == [Item(number, {**item, **bytes_}) for number, item in enumerate(items, 1)]


def test_batches_leave_no_row_out_whatever_the_row_groups(tmp_path: Path) -> None:
    items = numbered(700)
    for size in (1, 100, 256, 699, 700):
        path = write_parquet(tmp_path / "x", items, row_group_size=size)
        assert read(path) == [Item(number, item) for number, item in enumerate(items, 1)]


def test_what_is_null_in_a_row_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    weighted = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string(), "weight": arrow.float64()}))
    columns = {"conversations": weighted, "images": arrow.list_(arrow.string())}
    items = [
        {"conversations": [{"from": "human", "value": "q", "weight": 0.5}, {"from": "gpt", "value": ""}]},
        {"conversations": [{"from": "human", "value": "q"}], "images": []},
    ]
    assert [item.value for item in read(write_parquet(tmp_path / "x", items, columns))] == items


def test_images_of_huggingface_are_their_bytes_or_their_path(tmp_path: Path) -> None:
    images = arrow.list_(arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}))
    rows = [
        conversation("a", images=[{"bytes": PNG, "path": "a.png"}, {"bytes": None, "path": "b.png"}]),
        conversation("b", images=[{"bytes": b"text", "path": "c.png"}]),
        conversation("c", images=[{"bytes": None, "path": None}]),
    ]
    both, text, none = read(write_parquet(tmp_path / "x", rows, {"conversations": TURNS, "images": images}))
    assert entry_from_conversation(both.value).images == [data_url(PNG), "b.png"]
    for item in (text, none):
        with pytest.raises(BadEntry, match="images"):
            entry_from_conversation(item.value)


def test_a_row_that_is_no_utf8_costs_no_other(tmp_path: Path) -> None:
    texts = arrow.array([b"a", b"\xff", b"c"]).view(arrow.string())
    columns = {"conversations": arrow.array([conversation("q")["conversations"]] * 3, TURNS), "entry_id": texts}
    parquet.write_table(arrow.table(columns), str(tmp_path / "x"))
    found = read(tmp_path / "x")
    assert [item.value["entry_id"] for item in (found[0], found[2])] == ["a", "c"]
    assert "row 2: " in str(found[1].value)


def test_values_that_json_cannot_hold_are_text(tmp_path: Path) -> None:
    turn = arrow.list_(arrow.struct({"from": arrow.string(), "value": arrow.string(), "at": arrow.date32()}))
    row = {"conversations": [{"from": "human", "value": "q", "at": datetime.date(2024, 5, 1)}]}
    (found,) = read(write_parquet(tmp_path / "x", [row], {"conversations": turn}))
    assert found.value["conversations"][0]["at"] == "2024-05-01"
