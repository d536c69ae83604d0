"""A JSON list in pieces of any size: its items and their lines, its damage, and the time that it takes."""

from __future__ import annotations

import json
import time
from typing import Any, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry, BrokenInput
from common.input.json_list import JsonList
from tests.input.inputs import JSON

SIZES = [1, 2, 3, 7, 16, 17, 64, 1 << 20]  # bytes of a piece


def in_pieces(text: bytes, size: int) -> Iterator[bytes]:
    return (text[place : place + size] for place in range(0, len(text), size))


def read(text: bytes, size: int) -> tuple[list[Any], str]:
    """The items of a list before its end or its damage, and the error message."""
    items: list[Any] = []
    try:
        items.extend(JsonList("in.json", in_pieces(text, size)))
    except BrokenInput as error:
        return items, str(error)
    return items, ""


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(JSON, max_size=4),
    indent=st.none() | st.integers(0, 2),
    ascii=st.booleans(),
    size=st.sampled_from(SIZES),
)
def test_the_items_are_those_of_json_loads_whatever_the_pieces(
    values: list[Any], indent: int | None, ascii: bool, size: int
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=ascii)
    items, error = read(text.encode(), size)
    assert error == ""
    assert json.dumps([value for _, value in items]) == json.dumps(values)
    assert [line for line, _ in items] == sorted(line for line, _ in items)


NUMBERS = [
    "0",
    "-12",
    "1.5",
    "1e3",
    "-2.5E-7",
    "12345678901234567890",
    "true",
    "false",
    "null",
    '"\\u0041\\n"',
    "[]",
    "{}",
]


@pytest.mark.parametrize("size", SIZES)
def test_a_value_that_a_piece_cuts_is_whole(size: int) -> None:
    text = "[" + ",".join(NUMBERS) + "]"
    assert [value for _, value in read(text.encode(), size)[0]] == json.loads(text)


BROKEN = [
    "",
    "[",
    "[,]",
    "[1,]",
    "[1 2]",
    "[1",
    "[1,",
    "[1}",
    "[1.]",
    "[1.e3]",
    "[01]",
    "[+1]",
    "[-]",
    "[.5]",
    "[1e]",
    "[tru]",
    "[truefalse]",
    "[nul]",
    "[NaN]",
    "[-Infinity]",
    "['a']",
    '["a]',
    '["a\\x"]',
    '["\\u12"]',
    '["\\u12g4"]',
    '["a\tb"]',
    '["a\\"]',
    "[{]",
    "[{}",
    '[{"a"}]',
    '[{"a":}]',
    '[{"a":1,}]',
    "[{a:1}]",
    '[{"a":1 "b":2}]',
    "[[1]",
    "[1]]",
    "[1] 2",
    "[1][2]",
    "[1],",
    "[// comment\n1]",
    "[1, /* comment */ 2]",
    "[\x0c1]",
    "[\u00a01]",
    "[\ufeff1]",
]


@pytest.mark.parametrize("text", BROKEN)
def test_broken_text_is_refused_at_the_same_place_whatever_the_pieces(text: str) -> None:
    messages = {read(b'[{"n": 0},\n"x",\n' + text[1:].encode(), size)[1] for size in SIZES} if text else set()
    alone = {read(text.encode(), size)[1] for size in SIZES}
    assert len(alone) == 1
    assert all(message.startswith("in.json: line 1: broken JSON: ") for message in alone)
    assert len(messages) <= 1
    assert all(message.startswith("in.json: line 3: broken JSON: ") for message in messages)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'[1,\n  {"a": oops}]', "line 2: broken JSON: Expecting value (column 9)"),
        (b"[1, 2", "line 1: broken JSON: expected , or ] (column 6)"),
        (b"[1]\n\n []", "line 3: broken JSON: there is more text after the list (column 2)"),
        (b'[1, "ab\xff"]', "line 1: broken JSON: the byte 0xff is not UTF-8 (invalid start byte) (column 8)"),
        (b'[1, "\xc3', "line 1: broken JSON: the byte 0xc3 is not UTF-8 (unexpected end of data) (column 6)"),
        (b'[1,\n{"a": NaN}]', "line 2: broken JSON: NaN is not JSON (column 1)"),
    ],
)
def test_the_message_names_line_and_column(text: bytes, message: str, size: int) -> None:
    assert read(text, size) == ([(1, 1), (1, 2)] if text.startswith(b"[1, 2") else [(1, 1)], f"in.json: {message}")


@pytest.mark.parametrize("size", SIZES)
def test_a_number_that_is_too_large_costs_only_its_item(size: int) -> None:
    items, error = read(b'[1,\n{"n": 1e400, "m": [1e400, {}]},\n2]', size)
    assert (items[0], items[2], error) == ((1, 1), (3, 2), "")
    assert isinstance(items[1][1], BadEntry)
    assert str(items[1][1]) == "in.json: line 2: broken JSON: the number 1e400 is too large"


@pytest.mark.parametrize("size", SIZES)
def test_damage_of_the_stream_comes_after_all_items_before_it(size: int) -> None:
    def damaged() -> Iterator[bytes]:
        yield from in_pieces(b'[1, {"n": 2}, {"n": 3}, {"n', size)
        raise BrokenInput("in.json: damaged gzip")

    items = []
    with pytest.raises(BrokenInput, match="damaged gzip"):
        items.extend(JsonList("in.json", damaged()))
    assert items == [(1, 1), (1, {"n": 2}), (1, {"n": 3})]


@pytest.mark.parametrize("start", [b'[{"a" 1},', b"[NaN,", b"[1 2,", b"[" * 200_000, b'[{"a": "\n"},', b'["\xff",'])
def test_damage_is_reported_without_reading_the_rest(start: bytes) -> None:
    read_pieces = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read_pieces
        yield start
        while True:
            read_pieces += 1
            yield b'{"a": 1},' * 100

    with pytest.raises(BrokenInput):
        list(JsonList("in.json", pieces()))
    assert read_pieces <= 1 + 2 * len(start) // 900


@pytest.mark.parametrize("text", [b"[" * 200_000, b'[{"a":' * 100_000, b"[" * 200_000 + b"]" * 200_000])
def test_text_that_is_nested_too_deep_is_refused(text: bytes) -> None:
    assert read(text, 1 << 18) == ([], "in.json: line 1: broken JSON: nested too deep (column 2)")


@pytest.mark.parametrize("value", [["words"] * 400_000, "some \\ words " * 500_000], ids=["values", "text"])
def test_time_is_linear_in_the_length_of_an_item(value: Any) -> None:
    """A reader that decodes the item again after each of its thousands of pieces takes hundreds of times as long."""
    text = json.dumps([value]).encode()
    start = time.process_time()
    json.loads(text)
    once = time.process_time() - start
    items, error = read(text, 4096)
    assert (items, error) == ([(1, value)], "")
    assert time.process_time() - start < 20 * once + 1


def test_an_item_that_is_too_long_is_passed_over_in_pieces() -> None:
    """Its text has all that could be taken for its end."""
    piece = (b'a\\"]}, {\\\\' + b"a" * 9990) * 2
    long_text = [piece] * 9
    pieces = [b'[{"n": 1},\n{"n": "', *long_text, b'\\\\", "m": [{}]}', b',\n{"n": 3}]']
    found = list(JsonList("in.json", pieces, longest=100_000))
    assert [line for line, _ in found] == [1, 2, 3]
    assert [value for _, value in found[::2]] == [{"n": 1}, {"n": 3}]
    assert str(found[1][1]) == "in.json: line 2: an entry of more than 128 MB"
