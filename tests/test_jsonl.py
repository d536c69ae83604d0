"""What common/jsonl.py promises: streamed input with line numbers, whole lines on disk, one run a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadEntry, BrokenInput, RunStopped, UsageError
from common.jsonl import (
    LEDGER,
    PIECE,
    RECORDS,
    AppendFile,
    InputFile,
    Item,
    Kind,
    hold,
    read_records,
    repair_tail,
    scan,
    to_line,
)
from common.records import Answer, answer_line, entry_from_conversation, fingerprint, id_key, make_record
from tests.helpers import ROOT, conversation, read_lines

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


def record_line(question: str, answer: str = "a") -> bytes:
    return to_line(make_record(entry_from_conversation(conversation(question)), [Answer(answer)], None))


def key_of(question: str) -> int:
    return id_key(entry_from_conversation(conversation(question)).entry_id)


# Input


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


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


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
        assert [to_line(item.value) for item in read(path, text.encode())] == [to_line(item) for item in items]


@pytest.mark.parametrize(
    "number",
    ["0", "-7", str(1 << 63), str(-(1 << 64)), "123456789012345678901234567890", "1.5", "1e3", "0.1", "-2.5E-7"],
)
def test_a_number_is_written_as_it_was_read_from_a_list_as_from_json_lines(tmp_path: Path, number: str) -> None:
    spelled = f'{{"n": {number}}}'.encode()
    from_list, from_lines = (read(tmp_path / "input", content)[0].value for content in (b"[" + spelled + b"]", spelled))
    assert to_line(from_list) == to_line(from_lines) == to_line(json.loads(spelled))


def test_a_fraction_is_exact_in_a_list_and_a_float_in_json_lines(tmp_path: Path) -> None:
    from_list, from_lines = (read(tmp_path / "input", c)[0].value["n"] for c in (b'[{"n": 0.1}]', b'{"n": 0.1}'))
    assert (type(from_list), from_list) == (Decimal, Decimal("0.1"))
    assert (type(from_lines), from_lines) == (float, 0.1)
    assert to_line([Decimal("0.1"), {"deep": Decimal("-2.50")}]) == b'[0.1, {"deep": -2.5}]\n'


def test_a_fraction_beside_a_lone_surrogate_is_written_too() -> None:
    assert to_line([Decimal("0.1"), "\ud83d"]) == b'[0.1, "\\ud83d"]\n'


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e-400", "9" * 400])
@pytest.mark.parametrize("spell", ["[{},\n{},\n{}]", "{}\n{}\n{}"], ids=["list", "lines"])
def test_a_number_out_of_a_floats_range_costs_no_other_item(tmp_path: Path, number: str, spell: str) -> None:
    content = spell.format('{"n": 0}', f'{{"n": {number}}}', '{"n": 2}')
    first, _, last = read(tmp_path / "input", content.encode())
    assert (first, last) == (Item(1, {"n": 0}), Item(3, {"n": 2}))


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
def test_half_a_surrogate_pair_in_a_list_is_an_error_of_its_line(
    tmp_path: Path, text: bytes, around: bytes, end: bytes
) -> None:
    values, said = read_until_broken(tmp_path / "half.json", b'[{"n": 0},\n{"n": 1},\n"' + around % text + end)
    assert values == [{"n": 0}, {"n": 1}]
    assert "half.json: line 3: broken JSON: " in said


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
        assert read_until_broken(tmp_path / "half.json", content)[0] == []


def test_json_lines_may_hold_values_that_are_no_objects_after_the_first(tmp_path: Path) -> None:
    assert [item.value for item in read(tmp_path / "in.jsonl", b'{"n": 0}\nnull\n[1]\n2')] == [{"n": 0}, None, [1], 2]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        BOM,
        b" \n\n",
        b"question,answer\n2+2?,4\n",
        b'"text"',
        b"null",
        '[{"n": 0}]'.encode("utf-16"),
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
    ],
    ids=["empty", "BOM alone", "blank", "CSV", "string", "null", "UTF-16", "zip", "gzip"],
)
def test_a_file_of_another_kind_is_refused_when_it_is_opened(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        InputFile(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.json", ".", "missing/input.json"])
def test_an_input_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        InputFile(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def as_lines(values: List[Any]) -> str:
    return "\n".join(map(json.dumps, values))


def pretty(values: List[Any]) -> str:
    return json.dumps(values, indent=2)


@pytest.mark.parametrize("spell", [json.dumps, pretty, as_lines])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, spell: Callable[[Any], str]) -> None:
    path = tmp_path / "input"
    path.write_text(spell([conversation("question " * 20, "answer " * 20) for _ in range(5000)]))
    source, count = InputFile(str(path)), 0
    tracemalloc.start()
    try:
        for _ in source:
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        source.close()
    assert count == 5000
    assert peak < source.size / 4
    assert source.position == source.size


# Output


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=30))
def test_a_line_is_one_line_and_holds_its_value_exactly(text: str) -> None:
    line = to_line({"text": text})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode()) == {"text": text}


def test_text_is_written_as_it_is() -> None:
    assert to_line({"text": "2·2 = 4 😀"}) == '{"text": "2·2 = 4 😀"}\n'.encode()


def test_each_line_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    file = AppendFile(str(path))
    for count in range(1, 5):
        file.append({"n": count})
        assert [line["n"] for line in read_lines(path)] == list(range(1, count + 1))
        assert file.size == path.stat().st_size
    file.close()


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"n": 0}\n')
    file = AppendFile(str(path))
    file.append({"n": 1})
    file.close()
    assert path.read_bytes() == b'{"n": 0}\n{"n": 1}\n'


@pytest.mark.parametrize("name", [".", "missing/out.jsonl", "file/out.jsonl"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        AppendFile(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
@pytest.mark.parametrize("room", [0, 1, 40, 99])
def test_a_line_that_does_not_fit_is_cut_away_and_stops_the_run(tmp_path: Path, room: int) -> None:
    code = (
        "import resource, sys\n"
        "from common.errors import RunStopped\n"
        "from common.jsonl import AppendFile\n"
        "file = AppendFile(sys.argv[1])\n"
        "file.append({'n': 0})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (file.size + int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try:\n"
        "    file.append({'n': 'x' * 100})\n"
        "except RunStopped as error:\n"
        "    print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "file.append({'n': 1})\n"
    )
    path = tmp_path / "out.jsonl"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path), str(room)], cwd=str(ROOT), stdout=subprocess.PIPE, check=True
    )
    assert str(path).encode() in ended.stdout
    assert path.read_bytes() == b'{"n": 0}\n{"n": 1}\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_device_that_takes_nothing_stops_the_run(tmp_path: Path) -> None:
    file = AppendFile("/dev/full")
    for _ in range(2):
        with pytest.raises(RunStopped, match="/dev/full"):
            file.append({"n": 0})
    file.close()


# The torn tail


def answered(index: int, text: str) -> bytes:
    return to_line(answer_line("0" * 32, index, "made", Answer(text), None))


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        (RECORDS, record_line("first?"), record_line("läst?", "a\nb")),
        (RECORDS, record_line("first?"), record_line("long?", 'x"}' * 100)),
        (LEDGER, answered(0, "first"), answered(1, 'ünd "entry_id": "')),
    ],
    ids=["record", "long record", "ledger"],
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_last_line_torn_at_any_byte_is_cut_and_nothing_else(
    tmp_path: Path, kind: Kind, first: bytes, last: bytes, before: int
) -> None:
    path = tmp_path / "out.jsonl"
    for length in range(len(last) - 1):
        path.write_bytes(first * before + last[:length])
        repair_tail(str(path), kind)
        assert path.read_bytes() == first * before


@pytest.mark.parametrize(
    ("kind", "line"), [(RECORDS, record_line("läst?", "a\nb")), (LEDGER, answered(1, "ünd"))], ids=["record", "ledger"]
)
@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_last_line_that_lacks_only_its_newline_is_kept_and_ended(
    tmp_path: Path, kind: Kind, line: bytes, before: int
) -> None:
    path = tmp_path / "out.jsonl"
    for content in (line * before + line[:-1], line * (before + 1)):
        path.write_bytes(content)
        repair_tail(str(path), kind)
        assert path.read_bytes() == line * (before + 1)


def test_a_last_line_that_ends_whole_but_is_no_json_is_cut(tmp_path: Path) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    path.write_bytes(before + record_line("torn?")[30:-1])
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


@pytest.mark.parametrize("extra", [-1, 0, 1, PIECE - 1, PIECE, PIECE + 1])
def test_a_torn_line_longer_than_a_piece_is_cut_whole(tmp_path: Path, extra: int) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    torn = record_line("torn?", "x" * 3 * PIECE)[: PIECE + extra]
    path.write_bytes(before + torn)
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


def test_a_tail_of_zero_bytes_is_cut(tmp_path: Path) -> None:
    path, before = tmp_path / "out.jsonl", record_line("first?")
    path.write_bytes(before + b"\0" * 5000)
    repair_tail(str(path), RECORDS)
    assert path.read_bytes() == before


def test_after_a_repair_the_next_record_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + record_line("two?")[:-20])
    repair_tail(str(path), RECORDS)
    file = AppendFile(str(path))
    file.append({"original_question": "three?", "entry_id": "3"})
    file.close()
    assert [record["original_question"] for record in read_lines(path)] == ["one?", "three?"]


@pytest.mark.parametrize(
    "content",
    [
        b'[{"conversations": []}]',
        b'[\n  {"original_question": "q"}\n]',
        b'{"conversations": [{"from": "human", "value": "q"}]}\n{"conv',
        b'{"messages": []}',
        b"question,answer\n2+2?,4",
        b"# README",
        b"\n",
        b"\0\0\0\0",
        b"\x1f\x8b\x08\x00",
        b'{"original_answers": ["4"]}\n{"ori',
        b'{"indexes": 1',
        b'{"original_question": "q"}\n{"ori',
        b'{"original_question": "q", "entry_id": "1"}\n{"ori',
        b'{"original_question": "q", "generated_answers": []}\n{"ori',
        b'{"original_questions": ["q", ',
        b'{"made_by_hand": 1',
        b'{"made_by": 1, "note": "mine"}\n{"made',
        b'["generated_answers", "made_by", "entry_id"]\n[',
        b"[" * 9000 + b"\n",
    ],
)
@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_a_file_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path: Path, content: bytes, kind: Kind) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        repair_tail(str(path), kind)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("kind", "content"),
    [(RECORDS, answered(0, "first")), (LEDGER, record_line("first?"))],
    ids=["ledger as output", "output as ledger"],
)
@pytest.mark.parametrize("tail", [b"", b'{"torn', None], ids=["whole", "torn", "one torn line"])
def test_an_output_is_no_ledger_and_a_ledger_no_output(
    tmp_path: Path, kind: Kind, content: bytes, tail: Optional[bytes]
) -> None:
    path = tmp_path / "swapped.jsonl"
    path.write_bytes(content[:40] if tail is None else content + tail)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        repair_tail(str(path), kind)
    assert str(path) in str(caught.value)
    assert kind.name in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [RECORDS, LEDGER], ids=["record", "ledger"])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, kind: Kind) -> None:
    names = [str(tmp_path), os.devnull]
    if hasattr(os, "mkfifo"):
        names.append(str(tmp_path / "pipe"))
        os.mkfifo(names[-1])
    for name in names:
        with pytest.raises(UsageError) as caught:
            repair_tail(name, kind)
        assert f"{name} is not a regular file" in str(caught.value)


def test_a_missing_file_needs_no_repair_and_is_not_made(tmp_path: Path) -> None:
    repair_tail(str(tmp_path / "out.jsonl"), RECORDS)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_ours(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").touch()
    repair_tail(str(tmp_path / "out.jsonl"), RECORDS)
    assert (tmp_path / "out.jsonl").read_bytes() == b""


# What is done already


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(
        st.tuples(
            st.text(st.characters(), min_size=1, max_size=8),
            st.sampled_from(["ours", "crlf", "indented", "compact", "first", "more after"]),
            st.sampled_from([b"", b"\n", b"\r\n", b"  \n"]),
        ),
        max_size=6,
    )
)
def test_every_shape_of_line_is_found_at_its_place_with_its_id(
    tmp_path_factory: pytest.TempPathFactory, entries: List[Tuple[str, str, bytes]]
) -> None:
    content, expected = b"", []
    for question, shape, blank in entries:
        content += blank
        entry_id = fingerprint(question, 32) if shape == "ours" else f"id {question}"
        expected.append((len(content), id_key(entry_id)))
        record = {"text": '"entry_id": "', "entry_id": entry_id}
        line = to_line(record)
        if shape == "crlf":
            line = line.replace(b"\n", b"\r\n")
        elif shape == "indented":
            line = b"  " + line
        elif shape == "compact":
            line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        elif shape == "first":
            line = to_line({"entry_id": entry_id, "text": "x" * 60})
        elif shape == "more after":
            line = line.replace(b"\n", b"   \n")
        content += line
    path = tmp_path_factory.mktemp("scan") / "out.jsonl"
    path.write_bytes(content)
    assert [tuple(found) for found in scan(str(path))] == expected


@pytest.mark.parametrize("shape", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_our_own_id_is_found_in_a_line_written_by_another_tool(tmp_path: Path, shape: Any) -> None:
    path, entry_id = tmp_path / "out.jsonl", fingerprint("q", 32)
    path.write_text(json.dumps({"entry_id": entry_id, "original_question": "é"}, **shape) + "\n", encoding="utf-8")
    assert [line.key for line in scan(str(path))] == [id_key(entry_id)]


@pytest.mark.parametrize("ending", [b'"}\n', b'"}\r\n', b'" }\n', b'","n":1}\n', b'"}  \n'])
def test_an_id_that_is_not_at_our_place_is_read_whole(tmp_path: Path, ending: bytes) -> None:
    path = tmp_path / "out.jsonl"
    ids = ["7" * length for length in range(25, 36)]
    path.write_bytes(b"".join(b'{"index": 0, "entry_id": "' + one.encode() + ending for one in ids))
    assert [line.key for line in scan(str(path))] == [id_key(one) for one in ids]


def test_a_whole_line_is_known_by_its_end_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?").replace(b"{", b"\xff", 1))
    assert [line.key for line in scan(str(path))] == [key_of("one?")]


def test_an_id_quoted_inside_an_answer_is_not_the_lines_id(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?", '"entry_id": "' + "f" * 32 + '"}\n'))
    assert [line.key for line in scan(str(path))] == [key_of("one?")]


def test_a_file_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert list(scan(str(tmp_path / "missing"))) == []
    assert list(read_records(str(tmp_path / "missing"))) == []


@pytest.mark.parametrize(
    "bad",
    [
        b'{"original_question": "q"}',
        b"oops",
        b"[]",
        b'{"entry_id": 7}',
        b'{"entry_id": null}',
        b'{"entry_id": "x"',
        b"\xff",
        b"\0" * 9,
        b"[" * 9000,
        b'{"n": ' * 9000,
    ],
    ids=lambda bad: repr(bad[:16]),
)
def test_a_damaged_line_is_named_by_file_and_number(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + b"\n" + bad + b"\n" + record_line("two?"))
    with pytest.raises(UsageError, match=r"out\.jsonl: line 3 "):
        list(scan(str(path)))


@pytest.mark.parametrize(
    "own",
    [
        *("F" * 32, "0123456789abcdef" * 2, "0123456789ABCDEF" * 2, "f" * 31, "f" * 33, "+" + "f" * 31, "f_" * 16),
        *(" " * 32, "0x" + "f" * 30, "\u0663" * 32, "\uff11" * 32, "f" * 32 + "\n"),
    ],
)
def test_only_32_lower_case_hex_digits_are_an_id_of_ours_in_every_spelling(tmp_path: Path, own: str) -> None:
    path = tmp_path / "out.jsonl"
    lines = [json.dumps({"n": 0, "entry_id": own}, ensure_ascii=ascii) for ascii in (True, False)]
    path.write_text("\n".join([*lines, json.dumps({"entry_id": own, "more": 1})]) + "\n", encoding="utf-8")
    assert [line.key for line in scan(str(path))] == [id_key(own)] * 3
    assert (id_key(own) == int("0123456789abcdef" * 2, 16)) == (own == "0123456789abcdef" * 2)


@pytest.mark.parametrize("bad", [b"oops", b'{"original_question": "q"', b"\0\0", b'{"n": "\xff"}'])
def test_a_damaged_record_stops_the_run_with_its_file_and_number(tmp_path: Path, bad: bytes) -> None:
    path, read_before = tmp_path / "out.jsonl", []
    path.write_bytes(record_line("one?") + b"\n" + bad + b"\n" + record_line("two?"))
    with pytest.raises(RunStopped, match=r"out\.jsonl: line 3 "):
        read_before.extend(record["original_question"] for record in read_records(str(path)))
    assert read_before == ["one?"]


def test_records_are_read_in_order_past_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(record_line("one?") + b"\n\r\n" + record_line("two\u2028?").replace(b"\n", b"\r\n"))
    assert [record["original_question"] for record in read_records(str(path))] == ["one?", "two\u2028?"]


# One run a file


def test_a_second_run_is_refused_while_the_first_holds_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    lock = hold(path)
    with pytest.raises(UsageError) as caught:
        hold(path)
    assert path in str(caught.value)
    lock.release()
    hold(path).release()


def test_holding_one_file_leaves_the_others_free(tmp_path: Path) -> None:
    lock = hold(str(tmp_path / "one.jsonl"))
    hold(str(tmp_path / "two.jsonl")).release()
    lock.release()


def test_a_run_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    code = "import sys; from common.jsonl import hold; lock = hold(sys.argv[1]); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=str(ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(UsageError):
            hold(path)
        other.kill()
    hold(path).release()
