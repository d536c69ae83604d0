"""CSV and TSV: rows by the names of the header, numbered by the line on which they begin."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from common.errors import BadEntry, BrokenInput, UsageError
from common.input.conversations import entry_from_conversation
from common.input.files import InputFile
from tests.input.inputs import read


def rows(path: Path, data: str | bytes) -> list[tuple[int, Any]]:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(item.line, item.value) for item in read(path)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("name", "comma"), [("x.csv", ","), ("x.CSV", ";"), ("x.csv", "\t"), ("x.tsv", "\t")])
def test_rows_are_objects_of_the_headers_names(tmp_path: Path, name: str, comma: str, end: str) -> None:
    lines = [("question", "answer", "level"), ("2+2?", "4", "1"), ("", "", ""), ('"a\nb"', '"say ""hi"""', "")]
    data = end.join(comma.join(line) for line in lines)
    found = rows(tmp_path / name, data)
    assert found == [
        (2, {"question": "2+2?", "answer": "4", "level": "1"}),
        (3, {}),
        (4, {"question": "a\nb", "answer": 'say "hi"'}),
    ]


def test_a_byte_order_mark_is_not_part_of_the_first_name_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert rows(tmp_path / "x.csv", "\ufeffquestion\n\nq\n\n") == [(3, {"question": "q"})]


def test_a_row_is_the_entry_of_its_conversation(tmp_path: Path) -> None:
    cell = '"[{""role"": ""user"", ""content"": ""q""}]"'
    ((_, row),) = rows(tmp_path / "x.csv", f"id,messages,ground_truth\n007,{cell},a\n")
    entry = entry_from_conversation(row)
    assert (entry.question, entry.reference, entry.extra) == ("q", "a", {"id": "007"})


@pytest.mark.parametrize("text", ["[1, 2]", "[0, 1)", "[not JSON]", "[[1]]", "['a']", "{1}"])
def test_a_text_that_looks_like_json_stays_a_text(tmp_path: Path, text: str) -> None:
    ((_, row),) = rows(tmp_path / "x.csv", f'question,tags\n"{text}","{text}"\n')
    entry = entry_from_conversation(row)
    assert (entry.question, entry.extra) == (text, {"tags": text})


def csv_of(row: dict[str, Any]) -> str:
    """A file of one row, whose values are texts or JSON."""
    cells = (value if isinstance(value, str) else json.dumps(value) for value in row.values())
    return ",".join(row) + "\n" + ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "answer": "a", "images": ["a.png", "b.png"]},
        {"question": "q", "image": {"bytes": None, "path": "a.png"}},
        {"query": "q", "history": [["1", "2"]], "response": "a", "system": "s"},
        {"prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "a"}},
        {"conversations": [{"from": "human", "value": "q"}], "label": False},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "kto_tag": False},
        {"prompt": "q", "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"question": "q", "answer": ["a"]},
    ],
)
def test_a_row_is_the_entry_that_its_json_would_be(tmp_path: Path, row: dict[str, Any]) -> None:
    ((_, cells),) = rows(tmp_path / "x.csv", csv_of(row))
    entry, same = entry_from_conversation(cells), entry_from_conversation(row)
    assert (entry.turns, entry.reference, entry.images) == (same.turns, same.reference, same.images)
    assert entry.entry_id == same.entry_id


@pytest.mark.parametrize("cell", ['["a","b"]', '{"a":1.0}', "1e5", "007", "1.10", " x "])
def test_what_is_kept_is_the_text_of_its_cell(tmp_path: Path, cell: str) -> None:
    ((_, row),) = rows(tmp_path / "x.csv", csv_of({"question": "q", "more": cell}))
    assert entry_from_conversation(row).extra == {"more": cell}


def test_one_bad_row_costs_no_other(tmp_path: Path) -> None:
    found = rows(tmp_path / "x.csv", b"question,answer\na,1\nb\nc,\xff\nd,4\n")
    assert [value for _, value in found if isinstance(value, dict)] == [
        {"question": "a", "answer": "1"},
        {"question": "d", "answer": "4"},
    ]
    bad = [str(value) for _, value in found if isinstance(value, BadEntry)]
    assert "line 3: 1 cells, but 2 columns" in bad[0]
    assert "line 4: this is not UTF-8" in bad[1]


def test_a_quote_that_is_never_closed_is_named_by_the_line_of_its_row(tmp_path: Path) -> None:
    with pytest.raises(BrokenInput, match="line 3"):
        rows(tmp_path / "x.csv", 'question\na\n"b\nc\n')


@pytest.mark.parametrize("data", ["", "\n", "a,,b\n", "a,a\n", "\x00\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "x.csv").write_text(data)
    with pytest.raises(UsageError, match=r"x\.csv"):
        InputFile(str(tmp_path / "x.csv"))


def test_the_number_of_rows_is_estimated_and_compression_is_read(tmp_path: Path) -> None:
    noise = random.Random(0)
    data = "question\n" + "".join(f"{noise.random()}?\n" for _ in range(20_000))
    for name, packed in (("x.csv", data.encode()), ("x.csv.gz", gzip.compress(data.encode()))):
        (tmp_path / name).write_bytes(packed)
        source = InputFile(str(tmp_path / name))
        items = iter(source)
        for _ in range(15_000):
            next(items)
        expected = source.expected_items()
        source.close()
        assert expected is not None
        assert 18_000 < expected < 22_000
