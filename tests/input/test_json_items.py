"""JSON input: a list or JSON lines as a stream of items, the line of each item, and broken JSON."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry, BrokenInput
from common.input.files import InputFile, Item
from common.input.json_items import PIECE
from common.input.strict_json import loads
from common.storage.append_file import to_line
from tests.helpers import conversation
from tests.input.inputs import JSON

BOM = b"\xef\xbb\xbf"


def read(path: Path, content: bytes) -> List[Item]:
    """The items of an input file with that content."""
    path.write_bytes(content)
    source = InputFile(str(path))
    try:
        return list(source)
    finally:
        source.close()


def read_until_broken(path: Path, content: bytes) -> Tuple[List[Any], str]:
    """The values before an input breaks off, and what is said then."""
    path.write_bytes(content)
    source = InputFile(str(path))
    values: List[Any] = []
    with pytest.raises(BrokenInput) as caught:
        values.extend(item.value for item in source)
    source.close()
    return values, str(caught.value)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b'[{"n": 0}, {"n": 1}, {"n": 2}]', [1, 1, 1]),
        (b'[{"n": 0},\n{"n": 1},\n{"n": 2}]', [1, 2, 3]),
        (b'[\n{"n": 0}\n,\n{"n": 1}\n,{"n": 2}\n]\n', [2, 4, 5]),
        (b'[\n  {\n    "n": 0\n  },\n  {\n    "n": 1\n  },\n  {\n    "n": 2\n  }\n]', [2, 5, 8]),
        (b'\n\n[\r\n\t{"n": 0},\r\n\r\n\t{"n": 1},\r\n\t{\r\n"n": 2}\r\n]', [4, 6, 7]),
        (b'[\n{"n":\n0,\n"deep": [\n[\n],\n{}\n]},\n{"n": 1},\n{"n": 2}]', [2, 9, 10]),
        (b'[{\n"n": 0\n}, {\n"n": 1\n}, {\n"n": 2\n}]', [1, 3, 5]),
        (b'[{\n"n": 0\n},\n\n\n{\n"n": 1\n}\n,\n{"n": 2}\n]', [1, 6, 10]),
        (b'{"n": 0}\n{"n": 1}\n{"n": 2}', [1, 2, 3]),
        (b'{"n": 0}\r\n\r\n{"n": 1}\r\n \t\n\n{"n": 2}\r\n', [1, 3, 6]),
        (b'\n \n{"n": 0}\n\n{"n": 1}\n{"n": 2}\n\n\n', [3, 5, 6]),
    ],
    ids=[
        "compact",
        "line each",
        "comma lines",
        "pretty",
        "crlf list",
        "nested",
        "back to back",
        "gaps",
        "jsonl",
        "crlf jsonl",
        "blank lines",
    ],
)
@pytest.mark.parametrize("mark", [b"", BOM], ids=["plain", "BOM"])
def test_each_item_has_the_line_it_begins_on(tmp_path: Path, content: bytes, lines: List[int], mark: bytes) -> None:
    items = read(tmp_path / "input", mark + content)
    assert [(item.line, item.value["n"]) for item in items] == list(zip(lines, range(3)))


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_lines_are_right_where_a_line_is_longer_than_a_piece(tmp_path: Path, indent: Optional[int]) -> None:
    values = [{"n": number, "text": "é]},{[\\" * size} for number, size in enumerate((PIECE, 1, PIECE // 6, 3))]
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    items = read(tmp_path / "input", text.encode())
    lines = [1] * 4 if indent is None else [2 + 4 * number for number in range(4)]
    assert items == [Item(line, value) for line, value in zip(lines, values)]


@pytest.mark.parametrize("length", range(PIECE - 3, PIECE + 4))
def test_a_line_that_ends_at_the_edge_of_a_piece_counts_once(tmp_path: Path, length: int) -> None:
    first = b'[{"n": 0},' + b" " * (length - 11) + b"\n"
    assert len(first) == length
    assert [item.line for item in read(tmp_path / "input", first + b'{"n": 1},\n{"n": 2}]')] == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=3), min_size=1, max_size=4), ascii=st.booleans()
)
def test_a_list_and_json_lines_of_the_same_objects_are_the_same_items(
    tmp_path_factory: pytest.TempPathFactory, items: List[Any], ascii: bool
) -> None:
    path = tmp_path_factory.mktemp("input") / "input"
    spelled = [json.dumps(item, ensure_ascii=ascii) for item in items]
    for text in ("\n".join(spelled), f"[{','.join(spelled)}]", json.dumps(items, indent=2, ensure_ascii=ascii)):
        assert [to_line(item.value) for item in read(path, text.encode())] == [to_line(loads(one)) for one in spelled]


@pytest.mark.parametrize(
    "number",
    ["0", "-7", str(1 << 63), str(-(1 << 64)), "123456789012345678901234567890", "1.5", "1e3", "0.1", "-2.5E-7"],
)
def test_a_number_is_written_as_it_was_read_from_a_list_as_from_json_lines(tmp_path: Path, number: str) -> None:
    spelled = f'{{"n": {number}}}'.encode()
    from_list, from_lines = (read(tmp_path / "input", content)[0].value for content in (b"[" + spelled + b"]", spelled))
    assert to_line(from_list) == to_line(from_lines) == spelled.replace(b" ", b"") + b"\n"


@pytest.mark.parametrize("number", ["1e-400", "9" * 400])
@pytest.mark.parametrize("spell", ["[{},\n{},\n{}]", "{}\n{}\n{}"], ids=["list", "lines"])
def test_a_number_beyond_the_range_of_a_float_that_python_holds_is_read(
    tmp_path: Path, number: str, spell: str
) -> None:
    content = spell.format('{"n": 0}', f'{{"n": {number}}}', '{"n": 2}')
    values = [item.value for item in read(tmp_path / "input", content.encode())]
    assert values == [{"n": 0}, {"n": json.loads(number)}, {"n": 2}]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e99999999999999999999", "9" * 5000])
@pytest.mark.parametrize("spell", ["[{},\n{},\n{}]", "{}\n{}\n{}"], ids=["list", "lines"])
def test_a_number_that_is_too_large_costs_only_its_item(tmp_path: Path, number: str, spell: str) -> None:
    content = spell.format('{"n": 0}', f'{{"n": [{number}], "m": "{{"}}', '{"n": 2}')
    first, bad, last = read(tmp_path / "in.json", content.encode())
    assert (first, last) == (Item(1, {"n": 0}), Item(3, {"n": 2}))
    assert isinstance(bad.value, BadEntry)
    assert "in.json: line 2: broken JSON: " in str(bad.value)
    assert len(str(bad.value)) < len(str(tmp_path)) + 200


def test_an_empty_list_has_no_items(tmp_path: Path) -> None:
    assert read(tmp_path / "input", b"[\n]\n") == []


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'[{"n": 0}, {"n": 1}, {"n": ]', 1),
        (b'[{"n": 0},\n{"n": 1},\n{"n": 2', 3),
        (b'[{"n": 0},\n{"n": 1},\n]', 3),
        (b'[{"n": 0},\n{"n": 1}\n{"n": 2}]', 3),
        (b'[{"n": 0},\n{"n": 1},\n{"n": NaN}]', 3),
        (b'[{"n": 0},\n{"n": 1},\n{"n": "\xff"}]', 3),
        (b'[{"n": 0},\n{"n": 1}]\n{"n": 2}', 3),
        (b'[{"n": 0},\n{"n": 1}]\n[{"n": 2}]', 3),
        (b'[{"n": 0}, {"n": 1},\n\n\n  // a comment\n]', 4),
        (b'[\n  {\n    "n": 0\n  },\n  {\n    "n": 1\n  },\n  {\n    "n": oops\n  }\n]', 9),
        (b'[\r\n{"n": 0},\r\n{"n": 1},\r\n{"n": "a\r\nb"}]', 4),
    ],
    ids=[
        "compact",
        "cut off",
        "comma at the end",
        "no comma",
        "NaN",
        "no UTF-8",
        "lines after it",
        "two lists",
        "comment",
        "pretty",
        "raw newline in a string",
    ],
)
def test_a_broken_list_gives_what_stands_before_and_names_file_and_line(
    tmp_path: Path, content: bytes, line: int
) -> None:
    values, said = read_until_broken(tmp_path / "broken.json", content)
    assert values == [{"n": 0}, {"n": 1}]
    assert f"broken.json: line {line}: " in said
    assert "\n" not in said


@pytest.mark.parametrize("length", range(1, 28))
def test_a_list_cut_off_at_any_byte_is_never_taken_for_whole(tmp_path: Path, length: int) -> None:
    whole = b'[{"n": "0]"},\n{"n": "1}]"}]'
    assert len(read(tmp_path / "whole", whole)) == 2
    values, _ = read_until_broken(tmp_path / "cut", whole[: min(length, len(whole) - 1)])
    assert values == [{"n": "0]"}, {"n": "1}]"}][: len(values)]


@pytest.mark.parametrize(
    "broken",
    [b'{"n": 1', b'{"n": }', b"{'n': 1}", b"oops", b'{"n": 1} {"n": 2}', b'{"n": "\xff"}', b"\0\0\0", b'{"n": 1},']
    + [b'{"n": %s}' % constant for constant in (b"NaN", b"Infinity", b"-Infinity")],
)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_broken_json_line_is_an_item_of_its_own_and_the_next_lines_are_read(
    tmp_path: Path, broken: bytes, newline: bytes
) -> None:
    first, bad, last = read(tmp_path / "in.jsonl", newline.join([b'{"n": 0}', b"", broken, b'{"n": 3}']))
    assert (first, last) == (Item(1, {"n": 0}), Item(4, {"n": 3}))
    assert bad.line == 3
    assert isinstance(bad.value, BadEntry)
    assert "in.jsonl: line 3: " in str(bad.value)
    assert "\n" not in str(bad.value)


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path: Path) -> None:
    values = [{"n": "a\u2028b\u2029c\x85d\x0be\x1c"}, {"n": 1}]
    content = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    assert read(tmp_path / "in.jsonl", content) == [Item(1, values[0]), Item(2, values[1])]


def test_lone_surrogates_in_json_lines_are_read_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path / "in.jsonl", rb'{"n": "\ud83d and \ude00"}') == [Item(1, {"n": "\ud83d and \ude00"})]


HIGH, LOW = rb"\ud83d", rb"\ude00"


WHOLE = {
    "pair": HIGH + LOW,
    "three pairs": (HIGH + LOW) * 3,
    "upper case": rb"\uD83D\uDE00",
    "mixed case": rb"\uD83d\udE00",
    "first and last pair": rb"\ud800\udc00\udbff\udfff",
    "after an escaped backslash": rb"\\" + HIGH + LOW,
    "after two": rb"\\\\" + HIGH + LOW,
    "after an escaped quote": rb"\"" + HIGH + LOW,
    "literal high": rb"\\ud83d",
    "literal low": rb"\\ude00",
    "literal pair": rb"\\ud83d\\ude00",
    "literal after two": rb"\\\\ud83d x",
    "neighbours": rb"\ud7ff\ue000\uD7FF\uE000",
}


HALVES = {
    "high": HIGH,
    "upper case high": rb"\uDBFF",
    "two highs and a low": HIGH + HIGH + LOW,
    "high and literal low": HIGH + rb"\\ude00",
    "high and another escape": HIGH + rb"\n",
    "high and another character": HIGH + rb"\u0041",
    "high and what is no low": HIGH + rb"\ue000",
    "high, backslash and low": HIGH + rb"\\" + LOW,
    "high after a backslash": rb"\\" + HIGH,
    "low": LOW,
    "upper case low": rb"\uDFFF",
    "low and high": LOW + HIGH,
    "pair and low": HIGH + LOW + LOW,
    "literal high and low": rb"\\ud83d" + LOW,
    "low after a backslash": rb"\\" + LOW,
}


@pytest.mark.parametrize("text", WHOLE.values(), ids=list(WHOLE))
@pytest.mark.parametrize("around", [b"%s", b"some text %s", b"%s some text", b"some text %s some text"])
def test_surrogate_pairs_and_literal_backslashes_in_a_list_are_read(tmp_path: Path, text: bytes, around: bytes) -> None:
    content = b'[\n"' + around % text + b'",\n{"' + around % text + b'": 1}]'
    assert [item.value for item in read(tmp_path / "in.json", content)] == json.loads(content)


@pytest.mark.parametrize("text", HALVES.values(), ids=list(HALVES))
@pytest.mark.parametrize("around", [b"%s", b"some text %s", b"%s some text", b"some text %s some text"])
@pytest.mark.parametrize("end", [b'",\n{}]', b'"\n]', b'"]'])
def test_half_a_surrogate_pair_in_a_list_is_read_as_in_json_lines(
    tmp_path: Path, text: bytes, around: bytes, end: bytes
) -> None:
    content = b'[{"n": 0},\n{"n": 1},\n"' + around % text + end
    assert [item.value for item in read(tmp_path / "half.json", content)] == json.loads(content)


def across_a_piece(text: bytes) -> List[bytes]:
    """Lists of one string that holds a text, with a piece's end before, after, and at each byte of it."""
    return [b'["' + b"x" * (PIECE - 2 - before) + text + b' and more"]' for before in range(len(text) + 1)]


@pytest.mark.parametrize("text", WHOLE.values(), ids=list(WHOLE))
def test_a_pair_split_by_the_end_of_a_piece_is_whole(tmp_path: Path, text: bytes) -> None:
    for content in across_a_piece(text):
        assert [item.value for item in read(tmp_path / "in.json", content)] == json.loads(content)


@pytest.mark.parametrize("text", HALVES.values(), ids=list(HALVES))
def test_half_a_pair_at_the_end_of_a_piece_is_still_half(tmp_path: Path, text: bytes) -> None:
    for content in across_a_piece(text):
        assert [item.value for item in read(tmp_path / "half.json", content)] == json.loads(content)


def test_json_lines_may_hold_values_that_are_no_objects_after_the_first(tmp_path: Path) -> None:
    assert [item.value for item in read(tmp_path / "in.jsonl", b'{"n": 0}\nnull\n[1]\n2')] == [{"n": 0}, None, [1], 2]


def as_lines(values: List[Any]) -> str:
    return "\n".join(map(json.dumps, values))


def pretty(values: List[Any]) -> str:
    return json.dumps(values, indent=2)


@pytest.mark.parametrize("spell", [json.dumps, pretty, as_lines])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, spell: Callable[[Any], str]) -> None:
    path = tmp_path / "input"
    path.write_text(spell([conversation("question " * 100, "answer " * 100) for _ in range(6_000)]))
    source, count = InputFile(str(path)), 0
    tracemalloc.start()
    try:
        for _ in source:
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        source.close()
    assert count == 6_000
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize("signs", ["[" * 12_000, "{" * 12_000, '\\"[' * 5000, "\\u001b[31m" * 12_000])
def test_brackets_inside_texts_are_no_nesting(tmp_path: Path, signs: str) -> None:
    content = '[{"a": "' + signs + '"},\n{"b": 1}]'
    assert read(tmp_path / "input.json", content.encode())[1].value == {"b": 1}


DEEP = 200_000  # levels: more than any Python decodes


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '[{"a": ' + "[" * DEEP + '"', '["]]]]", ' + "[" * DEEP])
def test_a_list_nested_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    _, said = read_until_broken(tmp_path / "input.json", text.encode())
    assert "line 1: broken JSON: nested too deep" in said


@pytest.mark.parametrize("space", ["\n" * 20_000, " " * 20_000])
@pytest.mark.parametrize("text", ['[{"a": 1}]', '{"a": 1}'])
def test_any_amount_of_space_may_stand_before_the_first_item(tmp_path: Path, space: str, text: str) -> None:
    items = read(tmp_path / "input", (space + text).encode())
    assert [(item.line, item.value) for item in items] == [(1 + space.count("\n"), {"a": 1})]
